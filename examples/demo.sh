#!/bin/sh
# From two real checkpoints to versions that TF Serving would load, what the exported CRNN reads and the CTPN finds.
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
show ckpt2saved export --model ctpn --checkpoint examples/ctpn/checkpoint --option short_side=600 \
    --export-dir "$models/ctpn" --version 100001
show ckpt2saved bump-version "$models/crnn"
show ckpt2saved list "$models/crnn"
printf '\nWhat TF Serving finds:\n'
find "$models" -type f | sort
show ckpt2saved predict "$models/crnn" examples/crnn/images/*
show ckpt2saved predict "$models/ctpn" examples/ctpn/images/columns.png --signature picture_lines --draw "$out/lines.png"
