"""inspect: the right inputs and outputs of graphs as people write them, the command for them, and what is in the way."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.file import parse_model
from tests.support.checkpoints import write_checkpoint
from tests.support.trainings import inputs_of, proposed, save, weights

CLASSES = 5


def dropout(tensor, keep):
    """As TensorFlow 1.x writes it down; the newer one writes something else."""
    with tf.name_scope("dropout"):
        mask = tf.floor(keep + tf.random_uniform(tf.shape(tensor)))
        return tensor / keep * mask


def batch_norm(tensor, name, training=True):
    """Unfused, on the statistics of the batch, or fused, where a switch decides."""
    with tf.variable_scope(name):
        beta, gamma = weights("beta", 4), weights("gamma", 4)
        mean, variance = weights("moving_mean", 4), weights("moving_variance", 4)
        if training is True:
            return tf.nn.batch_normalization(tensor, *tf.nn.moments(tensor, [0, 1, 2]), beta, gamma, 1e-3)
        return tf.cond(
            training,
            lambda: tf.nn.fused_batch_norm(tensor, gamma, beta)[0],
            lambda: tf.nn.fused_batch_norm(tensor, gamma, beta, mean, variance, is_training=False)[0],
        )


def crnn(images, batch=-1, channels=1, keep=None, training=None, scope="net", head="fc"):
    """A convolution, a linear layer on each column and time-major logits of [batch, 8, width, channels]."""
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        features = tf.nn.conv2d(images, weights("conv/W", 3, 3, channels, 4), [1, 1, 1, 1], "SAME")
        if training is not None:
            features = batch_norm(features, "norm", training)
        features = tf.reshape(tf.transpose(tf.nn.relu(features), [0, 2, 1, 3]), [batch, 12, 32])
        if keep is not None:
            features = dropout(features, keep)
        logits = tf.matmul(tf.reshape(features, [-1, 32]), weights(head + "/W", 32, CLASSES)) + weights(
            head + "/b", CLASSES
        )
        return tf.transpose(tf.reshape(logits, [batch, 12, CLASSES]), [1, 0, 2], name="time_major")


def ctc_loss(logits, lengths, labels=None):
    labels = labels if labels is not None else tf.sparse_placeholder(tf.int32, name="labels")
    return tf.reduce_mean(tf.nn.ctc_loss(labels, logits, lengths))


@pytest.fixture
def placeholders(tmp_path):
    """A CRNN with placeholders: image, lengths, labels, is_train, keep_prob; beam search and dense labels."""
    with tf.Graph().as_default(), v1_control_flow():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        lengths = tf.placeholder(tf.int32, [None], name="seq_len")
        training = tf.placeholder(tf.bool, [], name="is_train")
        keep = tf.placeholder(tf.float32, name="keep_prob")
        logits = crnn(images, keep=keep, training=training)
        decoded, _ = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=7, merge_repeated=False)
        tf.sparse_tensor_to_dense(decoded[0], -1, name="dense")
        labels = tf.sparse_placeholder(tf.int32, name="labels")
        error = tf.reduce_mean(tf.edit_distance(tf.cast(decoded[0], tf.int32), labels))
        loss = ctc_loss(logits, lengths, labels)
        tf.summary.scalar("loss", loss)
        tf.summary.scalar("error", error)
        return save(tmp_path, loss=loss)


@pytest.fixture
def queues(tmp_path):
    """A CRNN that a queue feeds with bytes, with dropout and batch norm on the batch's own statistics."""
    with tf.Graph().as_default(), v1_control_flow():
        queue = tf.FIFOQueue(4, [tf.uint8, tf.int32], [[8, 12, 1], [3]])
        queue.enqueue([tf.zeros([8, 12, 1], tf.uint8), tf.zeros([3], tf.int32)])
        pixels, labels = queue.dequeue_many(2)
        images = tf.cast(pixels, tf.float32, name="images")
        logits = crnn(images, batch=2, keep=tf.constant(0.5), training=True)
        lengths = tf.constant([12, 12])
        tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=3, top_paths=2, merge_repeated=False)
        indices = tf.where(tf.not_equal(labels, 0))
        sparse = tf.SparseTensor(indices, tf.gather_nd(labels, indices), tf.shape(labels, out_type=tf.int64))
        return save(tmp_path, tf.train.AdadeltaOptimizer(), ctc_loss(logits, lengths, sparse))


