"""Where a signal's exception is raised."""

import os
import signal
import time
import weakref

import pytest

from ckpt2saved.console import interrupts
from ckpt2saved.console.interrupts import Interrupts, interrupt


@pytest.fixture
def handler():
    """Installed for SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    handler = Interrupts(interrupt)
    signal.signal(signal.SIGTERM, handler)
    yield handler
    for number, handler in before.items():
        signal.signal(number, handler)


class Resource:
    """Fails as TensorFlow's Session does: its destructor needs what the constructor sets last."""

    def __init__(self, work):
        work()
        self.handle = 1

    def __del__(self):
        assert self.handle


def terminate():
    """Send this process the signal."""
    os.kill(os.getpid(), signal.SIGTERM)


def test_an_object_with_a_destructor_is_built_first(handler, capsys):
    """Otherwise Python prints the traceback of its destructor."""
    built = []
    with pytest.raises(KeyboardInterrupt):
        built.append(Resource(terminate))
        time.sleep(30)
    assert built and handler.is_asked_for
    del built
    assert capsys.readouterr().err == ""


def test_no_exception_is_lost_in_a_destructor(handler, capsys):
    """Python would print and drop it."""

    class Closing:
        """Ends with the signal."""

        def __del__(self):
            terminate()

    with pytest.raises(KeyboardInterrupt):
        Closing()
        time.sleep(30)
    assert capsys.readouterr().err == ""


class Discarding(set):
    """Ends with the signal when something is discarded."""

    def discard(self, item):
        terminate()
        super().discard(item)


class Referred:
    """What weak references can be to."""


def test_no_exception_is_lost_where_a_weak_reference_dies(handler, capsys):
    """In the callback of a WeakSet, and in that of the lock of a module that was imported."""
    names, named, locked = weakref.WeakSet(), Referred(), Referred()
    names.data = Discarding()
    names.add(named)
    with pytest.raises(KeyboardInterrupt):
        del named
        time.sleep(30)
    space = {"terminate": terminate}
    exec(compile("def cb(reference): terminate()", "<frozen importlib._bootstrap>", "exec"), space)
    reference = weakref.ref(locked, space["cb"])
    with pytest.raises(KeyboardInterrupt):
        del locked
        time.sleep(30)
    assert reference() is None and capsys.readouterr().err == ""


def test_other_code_is_interrupted_at_once(handler):
    """Constructors of objects without a destructor too."""

    class Plain:
        """Without a destructor."""

        def __init__(self):
            terminate()
            time.sleep(30)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Plain()
    assert time.monotonic() - began < 10


def test_a_constructor_without_end_is_interrupted(handler, monkeypatch):
    """After a time, at the cost of a traceback that Python prints."""
    monkeypatch.setattr(interrupts, "_LONGEST", 0.05)

    class Endless:
        """Never built."""

        def __init__(self):
            terminate()
            time.sleep(30)

        def __del__(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        Endless()


def test_a_second_signal_is_handled_like_the_first(handler):
    """The postponement begins anew."""
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Resource(terminate)
            time.sleep(30)
