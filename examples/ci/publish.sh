#!/bin/sh
# Train, publish the checkpoint as the next version, wait until TensorFlow Serving answers with it. The exit code says how
# it ended: 0, the version is live and answers as the checkpoint does; anything else stops the pipeline.
#
#   TRAIN="python train.py --output-dir runs/crnn" \
#   CKPT2SAVED_MODEL=crnn CKPT2SAVED_CHECKPOINT=runs/crnn CKPT2SAVED_EXPORT_DIR=/srv/models/crnn \
#   CKPT2SAVED_WAIT_FOR=http://serving:8501 sh publish.sh
#
# Every option of ckpt2saved may come from the environment. Where CKPT2SAVED_WAIT_FOR is not set, nobody is asked.
set -eu
results=${RESULTS:-publish-results} # export.json: what was published, for other programs; report.md: for people
mkdir -p "$results"

if [ -n "${TRAIN:-}" ]; then
    sh -c "$TRAIN"
fi
ckpt2saved export --json --report "$results/report.md" >"$results/export.json"
ckpt2saved prune "$CKPT2SAVED_EXPORT_DIR" --keep 5