@pytest.fixture
def detector(tmp_path):
    """A detector whose labels a Python function makes of its scores; the optimizer's slots are not saved."""
    with tf.Graph().as_default(), v1_control_flow():
        data = tf.placeholder(tf.float32, [None, None, None, 3], name="data")
        info = tf.placeholder(tf.float32, [None, 3], name="im_info")
        boxes = tf.placeholder(tf.float32, [None, 5], name="gt_boxes")
        features = tf.nn.relu(tf.nn.conv2d(data, weights("conv/W", 3, 3, 3, 6), [1, 1, 1, 1], "SAME"))
        size = tf.shape(features)
        heads = {}
        for name, depth in (("rpn_bbox_pred", 8), ("rpn_cls_score", 4)):
            with tf.variable_scope(name):
                flat = tf.matmul(tf.reshape(features, [-1, 6]), weights("W", 6, depth))
                heads[name] = tf.reshape(flat, [size[0], size[1], size[2], depth])
        score = tf.reshape(heads["rpn_cls_score"], [size[0], size[1], -1, 2])
        tf.reshape(tf.nn.softmax(tf.reshape(score, [-1, 2])), tf.shape(score), name="rpn_cls_prob")
        wanted = [tf.float32, tf.int32]
        target, labels = tf.py_func(lambda *them: them[:2], [heads["rpn_cls_score"], boxes, info], wanted)
        keep = tf.reshape(tf.where(tf.not_equal(tf.reshape(labels, [-1]), -1)), [-1])
        regression = tf.gather(tf.reshape(heads["rpn_bbox_pred"], [-1, 4]), keep) - tf.gather(target, keep)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
            logits=tf.gather(tf.reshape(score, [-1, 2]), keep), labels=tf.gather(tf.reshape(labels, [-1]), keep)
        )
        loss = tf.reduce_sum(tf.abs(regression)) + tf.reduce_mean(entropy)
        return save(tmp_path, tf.train.MomentumOptimizer(0.1, 0.9), loss, tf.trainable_variables())


def test_placeholders_of_the_loss_are_no_inputs(placeholders, inspected):
    """Labels and switches stay out; what the decoder needs is in."""
    content = inspected(placeholders)
    assert inputs_of(content) == {"images": "images:0", "seq_len": "seq_len:0"}
    decoder = "CTCBeamSearchDecoder:{}"
    assert proposed(content) == [decoder.format(0), decoder.format(1), decoder.format(2), "dense:0", "net/time_major:0"]
    assert content["graph"]["decoders"][0]["settings"] == {"beam_width": 7, "merge_repeated": False, "top_paths": 1}
    assert "labels/values:0" in content["graph"]["labels"]
    assert {switch["name"]: switch["value"] for switch in content["graph"]["switches"]} == {
        "is_train": False,
        "keep_prob": None,  # nothing asks for it where its dropout is bypassed
    }
    assert content["command"] == (
        f"ckpt2saved export --graph meta --checkpoint {placeholders} --input 'images=images:0[batch,8,12,1]' "
        "--input 'seq_len=seq_len:0[batch]' --output output_indices=CTCBeamSearchDecoder:0 "
        "--output output_values=CTCBeamSearchDecoder:1 --output output_shape=CTCBeamSearchDecoder:2 "
        "--output output_dense=dense:0 --output logits=net/time_major:0 "
        "--export-dir models/ocr"
    )
    assert len(content["graph"]["training_ops"]["switched"]) == 1  # the batch norm
    assert content["step"] == 0 and not content["missing_needed"]


