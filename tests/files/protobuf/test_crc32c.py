"""Checksums by exclusive ors beside the definition, byte by byte."""

import os
import subprocess
import sys

import pytest

from ckpt2saved.files.protobuf import crc32c as module
from ckpt2saved.files.protobuf.crc32c import crc32c, masked

CONTENT = bytes((number * number >> 7 ^ number) & 0xFF for number in range((1 << 18) + 5000))


def test_the_example_of_the_standard():
    """RFC 3720."""
    assert crc32c(b"123456789") == 0xE3069283
    assert masked(crc32c(b"")) == 0xA282EAD8


@pytest.mark.parametrize("with_numpy", [False, True], ids=["integers", "words"])
@pytest.mark.parametrize(
    "size", [1, 1023, 1024, 1031, 5686, 1 << 16, (1 << 17) - 1, 1 << 17, (1 << 17) + 3, len(CONTENT)]
)
def test_data_of_every_length(monkeypatch, size, with_numpy):
    """In one piece, and in two."""
    monkeypatch.setattr(module, "_goes_without_numpy", lambda count: not with_numpy)
    whole = crc32c(CONTENT[:size])
    assert whole == bytewise(CONTENT[:size])
    assert crc32c(CONTENT[size // 3 : size], crc32c(CONTENT[: size // 3])) == whole


def test_numpy_is_imported_for_much_data_only():
    code = (
        "import sys\n"
        "from ckpt2saved.files.protobuf.crc32c import crc32c\n"
        "for _ in range(8):\n"
        "    crc32c(bytes(1 << 20))\n"
        "assert 'numpy' not in sys.modules\n"
        "for _ in range(8):\n"
        "    crc32c(bytes(1 << 21))\n"
        "assert 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))


def bytewise(content):
    state = 0xFFFFFFFF
    table = [crc32c_of_one(byte) for byte in range(256)]
    for byte in content:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def crc32c_of_one(state):
    for _ in range(8):
        state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state
