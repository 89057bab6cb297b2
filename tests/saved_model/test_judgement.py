"""SavedModels that TensorFlow wrote, whole and spoilt, judged without TensorFlow."""

from __future__ import annotations

import io
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorflow.python.ops import lookup_ops

from ckpt2saved.checkpoint.index import read_index
from ckpt2saved.errors import VersionError
from ckpt2saved.errors.problem import texts
from ckpt2saved.files.protobuf.crc32c import crc32c, masked
from ckpt2saved.files.protobuf.wire import MOST_FIELDS, Malformed, varint, written
from ckpt2saved.files.reading import MOST_LEVELS
from ckpt2saved.graph.tf1 import SavedModel, tf
from ckpt2saved.saved_model.graph_facts import read_graph_facts
from ckpt2saved.saved_model.judgement import EVERYTHING, READ, SAMPLED, judge, judge_warmup
from ckpt2saved.saved_model.structure import check_structure
from ckpt2saved.versions import bump_version, list_versions
from tests.support.index_tables import entry, index_table

DATA = "variables/variables.data-00000-of-00001"
INDEX = "variables/variables.index"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 9600\n"


def write(directory, build, *, tags=("serve",), partitions=None, resource=False, main_op=None, assets=False):
    """A SavedModel of TensorFlow's own builder; `build` returns the inputs and outputs of its signature."""
    with tf.Graph().as_default(), tf.Session() as session:
        partitioner = tf.fixed_size_partitioner(partitions) if partitions else None
        with tf.variable_scope("net", use_resource=resource, partitioner=partitioner):
            inputs, outputs = build()
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        signature = tf.saved_model.signature_def_utils.predict_signature_def(inputs, outputs)
        builder = tf.saved_model.builder.SavedModelBuilder(str(directory))
        options = {"main_op": main_op()} if main_op else {}
        if assets:
            options["assets_collection"] = tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(session, list(tags), {"serving_default": signature}, **options)
        builder.save()
    return directory


def dense():
    """x [?, 30] times a variable [30, 20], plus another."""
    x = tf.placeholder(tf.float32, [None, 30], name="x")
    w, b = tf.get_variable("w", [30, 20]), tf.get_variable("b", [20], initializer=tf.ones_initializer())
    return {"x": x}, {"y": tf.matmul(x, w) + b}


def words():
    """The numbers of words that stand in the graph."""
    text = tf.placeholder(tf.string, [None], name="text")
    table = lookup_ops.index_table_from_tensor(tf.constant(["a", "b"]), default_value=0)
    return {"text": text}, {"ids": table.lookup(text)}


def changed(directory, change):
    """The SavedModel after a change of its meta graph."""
    path = directory / "saved_model.pb"
    message = SavedModel.FromString(path.read_bytes())
    change(message.meta_graphs[0])
    path.write_bytes(message.SerializeToString())
    return directory


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write(tmp_path_factory.mktemp("good") / "1", dense)


@pytest.fixture
def version(good, tmp_path):
    return Path(shutil.copytree(str(good), str(tmp_path / "source")))


# --- what TF Serving serves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("partitions", [None, 3], ids=["whole", "partitioned"])
def test_variables_of_each_kind_are_found_in_the_index(tmp_path, resource, partitions):
    """Their names, types and shapes are those that the graph restores."""
    directory = write(tmp_path / "1", dense, resource=resource, partitions=partitions)
    assert judge(directory, EVERYTHING) == ()
    assert {(one.name, one.shape) for one in read_graph_facts(directory).restored} == {
        ("net/w", (30, 20)),
        ("net/b", (20,)),
    }


@pytest.mark.parametrize("key", ["saved_model_main_op", "legacy_init_op"])
def test_a_table_that_is_filled_after_loading(tmp_path, key):
    """By the op that TF Serving's loader runs, under either name that it knows."""

    def under(meta_graph):
        meta_graph.signature_def.pop("__saved_model_init_op", None)
        collection = meta_graph.collection_def["saved_model_main_op"]
        name = collection.node_list.value[0]
        del meta_graph.collection_def["saved_model_main_op"]
        meta_graph.collection_def[key].node_list.value.append(name)

    directory = write(tmp_path / "1", words, main_op=tf.tables_initializer)
    assert judge(directory) == ()
    assert judge(changed(directory, under)) == ()


