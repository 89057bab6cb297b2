"""What people do by hand, the original's steps: build the graph, restore, SavedModelBuilder.

python plain_script.py MODEL CHECKPOINT EXPORT_DIR
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import tensorflow.compat.v1 as tf  # noqa: E402

from ckpt2saved.sources.networks import build_network  # noqa: E402

AVERAGE = "/ExponentialMovingAverage"
INPUTS = {"crnn": ["input_data", "input_batch_size"], "ctpn": ["input_image", "input_im_info"]}
OUTPUTS = {
    "crnn": ["output_indices", "output_values", "output_shape"],
    "ctpn": ["output_bbox_pred", "output_cls_prob"],
}


def main(model, checkpoint, export_dir):
    tf.logging.set_verbosity(tf.logging.ERROR)
    reader = tf.train.NewCheckpointReader(checkpoint)
    shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = build_network(model, shapes, {})
        suffix = AVERAGE if model == "ctpn" else ""
        tf.train.Saver({v.op.name + suffix: v for v in tf.global_variables()}).restore(session, checkpoint)
        info = tf.saved_model.utils.build_tensor_info
        signature = tf.saved_model.signature_def_utils.build_signature_def(
            {name: info(tensors[name]) for name in INPUTS[model]},
            {name: info(tensors[name]) for name in OUTPUTS[model]},
            tf.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )
        builder = tf.saved_model.builder.SavedModelBuilder(export_dir)
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.tag_constants.SERVING],
            signature_def_map={"serving_default": signature},
            clear_devices=True,
        )
        builder.save()


if __name__ == "__main__":
    main(*sys.argv[1:])
