"""Small real checkpoints of the built-in networks."""

from __future__ import annotations

from tests.support import golden_rule


def crnn_shapes(scope="shadow", channels=(4, 5, 6, 7, 8, 9, 10), hidden=(11, 12), classes=13, image_channels=3):
    """Name -> shape of a CRNN's variables; `hidden` has an entry for each LSTM layer."""
    shapes, depth = {}, image_channels
    for number, (size, count) in enumerate(zip([3, 3, 3, 3, 3, 3, 2], channels), start=1):
        shapes[f"{scope}/conv{number}/W"] = (size, size, depth, count)
        depth = count
    for norm, count in (("BatchNorm", channels[4]), ("BatchNorm_1", channels[5])):
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            shapes[f"{scope}/{norm}/{name}"] = (count,)
    for cell, units in enumerate(hidden):
        for direction in ("fw", "bw"):
            name = (
                f"{scope}/LSTMLayers/stack_bidirectional_rnn/cell_{cell}/bidirectional_rnn/{direction}/basic_lstm_cell"
            )
            shapes[name + "/kernel"] = (depth + units, 4 * units)
            shapes[name + "/bias"] = (4 * units,)
        depth = 2 * units
    shapes[scope + "/LSTMLayers/w"] = (depth, classes)
    return shapes


def ctpn_shapes(channels=(2, 3, 4, 5, 6), conv=7, hidden=8, features=9, anchors=3, averages=True):
    """Name -> shape of a CTPN's variables, with the averages of all and a global_step."""
    shapes, depth = {}, 3
    names = [
        (f"vgg_16/conv{block}/conv{block}_{number + 1}", channels[block - 1])
        for block, count in enumerate((2, 2, 3, 3, 3), start=1)
        for number in range(count)
    ]
    for name, count in names + [("Conv", conv)]:
        shapes[name + "/weights"], shapes[name + "/biases"] = (3, 3, depth, count), (count,)
        depth = count
    for direction in ("fw", "bw"):
        name = f"BiLSTM/bidirectional_rnn/{direction}/lstm_cell"
        shapes[name + "/kernel"], shapes[name + "/bias"] = (depth + hidden, 4 * hidden), (4 * hidden,)
    shapes["BiLSTM/weights"], shapes["BiLSTM/biases"] = (2 * hidden, features), (features,)
    for head, values in (("bbox_pred", 4 * anchors), ("cls_pred", 2 * anchors)):
        shapes[head + "/weights"], shapes[head + "/biases"] = (features, values), (values,)
    if averages:
        shapes.update({name + "/ExponentialMovingAverage": shape for name, shape in shapes.items()})
    shapes["global_step"] = ()
    return shapes


def write_checkpoint(prefix, values):
    """A V2 checkpoint of one data file that holds `values` (name -> array), at the path `prefix`."""
    from ckpt2saved.graph.tf1 import tf

    names = sorted(values)
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = [tf.placeholder(tf.as_dtype(values[name].dtype), values[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
        )
        session.run(save, {tensor: values[name] for tensor, name in zip(tensors, names)})
    return prefix


def filled(shapes):
    """Values by the golden rule for all of `shapes`."""
    return {name: golden_rule.fill(name, shape) for name, shape in shapes.items()}