def test_a_table_filled_from_an_asset(tmp_path):
    """Which must be there."""
    (tmp_path / "words.txt").write_text("a\nb\n")

    def from_file():
        text = tf.placeholder(tf.string, [None], name="text")
        return {"text": text}, {"ids": lookup_ops.index_table_from_file(str(tmp_path / "words.txt")).lookup(text)}

    directory = write(tmp_path / "1", from_file, main_op=tf.tables_initializer, assets=True)
    assert judge(directory) == ()
    (directory / "assets" / "words.txt").unlink()
    assert texts(judge(directory)) == [
        "assets/words.txt: missing, and the graph reads it; copy the complete file again"
    ]

    directory = write(tmp_path / "2", from_file, main_op=tf.tables_initializer)
    (problem,) = texts(judge(directory))
    assert f"reads '{tmp_path / 'words.txt'}', which is no file of the SavedModel's assets" in problem


def test_several_meta_graphs_of_which_one_is_served(good, tmp_path):
    """TF Serving takes the one with the tag serve alone."""
    directory = Path(shutil.copytree(str(good), str(tmp_path / "1")))
    message = SavedModel.FromString((good / "saved_model.pb").read_bytes())
    other = message.meta_graphs.add()
    other.CopyFrom(message.meta_graphs[0])
    message.meta_graphs[0].meta_info_def.tags[:] = ["train"]
    (directory / "saved_model.pb").write_bytes(message.SerializeToString())
    assert judge(directory) == ()


@pytest.mark.skipif(not tf.__version__.startswith("2"), reason="TensorFlow 2 writes them")
def test_functions_of_tensorflow_2(tmp_path):
    """Variables restored, tables filled and used inside of functions; and what a whole model object leaves out."""
    import tensorflow

    class Words(tensorflow.Module):
        def __init__(self):
            keys, values = tensorflow.constant(["a", "b"]), tensorflow.constant([1, 2])
            filler = tensorflow.lookup.KeyValueTensorInitializer(keys, values)
            self.table = tensorflow.lookup.StaticHashTable(filler, -1)
            self.scale = tensorflow.Variable(np.ones([2, 3], "float32"))
            self.title = tensorflow.Variable("words")

        @tensorflow.function(input_signature=[tensorflow.TensorSpec([None], tensorflow.string)])
        def ids(self, text):
            if tensorflow.size(text) > 3:
                ids = self.table.lookup(text)
            else:
                ids = self.table.lookup(text) + 1
            return {"ids": ids, "scale": self.scale * 2.0}

    module = Words()
    tensorflow.saved_model.save(module, str(tmp_path / "1"), signatures=module.ids.get_concrete_function())
    assert judge(tmp_path / "1", EVERYTHING) == ()
    assert "scale/.ATTRIBUTES/VARIABLE_VALUE" in {one.name for one in read_graph_facts(tmp_path / "1").restored}

    def without_init(meta_graph):
        meta_graph.signature_def.pop("__saved_model_init_op", None)
        meta_graph.collection_def.pop("saved_model_main_op", None)

    (problem,) = texts(judge(changed(tmp_path / "1", without_init)))
    assert "nothing fills it when the SavedModel is loaded" in problem
    tensorflow.saved_model.save(tensorflow.Module(), str(tmp_path / "2"))
    assert any("it has no signature" in problem for problem in texts(judge(tmp_path / "2")))


# --- what it does not ---------------------------------------------------------------------------------------------


def tagged(*tags):
    def change(directory):
        def tag(meta_graph):
            meta_graph.meta_info_def.tags[:] = tags

        changed(directory, tag)

    return change


def of_meta_graph(change):
    return lambda directory: changed(directory, change)


def filled(name, content):
    return lambda directory: (directory / name).write_bytes(content)


def truncated(name, size):
    return lambda directory: os.truncate(str(directory / name), size)


def renamed_graph_def(directory):
    message = SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    (directory / "saved_model.pb").write_bytes(message.meta_graphs[0].graph_def.SerializeToString())


def flipped(name, at):
    def change(directory):
        content = bytearray((directory / name).read_bytes())
        content[at] ^= 255
        (directory / name).write_bytes(bytes(content))

    return change


def without_signatures(meta_graph):
    meta_graph.signature_def.clear()


