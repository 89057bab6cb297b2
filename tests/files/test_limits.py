"""Files and options that would take for ever, or all of the memory: refused with the file and the limit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.checkpoint.files import recorded_names
from ckpt2saved.errors import CheckpointError, Ckpt2SavedError, SignatureError, UsageError
from ckpt2saved.files.json_text import read_json_file
from ckpt2saved.files.pictures import NoPicture, read_picture
from ckpt2saved.server_config.version_batching import read_parameters
from ckpt2saved.signature import file as signature_file
from ckpt2saved.signature.characters import NoCharacters, read_characters
from ckpt2saved.signature.file import load_model
from ckpt2saved.signature.renaming import Renaming, check_rule
from ckpt2saved.signature.yaml_nodes import parse_scalar
from ckpt2saved.verification.accuracy.labels import read_labels

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "crnn"

TEXT = """format: 1
graph: {builder: meta}
signatures:
  serving_default:
    inputs:
      image: {tensor: "x:0", dtype: float32, shape: [batch, 32, width, 3]}
      count: {tensor: "n:0", dtype: int32, shape: [batch]}
    outputs: {ids: {tensor: "y:0", dtype: int64, shape: [batch]}}
parity:
  - dims: {batch: 2, width: 100}
    inputs:
      image: {uniform: [0, 255]}
      count: {values: [1, 2]}
"""


def refused(tmp_path, text):
    """The message, within seconds."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.process_time()
    with pytest.raises(SignatureError) as caught:
        load_model(str(path))
    assert time.process_time() - start < 20
    assert str(caught.value).startswith(str(path)) and len(str(caught.value)) < 30000
    return str(caught.value)


def bomb(depth):
    lists = ["&a0 [1,1,1,1,1,1,1,1,1]"]
    lists += [f"&a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    return f"[{', '.join(lists)}]"


def mapping_bomb():
    lines = ["  s0: &s0 {inputs: {x: 1}, outputs: {x: 1}}"]
    for n in range(1, 9):
        parts = ", ".join(f"k{k}: *s{n - 1}" for k in range(9))
        lines.append(f"  s{n}: &s{n} {{inputs: {{{parts}}}, outputs: {{{parts}}}}}")
    return "format: 1\nsignatures:\n" + "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [TEXT.replace("[1, 2]", bomb(9)), TEXT.replace("[batch, 32, width, 3]", bomb(12)), mapping_bomb()],
    ids=["values", "shape", "signatures"],
)
def test_aliases_that_stand_for_millions_of_values(tmp_path, text):
    """A kilobyte of YAML, and what it stands for counted before it is read."""
    assert "with what its aliases stand for it has" in refused(tmp_path, text)
    assert "at most 1000000 are read" in refused(tmp_path, text)


def test_aliases_that_stand_for_few_values_are_read(tmp_path):
    """As they were."""
    text = TEXT.replace("[0, 255]", "&two [0, 255]").replace("values: [1, 2]", "values: *two")
    (tmp_path / "mine.yaml").write_text(text)
    assert load_model(str(tmp_path / "mine.yaml")).parity[0].inputs["count"].values == [0, 255]


def test_aliases_inside_of_aliases_are_deep(tmp_path):
    """Each alias stands for a list with the one before; the text itself is three deep."""
    chain = ", ".join(["&a0 [1]"] + [f"&a{n} [*a{n - 1}]" for n in range(1, 1300)])
    message = refused(tmp_path, TEXT.replace("[1, 2]", f"[{chain}]"))
    assert "with what its aliases stand for it is nested 1306 deep; at most 50 are read" in message


TEN_MB = 10 << 20


