"""A model answers the same requests from the files of a version and from a server."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.answers.models import FileModel, ServedModel
from ckpt2saved.client import Client, Refused
from ckpt2saved.client.address import ModelAddress, parse_model_place
from ckpt2saved.errors import InvalidRequest, ServingError
from ckpt2saved.requests.request import Request
from tests.support.command_line import python
from tests.support.model_server import serving_rest
from tests.support.saved_models import write_version


def squares(directory):
    return write_version(directory, lambda x: {"y": x * x})


def lengths(directory):
    from ckpt2saved.graph.tf1 import tf

    return write_version(directory, lambda x: {"y": tf.strings.length(x)}, "string", (None,))


STRINGS = np.array([b"ab\x00", b""], object)
CASES = [(squares, np.array([[1, 2, 3, 4]], "float32"), [[1, 4, 9, 16]]), (lengths, STRINGS, [3, 0])]


@pytest.mark.parametrize("write, x, wanted", CASES, ids=["numbers", "strings"])
def test_files_and_servers_answer_the_same(tmp_path, write, x, wanted):
    """By the loader that TF Serving uses, or, for strings, in a new process."""
    write(tmp_path / "m" / "1")
    with serving_rest(tmp_path / "m", "m") as server:
        models = [FileModel(tmp_path / "m" / "1"), ServedModel(Client(server.url, "m"))]
        assert [model.name for model in models] == [str(tmp_path / "m" / "1"), server.url + "/v1/models/m"]
        for model in models:
            (signature,) = model.signatures.values()
            with model.opened(signature) as asker:
                answers = asker.answer(Request("x", signature.name, {"x": x}))
            assert answers["y"].tolist() == wanted


def test_a_request_that_the_graph_refuses(tmp_path):
    """Told from a model that does not load, and from a server that does not answer."""
    from ckpt2saved.graph.tf1 import tf

    write_version(tmp_path / "m" / "1", lambda x: {"y": tf.io.decode_raw(x, tf.int32)}, "string", (None,))
    wrong = {"x": np.array([b"abc"], object)}  # no multiple of four bytes
    model = FileModel(tmp_path / "m" / "1")
    with model.opened(model.signatures["serving_default"]) as asker, pytest.raises(InvalidRequest):
        asker.answer(Request("x", "serving_default", wrong))
    with serving_rest(tmp_path / "m", "m") as server:
        model = ServedModel(Client(server.url, "m"))
        with model.opened(model.signatures["serving_default"]) as asker, pytest.raises(Refused):
            asker.answer(Request("x", "serving_default", wrong))


def test_strings_need_no_tensorflow_in_this_process(tmp_path):
    """Its import takes seconds, and the process that loads the files has it."""
    lengths(tmp_path / "1")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from ckpt2saved.answers.models import FileModel\n"
        "from ckpt2saved.requests.request import Request\n"
        "model = FileModel(Path(sys.argv[1]))\n"
        "with model.opened(model.signatures['serving_default']) as asker:\n"
        "    x = np.array([b'abc'], object)\n"
        "    print(asker.answer(Request('x', 'serving_default', {'x': x}))['y'], 'tensorflow' in sys.modules)\n"
    )
    done = python("import sys; sys.argv[1:] = " + repr([str(tmp_path / "1")]) + "\n" + code)
    assert done.stdout.endswith("[3] False\n"), done.stdout


def test_without_tensorflow_its_installation_is_named(tmp_path):
    """As for a graph that this process loads."""
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError('no tensorflow', name='tensorflow')\n")
    lengths(tmp_path / "1")
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from pathlib import Path\n"
        "from ckpt2saved.answers.models import FileModel\n"
        "from ckpt2saved.errors import TensorFlowError\n"
        f"model = FileModel(Path({str(tmp_path / '1')!r}))\n"
        "try:\n"
        "    with model.opened(model.signatures['serving_default']): pass\n"
        "except TensorFlowError as error: print(error)\n"
    )
    done = python(code)
    assert done.stdout.startswith("this command needs TensorFlow, and there is none in this Python: "), done.stdout


def test_signatures_are_read_at_once(tmp_path):
    """Before anything is loaded; those of a warm-up are left out."""
    with pytest.raises(ServingError, match=r"saved_model\.pb: missing"):
        FileModel(tmp_path)


def test_a_place_is_a_directory_or_an_address(tmp_path):
    """What looks like an address is one."""
    assert parse_model_place(str(tmp_path)) == tmp_path
    assert isinstance(parse_model_place("http://host/v1/models/m"), ModelAddress)
    for text, message in (("s3://bucket/m", "is not a server address"), (" ", "nothing is given")):
        with pytest.raises(ValueError, match=message):
            parse_model_place(text)