def with_a_missing_tensor(meta_graph):
    meta_graph.signature_def["serving_default"].outputs["y"].name = "gone:0"


def with_a_sparse_output(meta_graph):
    info = meta_graph.signature_def["serving_default"].outputs["y"]
    info.coo_sparse.values_tensor_name = info.name


def without_saver(meta_graph):
    meta_graph.ClearField("saver_def")


def with_a_dangling_input(meta_graph):
    meta_graph.graph_def.node[-1].input.append("^gone")


def with_python(meta_graph):
    meta_graph.graph_def.node.add(name="py", op="PyFunc")


@pytest.mark.parametrize(
    "change, message",
    [
        pytest.param(tagged("train"), "nothing else, so TF Serving loads none; the tags are: train", id="train"),
        pytest.param(tagged("serve", "tpu"), "the tags are: serve, tpu", id="serve-tpu"),
        pytest.param(tagged(), "no meta graph has a tag", id="no-tag"),
        pytest.param(renamed_graph_def, "saved_model.pb: ", id="graph-def"),
        pytest.param(of_meta_graph(without_signatures), "it has no signature", id="no-signature"),
        pytest.param(of_meta_graph(with_a_missing_tensor), "gone:0: not in the graph", id="no-such-tensor"),
        pytest.param(
            of_meta_graph(with_a_sparse_output), "y: no tensor name (a SparseTensor bound whole?)", id="sparse"
        ),
        pytest.param(of_meta_graph(without_saver), "nothing restores or initializes it", id="no-saver"),
        pytest.param(of_meta_graph(with_a_dangling_input), "gone: no node of the graph", id="dangling"),
        pytest.param(of_meta_graph(with_python), "py (PyFunc): it calls Python", id="python"),
        pytest.param(filled("saved_model.pb", LFS), "saved_model.pb: a Git LFS pointer", id="lfs-pb"),
        pytest.param(filled(INDEX, LFS), INDEX + ": a Git LFS pointer", id="lfs-index"),
        pytest.param(filled(DATA, LFS), DATA + ": a Git LFS pointer", id="lfs-data"),
        pytest.param(filled(DATA, b""), DATA + ": empty, and the index places 2480 bytes there", id="empty-data"),
        pytest.param(truncated(DATA, 2479), DATA + ": cut off after 2479 bytes, of the 2480", id="short-data"),
        pytest.param(filled(DATA, bytes(2480)), "does not match the data of net/b, net/w", id="zeros"),
        pytest.param(flipped(DATA, 2000), "does not match the data of net/w", id="a-bit-of-data"),
        pytest.param(flipped(INDEX, 20), INDEX + ": damaged: a checksum does not match", id="a-bit-of-index"),
        pytest.param(filled("export.meta", b""), "export.meta: with a file of this name", id="session-bundle"),
    ],
)
def test_what_tf_serving_does_not_load_or_answer_from(version, tmp_path, change, message):
    """Found by every command that publishes or promises."""
    change(version)
    (problem,) = [one for one in texts(judge(version)) if message in one]
    with pytest.raises(VersionError) as caught:
        bump_version(tmp_path / "base", version)
    assert "not republished, since TF Serving could not load it" in str(caught.value) and problem in str(caught.value)
    assert not (tmp_path / "base").exists()
    (tmp_path / "other").mkdir()
    version.rename(tmp_path / "other" / "1")
    (listed,) = list_versions(tmp_path / "other", READ)
    assert problem in texts(listed.problems)


def test_the_variables_of_another_saved_model(version, tmp_path):
    """Other names, other shapes; and the same shapes with other values, which the checksums tell apart."""

    def other():
        x = tf.placeholder(tf.float32, [None, 30], name="x")
        return {"x": x}, {"y": tf.matmul(x, tf.get_variable("v", [30, 20]))}

    def larger():
        x = tf.placeholder(tf.float32, [None, 30], name="x")
        w, b = tf.get_variable("w", [30, 21]), tf.get_variable("b", [21])
        return {"x": x}, {"y": tf.matmul(x, w) + b}

    def variables_of(source, *names):
        for name in names:
            shutil.copy(str(source / name), str(version / name))
        return texts(judge(version))

    foreign = write(tmp_path / "a", other)
    assert "what the graph restores is not in it: net/b, net/w" in variables_of(foreign, INDEX, DATA)[0]
    foreign = write(tmp_path / "b", larger, resource=True)
    (problem,) = variables_of(foreign, INDEX, DATA)
    assert "of another shape: net/b ([20] in the graph, [21] here), net/w ([30, 20] in the graph" in problem
    same = write(tmp_path / "c", dense)
    variables_of(same, INDEX, DATA)
    assert judge(version) == ()
    (problem,) = variables_of(write(tmp_path / "d", dense), DATA)
    assert "does not match the data of net/w" in problem