def test_a_queue_is_cut_off_before_the_first_float_image(queues, inspected, run):
    """There is no placeholder: the request comes in where the pixels have become floats."""
    content = inspected(queues)
    assert inputs_of(content) == {"image": "images:0"}
    assert content["graph"]["inputs"][0]["instead"] == ["fifo_queue_DequeueMany:0"]
    assert proposed(content) == [
        "CTCBeamSearchDecoder:0",
        "CTCBeamSearchDecoder:2",
        "CTCBeamSearchDecoder:4",
        "net/time_major:0",
    ]
    assert content["graph"]["training_ops"]["dropout"] == ["net/dropout"]
    assert len(content["graph"]["training_ops"]["batch_norm"]) == 1
    assert content["graph"]["proposal"]["batch"] == 2 and content["graph"]["problems"] == []
    text = run("inspect", queues).output
    assert "--input 'image=images:0[2,8,12,1]'" in text
    assert "the batch is 2 and can't be another" in text and "dropout or other random numbers" in text


def test_the_heads_of_a_detector_are_cut_before_its_python_function(detector, inspected):
    """Probabilities, boxes and scores, none of them flattened for the loss; what only the loss needs is no input."""
    content = inspected(detector + ".index")
    assert inputs_of(content) == {"data": "data:0"}
    assert proposed(content) == ["rpn_cls_prob:0", "rpn_bbox_pred/Reshape_1:0", "rpn_cls_score/Reshape_1:0"]
    assert [output["kind"] for output in content["graph"]["outputs"]] == ["probabilities", "boxes", "scores"]
    assert "PyFunc (PyFunc)" in content["graph"]["left_out"][0]
    assert content["graph"]["problems"] == [] and content["missing_needed"] == []
    assert "conv/W/Momentum" in content["missing"]


def test_an_iterator_is_cut_off_and_a_loss_without_a_decoder_gives_its_logits(tmp_path, inspected):
    """tf.data in front, CTC loss at the end, and nothing that decodes."""
    with tf.Graph().as_default(), v1_control_flow():
        images = np.zeros([4, 8, 12, 1], np.float32)
        data = tf.data.Dataset.from_tensor_slices((images, np.full([4], 12, np.int32))).batch(2)
        pixels, lengths = tf.data.make_one_shot_iterator(data).get_next()
        logits = crnn(pixels)
        prefix = save(tmp_path, loss=ctc_loss(logits, lengths))
    content = inspected(tmp_path)
    assert inputs_of(content) == {"image": "IteratorGetNext:0"}
    assert proposed(content) == ["net/time_major:0"]
    assert "no decoder" in content["graph"]["outputs"][0]["reason"]
    assert content["checkpoint"] == prefix


