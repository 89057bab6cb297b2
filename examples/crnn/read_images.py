"""Read pictures of lines with an exported SavedModel: python read_images.py MODEL_DIR PICTURE..."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Sequence

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # must precede the import of TensorFlow
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # which it announces at any log level
warnings.simplefilter("ignore")  # TensorFlow 1.x warns about the numpy of its own time

import tensorflow.compat.v1 as tf  # noqa: E402
from pictures import pad_batch, read_picture  # noqa: E402
from texts import text_of  # noqa: E402


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    tf.logging.set_verbosity(tf.logging.ERROR)
    model, *paths = sys.argv[1:]
    for path, text in zip(paths, read_images(model, paths)):
        print(f"{Path(path).name}: {text}")


def read_images(model: str, paths: Sequence[str]) -> list[str]:
    """Return what the SavedModel in the directory `model` reads on each picture."""
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.loader.load(session, ["serve"], model)
        signature = loaded.signature_def["serving_default"]
        images, widths = pad_batch([read_picture(Path(path)) for path in paths])
        feed = {
            signature.inputs["input_data"].name: images,
            signature.inputs["input_batch_size"].name: widths // 4,  # the network takes a step every four pixels
        }
        names = ["output_indices", "output_values"]
        indices, values = session.run([signature.outputs[name].name for name in names], feed)
    return [text_of(values[indices[:, 0] == row]) for row in range(len(paths))]


if __name__ == "__main__":
    main()
