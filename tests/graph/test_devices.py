"""What a call of the package leaves as it is in a process: the environment, switches, devices, random numbers."""

from __future__ import annotations

import json
import random
import threading

import numpy as np
import pytest

from ckpt2saved.graph.devices import gpus, uses_gpus
from ckpt2saved.graph.tf1 import open_session, session_config, tf, undisturbed, v1_control_flow
from tests.support.command_line import python


def test_the_environment_of_a_process_that_has_tensorflow():
    """Stays as it is; without TensorFlow the two variables are set that TensorFlow reads when it is loaded."""
    code = (
        "import json, os\n"
        "names = ('TF_CPP_MIN_LOG_LEVEL', 'TF_ENABLE_ONEDNN_OPTS')\n"
        "for name in names: os.environ.pop(name, None)\n"
        "{}\n"
        "import ckpt2saved.graph.tf1\n"
        "print(json.dumps([os.environ.get(name) for name in names]))\n"
    )
    assert json.loads(python(code.format("import tensorflow")).stdout.splitlines()[-1]) == [None, None]
    assert json.loads(python(code.format("")).stdout.splitlines()[-1]) == ["2", "0"]


def test_gpus_are_used_only_where_that_is_asked_for():
    """In this thread, inside of the context."""
    assert dict(session_config().device_count) == {"GPU": 0} and not uses_gpus()
    with gpus(True):
        assert dict(session_config().device_count) == {}
        assert session_config().gpu_options.allow_growth  # which leaves memory to other processes of the call
        found = []
        thread = threading.Thread(target=lambda: found.append(uses_gpus()))
        thread.start()
        thread.join()
        assert found == [False]
        with pytest.raises(KeyError), gpus(False):
            raise KeyError
        assert uses_gpus()
    with tf.Graph().as_default(), open_session() as session:
        assert [device.device_type for device in session.list_devices() if "XLA" not in device.device_type] == ["CPU"]


@pytest.mark.skipif(not hasattr(tf, "control_flow_v2_enabled"), reason="1.14 has v1 control flow only")
def test_the_switch_of_control_flow_is_put_back():
    """After an exception, and by the last of several threads."""
    before = tf.control_flow_v2_enabled()
    tf.enable_control_flow_v2()
    try:
        with pytest.raises(KeyError), v1_control_flow():
            assert not tf.control_flow_v2_enabled()
            raise KeyError
        assert tf.control_flow_v2_enabled()
        entered, leave = threading.Event(), threading.Event()

        def other():
            with v1_control_flow():
                entered.set()
                leave.wait(10)

        thread = threading.Thread(target=other)
        with v1_control_flow():
            thread.start()
            assert entered.wait(10)
        assert not tf.control_flow_v2_enabled()  # the other thread still builds its graph
        leave.set()
        thread.join()
        assert tf.control_flow_v2_enabled()
    finally:
        (tf.enable_control_flow_v2 if before else tf.disable_control_flow_v2)()


def test_random_numbers_go_on_as_they_were():
    """Those of Python, NumPy and, in eager mode, TensorFlow."""

    def numbers():
        eager = [float(tf.compat.v2.random.uniform([]))] if tf.executing_eagerly() else []
        return [random.random(), np.random.rand(), *eager]

    def seeded():
        random.seed(1)
        np.random.seed(1)
        if tf.executing_eagerly():
            tf.compat.v2.random.set_seed(1)

    seeded()
    expected = numbers() + numbers()
    seeded()
    found = numbers()
    with undisturbed():
        numbers()
    assert found + numbers() == expected