def test_channels_that_are_split_and_joined_come_from_one_input(tmp_path, inspected):
    """The mean of each channel is taken off between the placeholder and the network."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 12, 3], name="images")
        joined = tf.concat([part - 100.0 for part in tf.split(images, 3, 3)], 3)
        lengths = tf.placeholder(tf.int32, [None], name="seq_len")
        logits = crnn(joined, channels=3)
        tf.nn.ctc_greedy_decoder(logits, lengths)
        save(tmp_path, loss=ctc_loss(logits, lengths))
    content = inspected(tmp_path / "model.meta")
    assert inputs_of(content) == {"images": "images:0", "seq_len": "seq_len:0"}
    assert proposed(content)[-1] == "CTCGreedyDecoder:3"


def test_the_trained_tower_is_proposed(tmp_path, inspected, run):
    """The validation tower has a last layer of its own, which nothing ever trained."""
    with tf.Graph().as_default():
        lengths = tf.placeholder(tf.int32, [None], name="seq_len")
        for scope, head in (("validation", "other"), ("training", "fc")):
            with tf.name_scope(scope):
                images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
                logits = crnn(images, head=head)
                tf.nn.ctc_beam_search_decoder(logits, lengths)
        save(tmp_path, loss=ctc_loss(logits, lengths))
    content = inspected(tmp_path)
    assert inputs_of(content)["images"] == "training/images:0"
    first, second = content["graph"]["towers"]
    assert first["untrained"] == [] and second["untrained"] == ["net/other/W", "net/other/b"]
    assert content["graph"]["shared"] == ["net/conv/W"]
    assert "no optimizer trains net/other/W, net/other/b" in run("inspect", tmp_path).output.replace("\n", " ")


@pytest.mark.parametrize(
    "optimizer, slots",
    [
        (lambda: tf.train.AdamOptimizer(), {"optimizer slots (Adam)": 8}),
        (lambda: tf.train.MomentumOptimizer(0.1, 0.9), {"optimizer slots (Momentum)": 3}),
        (lambda: tf.train.RMSPropOptimizer(0.1, centered=True), {"optimizer slots (RMSProp)": 9}),
        (lambda: tf.train.AdadeltaOptimizer(), {"optimizer slots (Adadelta)": 6}),
        (lambda: tf.train.AdagradOptimizer(0.1), {"optimizer slots (Adagrad)": 3}),
        (lambda: tf.train.FtrlOptimizer(0.1), {"optimizer slots (Ftrl)": 6}),
        (lambda: tf.train.GradientDescentOptimizer(0.1), {}),
    ],
    ids=["adam", "momentum", "rmsprop", "adadelta", "adagrad", "ftrl", "none"],
)
def test_optimizer_slots_are_told_from_weights(tmp_path, inspected, optimizer, slots):
    """Each family by its own names; beta1_power and beta2_power belong to Adam."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        lengths = tf.placeholder(tf.int32, [None], name="seq_len")
        save(tmp_path, optimizer(), ctc_loss(crnn(images), lengths))
    content = inspected(tmp_path)
    counts = {group["name"]: group["count"] for group in content["roles"]}
    assert counts == dict({"weights": 3, "counters": 1}, **slots)