def test_a_table_that_nothing_fills(tmp_path):
    """Every answer would be "Table not initialized"."""
    (problem,) = texts(judge(write(tmp_path / "1", words)))
    assert "lookup table net/string_to_index" in problem and "nothing fills it when" in problem


def test_how_much_is_read_is_the_callers_choice(version):
    """A damage in a large tensor is beyond a sample."""
    flipped(DATA, 2000)(version)
    assert judge(version, 1000) == ()
    assert judge(version, SAMPLED) != ()


def test_what_tf_serving_refuses_in_a_warm_up_file(tmp_path):
    """A damaged record, one that is cut off, too many."""
    (tmp_path / "assets.extra").mkdir()
    path = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    assert judge_warmup(tmp_path) == ()
    with tf.python_io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\x32\x00")
    content = path.read_bytes()
    assert judge_warmup(tmp_path) == ()
    for broken in (content[:-1], content[:5], content[:12] + b"\xff" + content[13:], LFS):
        path.write_bytes(broken)
        assert len(judge_warmup(tmp_path)) == 1
    path.write_bytes(content * 1001)
    assert "1001 requests or more, and TF Serving takes 1000 at most" in texts(judge_warmup(tmp_path))[0]


# --- hostile files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["saved_model.pb", INDEX, DATA, "assets.extra/tf_serving_warmup_requests"])
def test_a_pipe_is_not_waited_for(version, name):
    """Nor a directory read."""
    (version / "assets.extra").mkdir(exist_ok=True)
    if (version / name).exists():
        (version / name).unlink()
    os.mkfifo(str(version / name))
    assert any(f"{name}: a named pipe, not a file" in one for one in texts(judge(version) + judge_warmup(version)))
    (version / name).unlink()
    (version / name).mkdir()
    assert any(f"{name}: a directory, not a file" in one for one in texts(judge(version) + judge_warmup(version)))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\x12\x00" * 2000000, "more than 1000 meta graphs"),
        (b"\x08\x00" * (MOST_FIELDS + 1), "a message of more than 4000000 fields"),
        (b"\x12\xff\xff\xff\xff\x07", "truncated after 6 bytes, or damaged"),
    ],
    ids=["meta-graphs", "fields", "length"],
)
def test_crafted_protobuf_ends(version, content, message):
    """Within seconds, and in words."""
    (version / "saved_model.pb").write_bytes(content)
    assert any(message in problem for problem in texts(judge(version)))


def test_messages_deep_inside_of_each_other(version):
    """Protobuf reads a hundred."""
    nested = b""
    for _ in range(200):
        nested = b"\x12" + length(nested) + nested  # the value of an entry
        nested = b"\x12" + length(nested) + nested  # NameAttrList.attr
        nested = b"\x52" + length(nested) + nested  # AttrValue.func
    entry = b"\x12" + length(nested) + nested
    node = b"\x2a" + length(entry) + entry
    graph = b"\x0a" + length(node) + node
    meta_graph = b"\x12" + length(graph) + graph
    content = b"\x12" + length(meta_graph) + meta_graph
    with pytest.raises(Malformed, match="messages more than 100 deep"):
        check_structure(io.BytesIO(content), len(content))


def length(content):
    """As protobuf writes it."""
    size, found = len(content), b""
    while size >= 0x80:
        found += bytes([size & 0x7F | 0x80])
        size >>= 7
    return found + bytes([size])


def test_whatever_protobuf_does_not_parse_is_found(version):
    """A byte anywhere that breaks a message or a text."""
    content = bytearray((version / "saved_model.pb").read_bytes())
    random = np.random.RandomState(1)
    for at in random.randint(0, len(content), 300):
        kept, content[at] = content[at], 255
        try:
            SavedModel.FromString(bytes(content))
        except Exception:  # each of protobuf's implementations has its own
            with pytest.raises(Malformed):
                check_structure(io.BytesIO(bytes(content)), len(content))
        content[at] = kept