@pytest.mark.parametrize(
    "text, message",
    [
        ("x: " + "a" * TEN_MB, "'x' is not a known key"),
        ("[" * TEN_MB, "nested more than 50 deep"),
        ("- " * (TEN_MB // 2), "nested more than 50 deep"),
        ("x: !<" + "a" * (TEN_MB // 8) + "> x", "characters left out"),
        ("x: *" + "a" * (TEN_MB // 8), "found undefined alias"),
        ("%TAG !a! x\n" * (TEN_MB // 11), "duplicate tag handle"),
    ],
    ids=["scalar", "flow", "sequences", "tag", "alias", "directives"],
)
def test_megabytes_of_one_construct(tmp_path, text, message):
    """Seconds, and a message that is no megabytes long."""
    assert message in refused(tmp_path, text if text[0] in "[-%" else TEXT + text)


@pytest.mark.parametrize(
    "text, message",
    [
        (TEXT + "x: [" + "1," * 200000 + "1]\n", "more than 100000 values; expected a smaller file"),
        (TEXT + "".join(f"k{n}: 1\n" for n in range(5000)), "100 problems, of which these are the first"),
        (TEXT.encode() + b"#" * (17 << 20), "more than 16 MB; expected a smaller file"),
        (TEXT.replace("width: 100", "width: 1" + ":59" * 300000), "at most 1000 are read"),
        (TEXT.replace("width: 100", "width: " + "9" * 300000), "at most 1000 are read"),
        (TEXT.replace("width: 100", "width: 1:30"), "found 1:30 (a number of base 60 to YAML; put it in quotes"),
        (TEXT.replace("[0, 255]", "[0, 1:30.5]"), "found 1:30.5 (a number of base 60 to YAML"),
        (TEXT.replace("width: 100", "width: 0100"), "found 0100 (a number of base 8 to YAML; put it in quotes"),
        (TEXT.replace("width: 100", "width: .inf"), "a size is expected; found .inf"),
        (TEXT.replace("width: 100", "width: no"), "a size is expected; found no"),
        (TEXT.replace("image:", '"a\\nb":'), "a name of at most 1000 characters, none of them a control character"),
        (TEXT.replace("image:", '"a\\0b":'), "none of them a control character, is expected; found 'a\\x00b'"),
        (TEXT.replace("image:", '"\\ud800":'), "none of them a control character"),
        (TEXT.replace('"x:0"', '"' + "x" * 2000 + '"'), "a name of at most 1000 characters"),
        (TEXT.replace("meta}", "meta, map: {'(': x}}"), "'(' is not a regular expression"),
        (TEXT.replace("meta}", "meta, map: {'a': '\\9'}}"), "'\\\\9' is not a valid replacement for matches of 'a'"),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_what_a_signature_file_may_not_have(tmp_path, text, message):
    """Each with the place and the limit."""
    assert message in refused(tmp_path, text)


def test_devices_are_no_signature_files(tmp_path):
    """One that never ends, and one that nobody writes to."""
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    os.mkfifo(str(tmp_path / "pipe.yaml"))
    for name in ("zero.yaml", "pipe.yaml"):
        with pytest.raises(SignatureError, match="this is a device or a pipe"):
            load_model(str(tmp_path / name))


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", 3),
        ("-3", -3),
        ("0", 0),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1.5e+3", 1500.0),
        ("false", False),
        ("on", True),
        ("fast", "fast"),
        ("2024-01-01", "2024-01-01"),
        ("2024-99-99", "2024-99-99"),
        ("[&a [1], *a]", "[&a [1], *a]"),
        ("!!python/object/apply:os.system [x]", "!!python/object/apply:os.system [x]"),
        ("", ""),
        ("'on'", "on"),
        ('"3"', "3"),
        ("a: b", "a: b"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
    ],
)
def test_values_on_the_command_line(text, value):
    """A number, a truth value, or the word itself."""
    assert parse_scalar(text) == value and type(parse_scalar(text)) is type(value)


@pytest.mark.parametrize("text", ["1:30", "010", "1:30:00.5", "9" * 2000])
def test_numbers_that_are_others_to_yaml(run, text):
    """Exit 2; and not 90, 8 or an hour and a half."""
    with pytest.raises(ValueError, match="base 60|base 8|at most 1000"):
        parse_scalar(text)
    result = run("export", "--option", "scale=" + text, "-c", "x", "-o", "y")
    assert result.exit_code == 2 and "scale: " in result.output


@pytest.mark.parametrize("size", [9000000000000, 2**62])
def test_inputs_that_no_memory_holds(tmp_path, size):
    """Refused before they are made."""
    from ckpt2saved.requests.parity import case_inputs

    (tmp_path / "mine.yaml").write_text(TEXT.replace("width: 100", f"width: {size}"))
    model = load_model(str(tmp_path / "mine.yaml"))
    with pytest.raises(
        SignatureError, match=r"parity\[0\].inputs.image: the shape .* has .* at most 268435456 are made"
    ):
        case_inputs(model, model.parity[0])


@pytest.mark.parametrize("values", ["[1.5, 2]", "[.inf, 1]", "[[1], [1, 2]]", "['a', 'b']", "[" * 40 + "1" + "]" * 40])
def test_values_that_would_become_others(tmp_path, values):
    """1 is not 1.5, nor is a list a text."""
    from ckpt2saved.requests.parity import case_inputs

    for dtype in ("int32", "string"):
        text = TEXT.replace("values: [1, 2]", "values: " + values).replace("dtype: int32", "dtype: " + dtype)
        (tmp_path / "mine.yaml").write_text(text)
        model = load_model(str(tmp_path / "mine.yaml"))
        if dtype == "string" and values == "['a', 'b']":
            assert case_inputs(model, model.parity[0])["count"].tolist() == ["a", "b"]
            continue
        with pytest.raises(SignatureError, match=r"parity\[0\].inputs.count: the values"):
            case_inputs(model, model.parity[0])


def test_a_renaming_that_backtracks_for_ever():
    """Ended after its seconds, with the rule and the name."""
    start = time.monotonic()
    rename = Renaming([("x", "y"), ("(a*)*b$", "c")], seconds=0.3)
    with pytest.raises(UsageError, match=r"--map \(a\*\)\*b\$=c: the names of variables took more than") as caught:
        rename("a" * 50)
    assert caught.value.exit_code == 2 and time.monotonic() - start < 20


def test_a_timer_of_the_process_goes_on():
    """One that was set before a renaming ends as it would have done."""
    fired = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: fired.append(time.monotonic()))
    try:
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        assert Renaming([("x", "y")])("x") == "y"
        while not fired and time.monotonic() - start < 10:
            time.sleep(0.01)
        assert 0.3 < fired[0] - start < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_renaming_whose_names_take_long_together():
    """Each of them takes a little."""
    rename = Renaming([("(a|a)*b$", "c")], seconds=1.0)
    start = time.monotonic()
    with pytest.raises(UsageError, match="the names of variables took more than"):
        for number in range(10000):
            rename("a" * 18 + str(number))
    assert time.monotonic() - start < 30


def test_a_renaming_renames():
    """In the order of the rules; and a name does not grow without end."""
    rename = Renaming([("^a/", "b/"), ("/w$", "/kernel"), (r"(\d)", r"<\1>")])
    assert [rename(name) for name in ("a/1/w", "a/1/w", "c/w/x")] == ["b/<1>/kernel"] * 2 + ["c/w/x"]
    with pytest.raises(UsageError, match="at most 10000 are expected"):
        Renaming([("(.*)", r"\1\1")] * 30)("name")


@pytest.mark.parametrize(
    "pattern, replacement", [("(", "x"), ("a", r"\9"), ("(" * 5000 + ")" * 5000, "x"), ("a", r"\g<n>")]
)
def test_rules_that_are_none(run, pattern, replacement):
    """Known before anything is done."""
    with pytest.raises(ValueError, match="is not a (valid )?re"):
        check_rule(pattern, replacement)
    result = run("export", "--map", f"{pattern}={replacement}", "-c", "x", "-o", "y")
    assert result.exit_code == 2 and "is not a" in result.output


def png(width, height, content=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) & 0xFFFFFFFF)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def jpeg(width, height):
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8\xff\xe0" + struct.pack(">H", 4) + b"xx" + b"\xff" + frame + b"\xff\xd9"


@pytest.mark.parametrize(
    "content, message",
    [
        (png(60000, 60000), "a picture of 60000 x 60000 pixels; at most 100 million pixels are decoded"),
        (png(2**31 - 1, 2**31 - 1), "a picture of 2147483647 x 2147483647 pixels"),
        (jpeg(65000, 65000), "a picture of 65000 x 65000 pixels"),
        (b"GIF89a\xff\xff\xff\xff" + bytes(20), "a picture of 65535 x 65535 pixels"),
        (b"BM" + bytes(16) + struct.pack("<ii", 100000, -100000), "a picture of 100000 x 100000 pixels"),
        (png(0, 5), "no PNG or JPEG picture"),
        (b"\xff\xd8\xff", "no PNG or JPEG picture"),
        (b"\xff\xd8\xff\xe0\xff\xff", "no PNG or JPEG picture"),
        (b"\x89PNG\r\n\x1a\n\x00", "no PNG or JPEG picture"),
        (b"", "no PNG or JPEG picture"),
    ],
)
def test_pictures_are_looked_at_before_they_are_decoded(tmp_path, content, message):
    """By the size that they say."""
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(NoPicture, match=message):
        read_picture(tmp_path / "a.png")
    if "pixels" in message:
        with pytest.raises(NoPicture, match=message):
            read_picture(tmp_path / "a.png", of_any_format=True)


def test_pictures_that_are_read(tmp_path):
    """A whole one, and a file of another kind for a model that takes bytes."""
    for content in (png(30, 20), jpeg(30, 20)):
        (tmp_path / "a.png").write_bytes(content)
        assert read_picture(tmp_path / "a.png") == content
    (tmp_path / "a.png").write_bytes(b"RIFF....WEBP")
    assert read_picture(tmp_path / "a.png", of_any_format=True) == b"RIFF....WEBP"
    with pytest.raises(NoPicture, match="a device, not a file"):
        read_picture(Path("/dev/zero"))


def read_json_of(path):
    return read_json_file(path, "--file", "remedy")


@pytest.mark.parametrize("read", [read_picture, read_characters, read_json_of, read_parameters, read_labels])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_readers_wait_for_no_pipe_and_end_on_a_device(tmp_path, read, kind):
    """Nobody writes to the pipe, and the device never ends."""
    path = tmp_path / "given"
    if kind == "pipe":
        os.mkfifo(str(path))
    else:
        path.symlink_to("/dev/zero")
    found = "a named pipe, not a file" if kind == "pipe" else "a device, not a file"
    with ended_after(20), pytest.raises((NoPicture, NoCharacters, Ckpt2SavedError), match=found):
        read(path)


def test_a_state_file_that_is_a_pipe_has_no_names(tmp_path):
    """As one that is not there."""
    os.mkfifo(str(tmp_path / "checkpoint"))
    with ended_after(20):
        assert recorded_names(tmp_path) == ()


@contextlib.contextmanager
def ended_after(seconds):
    """What waits longer in the block fails."""

    def fail(number, frame):
        raise AssertionError(f"it has waited {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("part", ["model", "output", "mount"])
def test_a_line_break_in_a_path_that_a_server_would_see(run, tmp_path, part):
    """No line of a command, nor of a file, could hold it."""
    from tests.support.versions import version_of

    odd = tmp_path / "a\nb"
    version_of((odd if part == "model" else tmp_path) / "m", 1)
    arguments = [
        (odd if part == "model" else tmp_path) / "m",
        "--output-dir",
        odd if part == "output" else tmp_path / "o",
    ]
    result = run("serving-config", *arguments, *(["--mount", str(odd) + "=/models"] if part == "mount" else []))
    assert result.exit_code == 2 and "a path with a line break" in result.output.replace("\n", " "), result.output
    assert not (tmp_path / "o").exists() and (part == "model" or not odd.exists())


@pytest.fixture(scope="module")
def meta(tmp_path_factory):
    """The bytes of a training's .meta with a branch, a loop and a function's library."""
    from ckpt2saved.graph.tf1 import tf

    prefix = str(tmp_path_factory.mktemp("damage") / "model.ckpt")
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, 4], "image")
        training = tf.placeholder_with_default(True, [], "is_train")
        weights = tf.get_variable("w", [4, 3])
        logits = tf.matmul(tf.cond(training, lambda: tf.nn.dropout(images, rate=0.5), lambda: images), weights)
        looped = tf.while_loop(lambda i, x: i < 3, lambda i, x: [i + 1, x * 2.0], [0, logits])[1]
        tf.nn.softmax(looped, name="prob")
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, prefix)
    return Path(prefix + ".meta").read_bytes()


def test_a_meta_graph_whose_bits_have_changed(meta, tmp_path):
    """Read, or called damaged: nothing else, in some hundred tries."""
    from ckpt2saved.graph.meta_graph import read_meta_graph

    chance = random.Random(0)
    path = tmp_path / "x.meta"
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        content = bytearray(meta)
        for _ in range(chance.choice([1, 2, 8])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            outcomes[bool(read_meta_graph(path).graph_def.node)] += 1
        except CheckpointError as error:
            outcomes[False] += 1
            assert str(error).startswith(str(path)) and len(str(error)) < 20000
    assert outcomes[True] and outcomes[False]


def damaged(change):
    """A meta graph of three nodes and a function, after a change."""
    from ckpt2saved.graph.tf1 import tf

    meta_graph = tf.MetaGraphDef()
    with tf.Graph().as_default() as graph:
        constant = tf.constant([1.0, 2.0], name="c")
        tf.identity(constant, name="i")
        meta_graph.graph_def.CopyFrom(graph.as_graph_def())
    function = meta_graph.graph_def.library.function.add()
    function.signature.name = "f"
    function.signature.input_arg.add(name="x", type=1)
    function.signature.output_arg.add(name="y", type=1)
    node = function.node_def.add(name="inner", op="Identity", input=["x"])
    node.attr["T"].type = 1
    function.ret["y"] = "inner:output:0"
    change(meta_graph.graph_def, function)
    return meta_graph.SerializeToString()


# Where the damage is found, and a part of what is found -> the change.
CHANGES = {
    "": lambda graph_def, function: None,
    "'i'|nothing": lambda g, f: g.node[1].input.__setitem__(0, "nothing"),
    "'i'|c:x": lambda g, f: g.node[1].input.__setitem__(0, "c:x"),
    "'i'|c:\\xb2": lambda g, f: g.node[1].input.__setitem__(0, "c:\u00b2"),
    "'i'|c:{}".format("9" * 5000): lambda g, f: g.node[1].input.__setitem__(0, "c:" + "9" * 5000),
    "c|2": lambda g, f: setattr(g.node[1], "name", "c"),
    "'\\n'|Identity": lambda g, f: setattr(g.node[1], "name", "\n"),
    "'i'|'T': data type 77": lambda g, f: setattr(g.node[1].attr["T"], "type", 77),
    "'i'|-65": lambda g, f: g.node[1].attr["shape"].shape.dim.add(size=-65),
    "'c'|32768 GB": lambda g, f: setattr(g.node[0].attr["value"].tensor.tensor_shape.dim[0], "size", 2**43),
    "'c'|bytes": lambda g, f: setattr(g.node[0].attr["value"].tensor, "tensor_content", b"12345"),
    "function f: result 'y'|Inner:output:0": lambda g, f: f.ret.__setitem__("y", "Inner:output:0"),
    "function f: result 'y'|inner:output:p": lambda g, f: f.ret.__setitem__("y", "inner:output:p"),
    "function f: result 'y'|''": lambda g, f: f.ret.clear(),
    "function f: argument 'x'|data type 0": lambda g, f: setattr(f.signature.input_arg[0], "type", 0),
    "function f: 'inner'|'z'": lambda g, f: f.node_def[0].input.__setitem__(0, "z"),
    "gradient of 'g'|function": lambda g, f: g.library.gradient.add(function_name="g"),
    "'c'|'value'": lambda g, f: g.node[0].attr.pop("value"),
    "'i'|'T': expected": lambda g, f: setattr(g.node[1].attr["T"], "i", 1),
    "'c'|'dtype'": lambda g, f: setattr(g.node[0].attr["dtype"], "placeholder", "T"),
    "function f: 'inner'|'T'": lambda g, f: setattr(f.node_def[0].attr["T"], "placeholder", "T"),
    "'i'|0 inputs": lambda g, f: g.node[1].input.pop(),
    "'i'|2 inputs": lambda g, f: g.node[1].input.append("c"),
    "'i'|'data_format'": lambda g, f: setattr(g.node[1].attr["data_format"], "s", b"\xff\xfe"),
}


@pytest.mark.parametrize("problem", sorted(CHANGES))
def test_what_no_tensorflow_takes_for_a_graph(tmp_path, problem):
    """Named with its node."""
    from ckpt2saved.graph.meta_graph import read_meta_graph

    path = tmp_path / "x.meta"
    path.write_bytes(damaged(CHANGES[problem]))
    if not problem:
        assert len(read_meta_graph(path).graph_def.node) == 2
        return
    with pytest.raises(CheckpointError) as caught:
        read_meta_graph(path)
    where, found = problem.split("|")
    assert [one.code for one in caught.value.problems if one.where == where and found in one.found] == ["damaged-graph"]


def test_an_attribute_that_a_functions_caller_has(tmp_path):
    """In place of a value of its own, as in functions for any dtype."""
    from ckpt2saved.graph.graph import constant_value
    from ckpt2saved.graph.meta_graph import read_meta_graph

    def change(graph_def, function):
        for name, kind in (("T", "type"), ("V", "tensor")):
            function.signature.attr.add(name=name, type=kind)
        function.node_def[0].attr["T"].placeholder = "T"
        constant = function.node_def.add(name="constant", op="Const")
        constant.attr["dtype"].placeholder, constant.attr["value"].placeholder = "T", "V"

    (tmp_path / "x.meta").write_bytes(damaged(change))
    (function,) = read_meta_graph(tmp_path / "x.meta").graph_def.library.function
    assert constant_value(function.node_def[1]) is None


def test_a_meta_graph_that_is_a_device(tmp_path):
    """It never ends."""
    from ckpt2saved.graph.meta_graph import read_meta_graph

    with pytest.raises(CheckpointError, match="this is a device or a pipe"):
        read_meta_graph(Path("/dev/zero"))


def test_the_limits_are_above_what_ships():
    """The built-in models, by far."""
    for name in signature_file.builtin_models():
        assert load_model(name, {"charset": str(EXAMPLE / "charset.txt")}).signatures
    assert np.prod([2, 4096, 4096, 3]) < 1 << 28