def test_moving_averages_and_statistics_have_roles_of_their_own(tmp_path, inspected, run):
    """Which of the two to serve only the user can say."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        logits = crnn(images, training=True)
        average = tf.train.ExponentialMovingAverage(0.9)
        average.apply(tf.trainable_variables()[:3])
        tf.nn.ctc_greedy_decoder(logits, tf.fill([tf.shape(images)[0]], 12))
        save(tmp_path)
    content = inspected(tmp_path)
    counts = {group["name"]: group["count"] for group in content["roles"]}
    assert counts["moving averages"] == 3 and counts["batch-norm statistics"] == 2
    assert content["averages"]["of"] == 3
    assert "choose     --weights ema or --weights raw: 3 of" in run("inspect", tmp_path).output
    assert inputs_of(content) == {"images": "images:0"}  # lengths that are computed are no input


def test_an_object_based_checkpoint_is_said_to_be_one(tmp_path, inspected, run):
    """tf.train.Checkpoint: names without their attributes, slots with what they belong to."""
    with tf.Graph().as_default(), tf.Session() as session:
        kernel = tf.Variable(np.zeros([3, 4], np.float32), use_resource=True)
        step = tf.Variable(np.int64(17), use_resource=True, trainable=False)
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Checkpoint(kernel=kernel, step=step).save(str(tmp_path / "ckpt"), session=session)
    content = inspected(prefix)
    assert content["object_based"] and content["step"] == 17
    assert {v["name"]: v["role"] for v in content["variables"]} == {
        "kernel": "weights",
        "save_counter": "counters",
        "step": "counters",
    }
    text = " ".join(run("inspect", prefix).output.split())  # wrapped, wherever the path ends
    assert "object-based (TensorFlow 2)" in text and "--graph MODULE:FUNCTION" in text


def test_slots_of_objects():
    """The names that Keras optimizers of several TensorFlow 2 versions leave behind."""
    from ckpt2saved.checkpoint.roles import with_roles

    end = "/.ATTRIBUTES/VARIABLE_VALUE"
    shapes = {
        "_CHECKPOINTABLE_OBJECT_GRAPH": (),
        "model/dense/kernel" + end: (3, 4),
        "model/dense/kernel/.OPTIMIZER_SLOT/optimizer/m" + end: (3, 4),
        "optimizer/iter" + end: (),
        "optimizer/_variables/2" + end: (3, 4),
    }
    found = with_roles(shapes, dict.fromkeys(shapes, ("float32", 4)))
    assert {v.name: (v.role, v.family) for v in found} == {
        "model/dense/kernel": ("weights", None),
        "model/dense/kernel/.OPTIMIZER_SLOT/optimizer/m": ("optimizer slots", "m of optimizer"),
        "optimizer/iter": ("counters", None),
        "optimizer/_variables/2": ("optimizer slots", "optimizer"),
    }


@pytest.fixture
def saved_model(tmp_path):
    """Two versions of a model, each with one signature."""
    for number in (1, 2):
        with tf.Graph().as_default(), tf.Session() as session:
            images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
            logits = crnn(images)
            session.run(tf.global_variables_initializer())
            builder = tf.saved_model.Builder(str(tmp_path / "models" / str(number)))
            signature = tf.saved_model.predict_signature_def({"x": images}, {"y": logits})
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()
    return tmp_path / "models"


def test_a_saved_model_shows_its_signatures(saved_model, inspected, run):
    """The directory, saved_model.pb itself, or the newest version of the model, said aloud."""
    for path in (saved_model / "2", saved_model / "2" / "saved_model.pb", saved_model):
        content = inspected(path)
        assert content["kind"] == "SavedModel" and content["saved_model"] == str(saved_model / "2")
    signature = content["served"]["signatures"][0]
    assert signature["inputs"] == [{"key": "x", "tensor": "images:0", "dtype": "float32", "shape": [None, 8, 12, 1]}]
    assert [served["key"] for served in signature["outputs"]] == ["y"]
    assert content["served"]["problems"] == []
    text = run("inspect", saved_model).output
    assert "is the newest of 2 versions" in " ".join(text.split()) and "serving_default" in text
    assert f"--from {saved_model / '2'}" in text.replace("\n", "")


def test_a_saved_model_of_tensorflow_2_is_read(tmp_path, inspected):
    """It has a signature for its own initialisation, which has no dtype and is no one's question."""
    if not tf.__version__.startswith("2"):
        pytest.skip("tf.saved_model.save writes it as TensorFlow 2 does")
    model = tf.Module()
    model.kernel = tf.Variable(np.zeros([3, 4], np.float32), use_resource=True)
    answer = tf.function(
        lambda x: {"y": tf.matmul(x, model.kernel)}, input_signature=[tf.TensorSpec([None, 3], name="x")]
    )
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=answer)
    served = inspected(tmp_path / "model")["served"]
    assert [signature["name"] for signature in served["signatures"]] == ["serving_default"]
    assert served["problems"] == []


def test_what_a_saved_model_could_not_answer_is_a_problem(tmp_path, inspected):
    """Random numbers in a function of TensorFlow 2, and a file of variables that is gone."""
    if not hasattr(tf, "enable_v2_behavior") or not tf.__version__.startswith("2"):
        pytest.skip("tf.Module and tf.function are TensorFlow 2")
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        always = tf.placeholder_with_default(True, [], name="always")
        tf.enable_control_flow_v2()
        logits = tf.cond(always, lambda: tf.nn.dropout(images, rate=0.5), lambda: images)
        tf.disable_control_flow_v2()
        weights("w", 2)
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.Builder(str(tmp_path / "model"))
        signature = tf.saved_model.predict_signature_def({"x": images}, {"y": logits})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    (tmp_path / "model" / "variables" / "variables.index").unlink()
    problems = inspected(tmp_path / "model")["served"]["problems"]
    assert any("variables.index: missing" in problem for problem in problems)
    assert any("it draws random numbers" in problem for problem in problems)


