#!/bin/sh
# The messages of TF Serving, for the tests that hold ours against them. Without what the package asks for: it asks for
# "tensorflow", and so puts a second TensorFlow over tensorflow-cpu or another one than is to be tested.
set -eu
minor=$("$1" -m pip show tensorflow-cpu tensorflow 2>/dev/null | sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
"$1" -m pip install --quiet --disable-pip-version-check --no-deps "tensorflow-serving-api==$minor.*"
