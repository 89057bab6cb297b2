#!/bin/sh
# From two real checkpoints to versions that TF Serving would load: a CRNN that reads lines, and both networks that read a page.
# Usage: sh examples/demo.sh OUTPUT_DIR   (run from the top of the repository, with ckpt2saved on the PATH)
set -eu
out=$1
models=$out/models
rm -rf "$out"
mkdir -p "$out"

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

show ckpt2saved export --model crnn --checkpoint examples/crnn/checkpoint --option charset=examples/crnn/charset.txt \
    --export-dir "$models/crnn"
show ckpt2saved export --model ocr --checkpoint detector=examples/ctpn/checkpoint --checkpoint recogniser=examples/crnn/checkpoint \
    --option charset=examples/crnn/charset.txt --export-dir "$models/ocr" --version 100001
show ckpt2saved bump-version "$models/crnn"
show ckpt2saved list "$models/crnn"
printf '\nWhat TF Serving finds:\n'
find "$models" -type f | sort
show ckpt2saved predict "$models/crnn" examples/crnn/images/*
show ckpt2saved predict "$models/ocr" examples/ctpn/images/receipt.png --draw "$out/page.png"