def test_the_meta_of_another_run_is_noticed(placeholders, tmp_path, inspected, run):
    """It lies under the checkpoint's name, and none of its variables is in there."""
    (tmp_path / "other").mkdir()
    prefix = tmp_path / "other" / "model"
    write_checkpoint(prefix, {"something/else": np.zeros([2, 3], np.float32)})
    (tmp_path / "other" / "model.meta").write_bytes((tmp_path / "model.meta").read_bytes())
    content = inspected(prefix)
    assert content["remark_details"][0]["code"] == "meta-of-another-run"
    assert "net/conv/W" in content["missing_needed"] and content["unused"] == ["something/else"]
    assert "seems to be of another run" in run("inspect", prefix).output


def test_a_meta_without_a_checkpoint_is_inspected(placeholders, tmp_path, inspected):
    """What is missing is said, and the command has a gap."""
    lone = tmp_path / "lone" / "graph.meta"
    lone.parent.mkdir()
    lone.write_bytes((tmp_path / "model.meta").read_bytes())
    content = inspected(lone)
    assert content["checkpoint"] is None and "--checkpoint PREFIX" in content["command"]
    assert content["remark_details"][0]["code"] == "no-checkpoint"


def test_a_signature_file_is_written_and_never_replaced(queues, detector, tmp_path, run):
    """Nothing to choose: it is read as it is."""
    path = tmp_path / "ocr.yaml"
    assert run("inspect", detector, "--write-signature", path).exit_code == 0
    text = path.read_text()
    model = parse_model(text, path)
    assert model.builder == "meta" and "# choose:" not in text
    specs = model.signatures[0].inputs + model.signatures[0].outputs
    assert [(spec.key, spec.tensor) for spec in specs][:2] == [("data", "data:0"), ("rpn_cls_prob", "rpn_cls_prob:0")]
    assert specs[0].shape == ("batch", "height", "width", 3) and len(model.parity) == 2
    again = run("inspect", detector, "--write-signature", path)
    assert again.exit_code == 2 and "is there already" in again.output and path.read_text() == text
    assert run("inspect", detector, "--write-signature", path, "--force").exit_code == 0


def test_outputs_end_where_a_handwritten_loss_begins(tmp_path, inspected):
    """A softmax written out as Keras writes it, clipped for a logarithm, and boxes that a loss adds up as they are."""
    with tf.Graph().as_default():
        image = tf.placeholder(tf.float32, [None, 8, 8, 3], name="image")
        label = tf.placeholder(tf.float32, [None, 8, 8, 5], name="label")
        features = tf.nn.conv2d(image, weights("conv/W", 3, 3, 3, 6), [1, 1, 1, 1], "SAME")
        boxes = tf.nn.bias_add(tf.tensordot(features, weights("boxes/W", 6, 4), 1), weights("boxes/b", 4), name="boxes")
        powers = tf.exp(tf.nn.bias_add(tf.tensordot(features, weights("fc/W", 6, 5), 1), weights("fc/b", 5)))
        classes = tf.divide(powers, tf.reduce_sum(powers, 3, keepdims=True), name="classes")
        shares = classes / tf.reduce_sum(classes, 3, keepdims=True)
        entropy = -tf.reduce_sum(label * tf.log(tf.minimum(tf.maximum(shares, 1e-7), 1 - 1e-7)))
        content = inspected(save(tmp_path, loss=entropy + tf.reduce_sum(boxes)))
    assert {output["tensor"] for output in content["graph"]["outputs"]} == {"boxes:0", "classes:0"}


def test_what_the_structure_decides_is_not_set(tmp_path, placeholders, run):
    """The command and the file leave it to export, which proves it; sizes and examples are there."""
    path = tmp_path / "ocr.yaml"
    assert run("inspect", placeholders, "--write-signature", path).exit_code == 0
    text = path.read_text()
    model = parse_model(text, path)
    assert not model.surgery.pinned and "choose" not in text
    assert [spec.shape for spec in model.signatures[0].inputs] == [("batch", 8, 12, 1), ("batch",)]
    assert model.parity[0].inputs["seq_len"].uniform == (1.0, 13.0)


