"""Files are sent to a version or to a server, and what is answered is printed for people, shells and programs."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support.command_line import ROOT, call, heed_interrupts, without_chatter
from tests.support.hostile_server import answering, body
from tests.support.model_server import serving_grpc, serving_rest
from tests.support.readers import box, picture_of, write_page_reader, write_reader
from tests.support.saved_models import write_version
from tests.support.versions import make_broken

TEXTS = ["Gr\u00f6\u00dfe", "\u4e2d\u3000\u6587", "tab\there\nand\\n", "four", "five"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model with the signature `text`. Not to be written to."""
    base = tmp_path_factory.mktemp("reader") / "m"
    base.mkdir()
    write_reader(base / "1", {picture_of(text): text for text in TEXTS})
    return base


@pytest.fixture
def server(base):
    with serving_rest(base, "m") as server:
        server.url += "/v1/models/m"
        yield server


@pytest.fixture
def pictures(tmp_path):
    """A picture of each text."""
    paths = [tmp_path / f"{number}.png" for number in range(len(TEXTS))]
    for path, text in zip(paths, TEXTS):
        path.write_bytes(picture_of(text))
    return paths


SHOWN = ["Gr\u00f6\u00dfe", "\u4e2d\u3000\u6587", "tab\\there\\nand\\n", "four", "five"]


def lines(paths, texts=SHOWN):
    return "".join(f"{path}\t{text}\n" for path, text in zip(paths, texts))


def stdout(result):
    return result.stdout if hasattr(result, "stdout") else result.output


def command(*arguments):
    return [sys.executable, "-m", "ckpt2saved", "predict", *map(str, arguments)]


def environment(**more):
    return dict(os.environ, PYTHONPATH=str(ROOT), PYTHONIOENCODING="utf-8", **more)


def test_pictures_become_lines_for_a_shell(run, server, pictures):
    """Path, tab, text; in a text only what would break the line is escaped."""
    result = run("predict", server.url, *pictures, "--quiet")
    assert (result.exit_code, result.output) == (0, lines(pictures))


def test_a_page_becomes_a_line_for_each_of_its_lines(run, tmp_path):
    """In the order in which they are read; a page without text is one line."""
    lines_of = [("below", box(0, 40, 90, 60)), ("tab\there", box(0, 0, 90, 20))]
    write_page_reader(tmp_path / "m" / "1", {picture_of("page"): lines_of, picture_of("blank"): []})
    for name in ("page", "blank", "other"):
        (tmp_path / f"{name}.png").write_bytes(picture_of(name))
    page, blank, other = (tmp_path / f"{name}.png" for name in ("page", "blank", "other"))
    with serving_rest(tmp_path / "m", "m") as server:
        result = run("predict", f"{server.url}/v1/models/m", page, blank, "--quiet")
        assert (result.exit_code, result.output) == (0, f"{page}\ttab\\there\n{page}\tbelow\n{blank}\t\n")
        result = run("predict", f"{server.url}/v1/models/m", other, "--quiet")
        assert result.exit_code == 3 and f"{other}: damaged" in result.output


def test_the_files_of_a_version_answer_the_same(base, pictures, tmp_path):
    """A base directory is its newest complete version; what was left out is said on stderr."""
    copy = tmp_path / "copy"
    copy.mkdir()
    os.symlink(str(base / "1"), str(copy / "1"))
    make_broken(copy, "2")
    done = subprocess.run(command(copy, *pictures), capture_output=True, env=environment())
    err = without_chatter(done.stderr.decode())
    assert (done.returncode, done.stdout.decode()) == (0, lines(pictures)), err
    assert err.splitlines() == [
        f"skipped     {copy / '2'}: saved_model.pb: missing; TF Serving has nothing to load",
        f"model       {copy / '1'}, signature text",
    ]


