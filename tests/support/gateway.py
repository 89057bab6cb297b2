"""The gateway of the examples as a process of its own, and requests to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "gateway"
ADDRESS = re.compile(r"(?:Running on|Listening at:) (http://127\.0\.0\.1:\d+)")
# As the tests themselves: without a GPU, and without chatter of TensorFlow.
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")


class Gateway:
    """A running gateway; `url` is its address."""

    def __init__(self, url, log):
        self.url = url
        self._log = log

    def log(self):
        return Path(self._log).read_text(errors="replace")

    def read(self, body, content_type=None):
        """(HTTP status, JSON) of POST /read."""
        return self.ask("/read", body, content_type)

    def ask(self, path, body=None, content_type=None):
        headers = {"Content-Type": content_type} if content_type else {}
        request = urllib.request.Request(self.url + path, body, headers)
        # Not through a proxy of whoever runs the tests.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as response:
                return response.status, json.loads(response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read().decode())


@contextlib.contextmanager
def running(*arguments):
    """`python gateway.py` with these arguments, on a free port."""
    with started([sys.executable, str(FOLDER / "gateway.py"), *map(str, arguments), "--port", "0"]) as gateway:
        yield gateway


@contextlib.contextmanager
def gunicorn(call, workers=2):
    """Several processes of gunicorn; `call` is of create_app."""
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(FOLDER), "--bind", "127.0.0.1:0", "--timeout", "120"]
    with started([*command, "--workers", str(workers), "--threads", "4", f"gateway:{call}"]) as gateway:
        yield gateway


@contextlib.contextmanager
def started(command):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log")
        with open(path, "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=ENVIRONMENT, cwd=folder)
        try:
            yield Gateway(address(process, path), path)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def address(process, log):
    """The address that the process says it has."""
    for _ in range(1200):
        text = Path(log).read_text(errors="replace")
        found = ADDRESS.search(text)
        if found:
            return found.group(1)
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(text)


def form(files):
    """Content type and body of a form with (name, bytes) for each file."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, content in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join([*parts, f"--{boundary}--\r\n".encode()])


def at_once(count, call):
    """What `call` gives for each of 0 to count - 1, each in a thread of its own."""
    results = [None] * count

    def one(number):
        results[number] = call(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