def switched(directory, name, true, false):
    """A training whose logits go through `true` or `false`, as a switch says."""
    with tf.Graph().as_default(), v1_control_flow():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        switch = tf.placeholder(tf.bool, [], name=name)
        logits = crnn(images)
        logits = tf.identity(tf.cond(switch, lambda: true(logits), lambda: false(logits)), name="chosen")
        return save(directory, loss=ctc_loss(logits, tf.fill([tf.shape(images)[0]], 12)))


def test_a_name_is_no_more_than_a_suggestion(tmp_path, inspected, run):
    """Where the branches don't tell, the user is asked; and export asks too."""
    prefix = switched(tmp_path, "is_train", lambda x: 2 * x, lambda x: 3 * x)
    content = inspected(prefix)
    (choice,) = content["graph"]["proposal"]["choices"]
    assert choice.startswith("--set is_train=…: nothing in the graph shows") and choice.endswith("by its name false")
    assert "--set" not in content["command"]
    assert run("inspect", prefix, "--write-signature", tmp_path / "ocr.yaml").exit_code == 0
    assert "# choose: set: {is_train: false}" in (tmp_path / "ocr.yaml").read_text()
    result = run("export", "--model", tmp_path / "ocr.yaml", "--checkpoint", prefix, "--export-dir", tmp_path / "out")
    assert result.exit_code == 3 and "--set is_train=False" in result.output


def test_a_name_that_contradicts_the_branches_suggests_nothing(tmp_path, inspected):
    """Dropout where is_train is false: neither is proposed."""
    prefix = switched(tmp_path, "is_train", lambda x: x, lambda x: tf.nn.dropout(x, rate=0.5))
    (choice,) = inspected(prefix)["graph"]["proposal"]["choices"]
    assert "its name says" in choice and "by its name" not in choice


def test_a_switch_without_a_telling_name_is_decided(tmp_path, inspected):
    """By its branches alone, in whichever sense its author meant it."""
    prefix = switched(tmp_path, "mode", lambda x: x, lambda x: tf.nn.dropout(x, rate=0.5))
    (switch,) = inspected(prefix)["graph"]["switches"]
    assert switch["name"] == "mode" and switch["value"] is True