def test_json_has_every_output(run, server, pictures, tmp_path):
    """Exact texts, one object for each file, null for a number that JSON lacks."""
    (tmp_path / "other.png").write_bytes(b"other")
    result = run("predict", server.url, *pictures[:3], tmp_path / "other.png", "--json", "--quiet")
    assert result.exit_code == 3
    content = json.loads(stdout(result).partition("Error")[0], parse_constant=pytest.fail)
    assert [one["outputs"]["text"] for one in content["results"]] == TEXTS[:3] + [""]
    assert content["results"][0] == {
        "file": str(pictures[0]),
        "outputs": {"text": TEXTS[0], "score": -0.5, "status": 0},
        "problem": None,
    }
    assert content["results"][3]["outputs"] == {"text": "", "score": None, "status": 4}
    assert content["results"][3]["problem"] == "damaged"
    assert (content["format"], content["model"], content["signature"]) == (1, server.url, "text")
    assert (content["files"], content["unread"], content["unanswered"]) == (4, 1, 0)
    assert [one["code"] for one in content["problem_details"]] == ["unread-picture"]


def test_a_picture_that_the_model_cannot_read_is_exit_3(run, server, pictures, tmp_path):
    """Its line has an empty text, and the reason is said."""
    (tmp_path / "other.png").write_bytes(b"other")
    (tmp_path / "empty.png").write_bytes(b"")
    paths = [pictures[0], tmp_path / "other.png", tmp_path / "empty.png", pictures[3]]
    result = run("predict", server.url, *paths, "--quiet")
    assert result.exit_code == 3
    assert result.output.startswith(lines(paths, [SHOWN[0], "", "", "four"]))
    assert "2 of 4 files could not be read by the model" in result.output
    assert f"  - {tmp_path / 'other.png'}: damaged" in result.output


def test_files_that_cannot_be_sent_do_not_stop_the_others(run, server, pictures, tmp_path):
    """Each with its reason; exit 1 at the end."""
    (tmp_path / "empty").mkdir()
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(3 << 30)
    os.mkfifo(str(tmp_path / "pipe.png"))
    (tmp_path / "text.npz").write_bytes(b"no arrays")
    wrong = ["absent.png", "empty", "huge.png", "pipe.png", "text.npz"]
    paths = [pictures[0], *[tmp_path / name for name in wrong], pictures[4]]
    result = run("predict", server.url, *paths, "--quiet")
    assert result.exit_code == 1
    assert result.output.startswith(lines([pictures[0], pictures[4]], [SHOWN[0], "five"]))
    for text in (
        "5 of 7 files got no answer\n",
        f"{tmp_path / 'absent.png'}: No such file or directory",
        f"{tmp_path / 'empty'}: a directory without pictures (.bmp, .gif, .jpeg, .jpg, .png)",
        f"{tmp_path / 'huge.png'}: 3221225472 bytes, and at most 268435456 are read",
        f"{tmp_path / 'pipe.png'}: a named pipe, not a file",
        f"{tmp_path / 'text.npz'}: not a .npz file of plain arrays",
    ):
        assert text in result.output


def test_both_kinds_of_problems_are_listed(run, server, pictures, tmp_path):
    """Exit 1, and at most twenty of each run."""
    (tmp_path / "other.png").write_bytes(b"other")
    result = run("predict", server.url, tmp_path / "absent.png", tmp_path / "other.png", "--quiet")
    assert result.exit_code == 1
    assert result.output.endswith(
        "Error: 1 of 2 files got no answer, 1 of 2 files could not be read by the model\n"
        f"  - {tmp_path / 'absent.png'}: No such file or directory\n"
        f"  - {tmp_path / 'other.png'}: damaged\n"
        "More: ckpt2saved explain unreadable-file unread-picture\n"
    )
    result = run("predict", server.url, *[tmp_path / "other.png"] * 30, "--quiet")
    assert result.exit_code == 3 and "30 of 30 files could not be read by the model; the first 20:" in result.output
    assert result.output.count(": damaged") == 20


