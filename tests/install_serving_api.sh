#!/bin/sh
# The messages of TF Serving, for the tests that hold ours against them: of this TensorFlow's release, or the last before
# it. Without what the package asks for: it asks for "tensorflow", and so puts a second TensorFlow over tensorflow-cpu.
set -eu
release=$("$1" -m pip show tensorflow-cpu tensorflow 2>/dev/null | sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
next=${release%.*}.$((${release#*.} + 1))
"$1" -m pip install --quiet --disable-pip-version-check --no-deps "tensorflow-serving-api<$next"