def test_a_number_that_says_how_to_run_is_no_input(tmp_path, inspected, run):
    """A request brings the image alone, and the printed command is one that export proves."""
    with tf.Graph().as_default(), v1_control_flow():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        mode = tf.placeholder(tf.int32, [], name="mode")
        logits = crnn(images, training=tf.equal(mode, 1))
        prefix = save(tmp_path, loss=ctc_loss(logits, tf.fill([tf.shape(images)[0]], 12)))
    content = inspected(prefix)
    assert inputs_of(content) == {"images": "images:0"} and not content["graph"]["problems"]
    (switch,) = content["graph"]["switches"]
    assert switch["name"] == "mode" and switch["value"] != 1
    arguments = content["command"].split()[1:-2]
    result = run(*[one.strip("'") for one in arguments], "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output


def test_a_number_that_chooses_between_two_networks_is_an_input(tmp_path, inspected):
    """Neither is training's: a request says which one is to answer."""
    with tf.Graph().as_default(), v1_control_flow():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        script = tf.placeholder(tf.int32, [], name="script")
        one, two = crnn(images, scope="one"), crnn(images, scope="two")
        merged = tf.cond(tf.equal(script, 1), lambda: one, lambda: two)
        logits = tf.tensordot(merged, weights("fc/W", CLASSES, CLASSES), 1)
        prefix = save(tmp_path, loss=ctc_loss(logits, tf.fill([tf.shape(images)[0]], 12)))
    assert inputs_of(inspected(prefix)) == {"images": "images:0", "script": "script:0"}


def test_a_loss_that_no_tensorflow_has_is_left_out(placeholders, inspected, run):
    """Somebody's own library computed it: the network before it is all there."""
    meta_graph, path = tf.MetaGraphDef(), placeholders + ".meta"
    with open(path, "rb") as file:
        meta_graph.ParseFromString(file.read())
    (loss,) = [node for node in meta_graph.graph_def.node if node.op == "CTCLoss"]
    loss.op = "OurOwnCTC"
    loss.attr.clear()
    with open(path, "wb") as file:
        file.write(meta_graph.SerializeToString())
    content = inspected(placeholders)
    assert [remark["code"] for remark in content["remark_details"] if "OurOwnCTC" in remark["text"]] == ["unknown-op"]
    assert inputs_of(content) == {"images": "images:0", "seq_len": "seq_len:0"}
    assert "--output output_indices=CTCBeamSearchDecoder:0" in content["command"]


def test_what_export_would_refuse_is_a_problem(tmp_path, inspected):
    """Found out before anybody tries."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        logits = crnn(images)
        logits += tf.random_normal(tf.shape(logits))
        save(tmp_path, loss=ctc_loss(logits, tf.fill([tf.shape(images)[0]], 12)))
    (problem,) = inspected(tmp_path)["graph"]["problem_details"]
    assert problem["code"] == "random-op"


def test_probabilities_are_served_beside_their_logarithm(tmp_path, inspected):
    """As Keras's CTC loss has it: it takes the logarithm itself, of a softmax that its users read."""
    with tf.Graph().as_default(), v1_control_flow():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        shares = tf.nn.softmax(tf.transpose(crnn(images), [1, 0, 2]), name="shares")
        logits = tf.log(tf.transpose(shares, [1, 0, 2]) + 1e-7, name="logarithm")
        content = inspected(save(tmp_path, loss=ctc_loss(logits, tf.fill([tf.shape(images)[0]], 12))))
    assert proposed(content) == ["logarithm:0", "shares:0"]


def test_two_decoders_of_the_same_logits_are_a_choice(tmp_path, run):
    """Both are likely; which of the two is for the user to say."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 12, 1], name="images")
        lengths = tf.placeholder(tf.int32, [None], name="seq_len")
        logits = crnn(images)
        tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=7)
        tf.nn.ctc_greedy_decoder(logits, lengths)
        save(tmp_path, loss=ctc_loss(logits, lengths))
    path = tmp_path / "ocr.yaml"
    result = run("inspect", tmp_path, "--write-signature", path)
    assert "another decoder: CTCGreedyDecoder" in result.output
    assert "# choose: another decoder: CTCGreedyDecoder" in path.read_text()
    assert parse_model(path.read_text(), path).signatures[0].outputs[0].tensor == "CTCBeamSearchDecoder:0"


def test_what_can_not_be_read_is_one_message(tmp_path, placeholders, run):
    """Exit 1, what was found and what was expected; no traceback."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage.meta").write_bytes(b"\xff\x00garbage" * 20)
    (tmp_path / "garbage").write_bytes(b"garbage")
    (tmp_path / "sm").mkdir()
    (tmp_path / "sm" / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    meta = (tmp_path / "model.meta").read_bytes()
    (tmp_path / "cut.meta").write_bytes(meta[: len(meta) // 2])
    for name, message in (
        ("empty", "neither a checkpoint here"),
        ("garbage.meta", "this is not a meta graph, or it is damaged"),
        ("cut.meta", "this is not a meta graph, or it is damaged"),
        ("garbage", "this is not a checkpoint"),
        ("sm", "this is no SavedModel, or it is damaged"),
        ("nothing", "no such checkpoint"),
    ):
        result = run("inspect", tmp_path / name)
        assert result.exit_code == 1 and message in result.output, (name, result.output, result.exception)
    result = run(
        "inspect",
        write_checkpoint(tmp_path / "lone", {"w": np.zeros(3, np.float32)}),
        "--write-signature",
        tmp_path / "x.yaml",
    )
    assert result.exit_code == 1 and "there is no .meta" in result.output