def test_too_many_directories_are_named(version, tmp_path):
    """A thousand of them would not end in a traceback."""
    deepest = version / "assets.extra"
    for _ in range(MOST_LEVELS + 2):
        deepest = deepest / "a"
    deepest.mkdir(parents=True)
    with pytest.raises(VersionError, match="assets.extra: more than 64 nested directories"):
        bump_version(tmp_path / "base", version)


# --- checksums ----------------------------------------------------------------------------------------------------


def test_an_index_is_read_as_tensorflow_reads_it(good):
    """Names, shapes and dtypes of all, and where they lie."""
    reader = tf.train.load_checkpoint(str(good / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    index = read_index(good / INDEX)
    assert {name.decode(): list(entry.shape) for name, entry in index.entries.items()} == shapes
    data = (good / DATA).read_bytes()
    entry = index.entries[b"net/b"]
    assert struct.unpack_from("<20f", data, entry.offset) == tuple(reader.get_tensor("net/b"))


def test_a_shape_that_is_no_message_is_damage(version):
    """Although the checksum of its block fits."""
    content = bytearray((version / INDEX).read_bytes())
    at = content.index(b"\x12\x02\x08\x14")  # the one size of net/b, 20
    content[at + 1] = 5
    end = varint(content, len(content) - 48)[0] - 5  # of the block with tensors
    content[end + 1 : end + 5] = struct.pack("<I", masked(crc32c(bytes(content[: end + 1]))))
    (version / INDEX).write_bytes(bytes(content))
    (problem,) = texts(judge(version))
    assert problem.startswith(INDEX + ": damaged: its block offsets are inconsistent")


def test_a_graph_as_text(good, tmp_path):
    """TF Serving reads it where there is no other; its tags and signatures are looked at."""
    from google.protobuf import text_format

    message = SavedModel.FromString((good / "saved_model.pb").read_bytes())
    directory = Path(shutil.copytree(str(good), str(tmp_path / "1")))
    (directory / "saved_model.pb").unlink()
    path = directory / "saved_model.pbtxt"
    path.write_text(text_format.MessageToString(message), encoding="utf-8")
    assert judge(directory) == ()
    asset = (
        "collection_def { key: 'a' value { any_list { value { [type.googleapis.com/tensorflow.AssetFileDef] {} } } } }"
    )
    path.write_text(text_format.MessageToString(message)[:-2] + asset + "}", encoding="utf-8")
    text_format.Parse(path.read_text(), SavedModel())
    assert judge(directory) == ()
    path.write_text(text_format.MessageToString(message)[:-2], encoding="utf-8")
    assert tuple(texts(judge(directory))) == (
        "saved_model.pbtxt: it can't be read as protobuf's text form, truncated or damaged: it ends in the middle of a "
        "field; export it again",
    )
    message.meta_graphs[0].signature_def.clear()
    path.write_text(text_format.MessageToString(message), encoding="utf-8")
    assert tuple(texts(judge(directory))) == (
        "saved_model.pbtxt: it has no signature, so that TF Serving answers no request; export it with a signature "
        "serving_default",
    )
    message.meta_graphs[0].meta_info_def.tags.append("tpu")
    path.write_text(text_format.MessageToString(message), encoding="utf-8")
    assert "the tags are: serve, tpu" in judge(directory)[0].text


def test_an_index_of_billions_of_data_files(version):
    """The first that are missing are named, and no list of all is made."""
    name = b"v"
    (version / INDEX).write_bytes(index_table(entry(b"", written(1, 2**31 - 1)) + entry(name, written(1, 1))))
    found = texts(judge(version))
    assert "variables/variables.data-00000-of-2147483647: missing" in found[0] and len(found) < 10


def test_tags_that_are_no_texts(tmp_path):
    """In a graph as text: a message, and a number."""
    (tmp_path / "saved_model.pbtxt").write_text("meta_graphs { meta_info_def { tags {} tags: 1 } }")
    assert "no meta graph is tagged 'serve'" in texts(judge(tmp_path))[0]