def test_nothing_is_loaded_for_files_that_are_not_there(tmp_path):
    """The message comes at once, without TensorFlow."""
    write_version(tmp_path / "1", lambda x: {"y": x * 2}, shape=(None, 4))
    done = call("predict", tmp_path / "1", tmp_path / "absent.npy", "--quiet")
    assert done.returncode == 1
    assert done.stdout == (
        f"Error: 1 of 1 files got no answer\n  - {tmp_path / 'absent.npy'}: No such file or directory\n"
        "More: ckpt2saved explain unreadable-file\n"
    )


def test_paths_from_stdin_and_pictures_of_a_directory(run, server, pictures, tmp_path):
    """In the order that is given; a directory by the names in it, without other files."""
    (tmp_path / "notes.txt").write_text("no picture")
    listed = f"{pictures[4]}\r\n\n{tmp_path}\n"
    wanted = lines([pictures[3], pictures[4], *pictures], ["four", "five", *SHOWN])
    for how in (["-"], ["--stdin"]):
        result = run("predict", server.url, pictures[3], *how, "--quiet", input=listed)
        assert (result.exit_code, result.output) == (0, wanted)
    result = run("predict", server.url, "-", "--quiet", input="")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("scheme", ["rest", "grpc"])
def test_a_server_needs_no_tensorflow(base, pictures, scheme):
    """Nor a model directory; REST needs the standard library alone."""
    if scheme == "grpc":
        pytest.importorskip("grpc")
        pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    with (serving_rest if scheme == "rest" else serving_grpc)(base, "m") as server:
        done = call("predict", server.url, "--model_name", "m", *pictures[3:], "--quiet")
        assert (done.returncode, done.stdout) == (0, lines(pictures[3:], SHOWN[3:]))
        done = call("predict", server.url + "/v1/models/m/versions/1", pictures[3])
        assert done.returncode == 0
        assert f"model       {server.url}/v1/models/m/versions/1, signature text" in done.stdout


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ([], 2, "Missing argument"),
        (["URL"], 2, "no files; expected pictures, .npy or .npz files, or - for paths that stdin lists"),
        (["HOST", "a.png"], 2, "a server may have several models; pass"),
        (["http://host?x=1", "a.png"], 2, "a name, a password or a query can't be part of it"),
        (["s3://bucket/m", "a.png"], 2, "'s3://bucket/m' is not a server address"),
        (["URL", "a.png", "--signature", "dense"], 2, "has no such signature; expected one of text"),
        (["URL", "a.npz"], 2, "a.npz: these arrays can't be sent to a signature of"),
        (["URL", "a.png", "--timeout", "0"], 2, "timeout: 0"),
        (["URL", "a.png", "--batch", "0"], 2, "--batch"),
        (["URL", "a.png", "--model-name", "n"], 2, "this address is of the model m, and the name that is given is n"),
        (["nowhere", "a.png"], 1, "nowhere: there is no such directory; expected a version"),
        (["BASE", "a.png", "--timeout", "3"], 2, "--timeout: only with the address of a server"),
        (["URL", "a.png", "--gpu"], 2, "--gpu: only with the files of a version"),
        (["BASE", "a.png", "--gpu"], 1, "--gpu: TensorFlow"),
        (["BASE", "a.png", "--model-name", "m"], 2, "--model-name: only with the address of a server"),
        (["HOST/v1/models/n", "a.png"], 1, "v1/models/n: the server has no such model, or has not loaded it"),
        (["http://127.0.0.1:9/v1/models/m", "a.png", "--retries", "0"], 1, "connection refused"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(run, server, base, tmp_path, monkeypatch, arguments, code, message):
    """Exit 2 for the command line, 1 for the world."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"a")
    np.savez(str(tmp_path / "a.npz"), x=np.zeros(1))
    words = {"URL": server.url, "BASE": str(base)}
    host = server.url[: -len("/v1/models/m")]
    result = run("predict", *[words.get(word, word).replace("HOST", host) for word in arguments])
    assert result.exit_code == code, result.output
    assert message in " ".join(result.output.split()), result.output


def test_a_picture_for_a_signature_of_tensors(run, tmp_path, pictures):
    """What the signature takes is said, and in which files."""
    write_version(tmp_path / "m" / "1", lambda x: {"y": x * 2}, shape=(None, 4))
    with serving_rest(tmp_path / "m", "m") as server:
        result = run("predict", server.url, pictures[0], "--model-name", "m")
        assert result.exit_code == 2
        assert f"{pictures[0]}: a picture can't be sent to a signature of {server.url}/v1/models/m" in result.output
        assert "  - serving_default takes x float32 [?, 4]: expected a .npy file" in result.output


def test_arrays_are_sent_as_they_are(run, tmp_path):
    """The one input by .npy, inputs by name by .npz; shapes and short values for people, all for programs."""
    write_version(tmp_path / "m" / "1", lambda x: {"y": x * 2, "sum": x[:, 0]}, shape=(None, 4))
    np.save(str(tmp_path / "x.npy"), np.arange(8, dtype="float64").reshape(2, 4))
    np.savez(str(tmp_path / "x.npz"), x=np.ones([1, 4], "float32"), other=np.zeros(1))
    np.save(str(tmp_path / "wrong.npy"), np.ones([1, 5]))
    paths = [tmp_path / name for name in ("x.npy", "x.npz", "wrong.npy")]
    with serving_rest(tmp_path / "m", "m") as server:
        result = run("predict", server.url, *paths, "--model-name", "m", "--quiet")
        assert result.exit_code == 1
        assert result.output == (
            f"{paths[0]}\tsum=float32 [2] 0 4\ty=float32 [2, 4] 0 2 4 6 8 10 \u2026\n"
            f"{paths[1]}\tsum=float32 [1] 1\ty=float32 [1, 4] 2 2 2 2\n"
            f"Error: 1 of 3 files got no answer\n"
            f"  - {paths[2]}: x: the shape [1, 5], expected [?, 4]; serving_default takes x float32 [?, 4]: expected a"
            " .npy file\nMore: ckpt2saved explain other-inputs\n"
        )
        result = run("predict", server.url, paths[0], "--model-name", "m", "--quiet", "--json")
        outputs = json.loads(result.output)["results"][0]["outputs"]
        assert outputs == {"sum": [0, 4], "y": [[0, 2, 4, 6], [8, 10, 12, 14]]}


def test_pictures_are_sent_in_batches(run, server, pictures):
    """As many as told; fewer if the server takes fewer, and all answers come in order."""
    many = pictures * 3
    server.batching = True
    server.batches.timeout_seconds = 0
    for size, most, wanted in ((4, 32, [4, 4, 4, 3]), (99, 32, [15]), (99, 6, [6, 6, 3]), (1, 32, [1] * 15)):
        server.batches.max_batch_size = most
        server.batches.lines = []
        result = run("predict", server.url, *many, "--quiet", "--batch", size)
        assert (result.exit_code, result.output) == (0, lines(many, SHOWN * 3))
        assert server.batches.lines == wanted


@pytest.fixture
def fragile(tmp_path):
    """A server whose model fails a whole request for one picture that is not four bytes long."""
    from ckpt2saved.graph.tf1 import tf

    def build(x):
        return {"y": tf.io.decode_raw(x, tf.int32)[:, 0]}

    write_version(tmp_path / "f" / "1", build, "string", (None,), key="image_bytes")
    with serving_rest(tmp_path / "f", "f") as server:
        server.url += "/v1/models/f"
        yield server


def test_one_picture_that_fails_a_request_fails_alone(run, fragile, tmp_path):
    """A request that is refused is divided, until the picture is found."""
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number, 0, 0, 0]) if number != 5 else b"12345")
    result = run("predict", fragile.url, *paths, "--quiet")
    assert result.exit_code == 1
    answered = [number for number in range(9) if number != 5]
    assert result.output.startswith("".join(f"{paths[number]}\ty={number}\n" for number in answered))
    assert "1 of 9 files got no answer" in result.output
    assert f"  - {paths[5]}: {fragile.url}: signature serving_default: the server responds with" in result.output
    assert len([path for path in fragile.asked if path.endswith(":predict")]) == 7


def test_a_model_that_refuses_everything_is_not_asked_on(run, fragile, tmp_path):
    """After three files that fail alone it is no matter of the files."""
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(b"12345")
    result = run("predict", fragile.url, tmp_path, "--quiet")
    assert result.exit_code == 1
    assert "the first 3 requests for one file are refused, so that no more are sent" in result.output
    assert len([path for path in fragile.asked if path.endswith(":predict")]) < 12
    result = run("predict", fragile.url, tmp_path, "--quiet", "--json")
    content = json.loads(stdout(result).partition("Error:")[0])
    assert content["error"]["message"].startswith("the first 3 requests") and len(content["problems"]) == 3


def test_an_empty_picture_is_not_sent_to_a_model_without_status(run, fragile, tmp_path):
    """It would fail the others."""
    (tmp_path / "a.png").write_bytes(b"\x01\x00\x00\x00")
    (tmp_path / "b.png").write_bytes(b"")
    result = run("predict", fragile.url, tmp_path, "--quiet")
    assert result.exit_code == 1
    assert f"{tmp_path / 'a.png'}\ty=1\n" in result.output and f"{tmp_path / 'b.png'}: an empty file" in result.output


def test_outputs_without_a_row_for_each_picture(run, tmp_path, pictures):
    """Pictures are sent one at a time, and all that is answered belongs to the one."""
    from ckpt2saved.graph.tf1 import tf

    def build(x):
        return {"bytes": tf.io.decode_raw(x[0], tf.uint8), "size": tf.strings.length(x)}

    write_version(tmp_path / "u" / "1", build, "string", (None,), key="image_bytes")
    with serving_rest(tmp_path / "u", "u") as server:
        result = run("predict", server.url, *pictures, "--model-name", "u", "--quiet")
        assert result.exit_code == 0
        assert (
            result.output.splitlines()[3]
            == f"{pictures[3]}\tbytes=uint8 [15] 112 105 99 116 117 114 \u2026\tsize=int32 [1] 15"
        )


def test_a_server_that_goes_away(run, server, pictures, monkeypatch):
    """What was answered before is printed, and what ended it."""
    from ckpt2saved.client.model_client import Client
    from ckpt2saved.client.server import Unreachable

    predict = Client.predict

    def once(self, *arguments):
        if any(path.endswith(":predict") for path in server.asked):
            raise Unreachable("gone")
        return predict(self, *arguments)

    monkeypatch.setattr(Client, "predict", once)
    result = run("predict", server.url, *pictures, "--quiet", "--batch", 2)
    assert (result.exit_code, result.output) == (1, lines(pictures[:2]) + "Error: gone\n")
    server.asked.clear()
    result = run("predict", server.url, *pictures, "--quiet", "--batch", 2, "--json")
    content = json.loads(stdout(result).partition("Error:")[0])
    assert result.exit_code == 1 and content["files"] == 2 and content["error"] == {"message": "gone", "exit_code": 1}


def test_a_terminal_gets_a_table(server, pictures, tmp_path):
    """With scores, and with problems where there are some; control characters of a model do not reach it."""
    (tmp_path / "other.png").write_bytes(b"other")
    upper, lower = pty.openpty()
    done = subprocess.Popen(
        command(server.url, "0.png", "2.png", "other.png", "absent.png"),
        stdout=lower,
        stderr=subprocess.PIPE,
        cwd=str(tmp_path),
        env=environment(COLUMNS="100", TERM="dumb"),
    )
    assert done.wait(60) == 1, done.stderr.read()
    done.stderr.close()
    os.close(lower)
    shown = os.read(upper, 1 << 16).decode()
    os.close(upper)
    rows = [line.split() for line in shown.splitlines() if line.strip()]
    assert rows[0] == ["file", "text", "score", "problem"]
    assert rows[2:] == [
        ["0.png", "Gr\u00f6\u00dfe", "-0.5"],
        ["2.png", "tab", "here", "-0.5"],
        ["and\\n"],
        ["other.png", "-inf", "damaged"],
        ["absent.png", "No", "such", "file", "or", "directory"],
    ]


def test_results_are_utf_8_in_every_locale(server, pictures, tmp_path):
    """Also the name of a file that is not."""
    odd = os.fsencode(str(tmp_path)) + b"/\xff.png"
    os.link(str(pictures[1]), odd)
    for options in ([], ["--json"]):
        done = subprocess.run(
            [*command(server.url, "--quiet", *options), str(pictures[0]), odd],
            capture_output=True,
            env=dict(environment(), PYTHONIOENCODING="latin-1"),
        )
        assert done.returncode == 0, done.stderr
        if options:
            results = json.loads(done.stdout.decode())["results"]
            assert [one["outputs"]["text"] for one in results] == TEXTS[:2]
            assert results[1]["file"] == f"{tmp_path}/\\xff.png"
        else:
            assert done.stdout.decode() == lines([pictures[0], f"{tmp_path}/\\xff.png"])


def served(outputs, **signature):
    """An answer to every request: metadata of a signature, and outputs."""
    tensor = {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}]}, "name": "x:0"}
    definition = {"inputs": {"image_bytes": tensor}, "outputs": {"text": tensor, **signature}}
    return body({"metadata": {"signature_def": {"signature_def": {"text": definition}}}, "outputs": outputs})


STATUS = {"dtype": "DT_INT32", "tensor_shape": {"dim": [{"size": "-1"}]}, "name": "y:0"}


@pytest.mark.parametrize(
    "answer, code, wanted",
    [
        (served([[["a", "b"]]]), 0, "string [1, 2] a b"),
        (served(["\x1b[2J\u2028::error::x"]), 0, "\\x1b[2J\\u2028::error::x"),
        (served("a"), 0, "a"),
        (served([]), 0, "string [0]"),
        (served({"text": ["a"], "status": [[0]]}, status=STATUS), 0, "a"),
        (served({"text": ["a"], "status": [1 << 30]}, status=STATUS), 3, "status 1073741824"),
        (served([1]), 1, "the answer can't be read: values that are not strings"),
        (served({"text": ["a"]}, status=STATUS), 1, "the answer has no output 'status'"),
        (served(["a"], **{"k\n\x1b": STATUS}), 1, "the answer can't be read: its outputs have no names"),
        (body({"metadata": {}}), 1, "this is not a response of TF Serving"),
    ],
    ids=range(10),
)
def test_answers_of_other_servers(run, tmp_path, answer, code, wanted):
    """Of any shape and content: never a traceback, and no control characters."""
    (tmp_path / "a.png").write_bytes(b"a")
    with answering(answer) as url:
        result = run("predict", url, tmp_path / "a.png", "--model-name", "m", "--quiet")
    assert result.exit_code == code, result.output
    assert wanted in result.output and "\x1b" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_reader_that_stops_reading(server, pictures):
    """As `head -1` does: the exit code says it, and no message."""
    done = subprocess.Popen(
        command(server.url, *pictures * 20, "--batch", 1, "--quiet"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert done.stdout.readline().decode() == lines(pictures[:1])
    done.stdout.close()
    err = done.stderr.read().decode()
    done.stderr.close()
    assert done.wait(60) == 1 and err == ""


def test_an_interrupt_ends_it(server, pictures):
    """While it waits for paths: what was answered stays, without a traceback."""
    done = subprocess.Popen(
        command(server.url, "-", "--batch", 1, "--quiet"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=heed_interrupts,
    )
    done.stdin.write(f"{pictures[3]}\n{pictures[4]}\n".encode())
    done.stdin.flush()
    assert done.stdout.readline().decode() == lines(pictures[3:], ["four"])
    time.sleep(0.2)
    done.send_signal(signal.SIGINT)
    rest, err = done.communicate(timeout=60)
    assert done.returncode == 1 and b"Traceback" not in err and b"Aborted" in err
    assert rest.decode() in ("", lines(pictures[4:], ["five"]))
