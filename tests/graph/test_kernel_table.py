"""The table of kernels as it is written, read and asked; tests/compatibility/test_fit.py holds it to TensorFlow."""

from __future__ import annotations

import itertools

import pytest

from ckpt2saved.compatibility.image import known_images
from ckpt2saved.files.protobuf.data_types import number_of
from ckpt2saved.graph.kernel_table import (
    PATH,
    Device,
    KernelTable,
    condensed,
    read_kernels,
    with_release,
    write_kernels,
)

CPU, GPU = Device
FLOAT, DOUBLE, INT, TEXT, HALF = map(number_of, ("float32", "float64", "int32", "string", "float16"))


@pytest.fixture(scope="module")
def table():
    return read_kernels()


def kernel(**constraints):
    return frozenset((attribute, frozenset(values)) for attribute, values in constraints.items())


def test_every_release_that_can_be_asked_about_is_there(table):
    """And the table is small enough to ship."""
    assert {image.minor for image in known_images()} <= set(table.releases)
    assert PATH.stat().st_size < 40000
    assert table.packages["2.0"] == {CPU: "tensorflow 2.0.4", GPU: "tensorflow-gpu 2.0.4"}
    assert table.packages["2.4"] == {CPU: "tensorflow-cpu 2.4.4", GPU: "tensorflow 2.4.4"}


def test_a_table_is_written_as_it_was_read(tmp_path, table):
    """The same bytes each time, so that a difference in them is one in the content."""
    write_kernels(table, tmp_path / "copy")
    assert read_kernels(tmp_path / "copy") == table
    assert (tmp_path / "copy").read_bytes() == PATH.read_bytes()


@pytest.mark.parametrize("release", ["1.14", "1.15", "2.4", "2.9", "2.15", "2.21"])
def test_what_is_known_of_kernels(table, release):
    def has(device, op, **values):
        return table.has_kernel(release, op, {name: (value,) for name, value in values.items()}, device)

    assert has(GPU, "CudnnRNNV3", T=FLOAT) and has(GPU, "CudnnRNNV3", T=HALF)
    assert not has(CPU, "CudnnRNNV3", T=FLOAT) and not has(GPU, "CudnnRNNV3", T=INT)
    assert has(CPU, "Conv2D", T=HALF) and has(GPU, "Conv2D", T=HALF) and not has(CPU, "Conv2D", T=TEXT)
    assert has(CPU, "StringJoin") and not has(GPU, "StringJoin")
    assert has(CPU, "CTCBeamSearchDecoder") and not has(GPU, "CTCBeamSearchDecoder")
    assert not table.kernels(release, "NoSuchOp", CPU) and not has(CPU, "NoSuchOp")
    # A server with a GPU runs on its CPU what has no kernel for GPUs, and the other way around it does not.
    assert table.runs(release, "StringJoin", {}, GPU) and table.runs(release, "CudnnRNNV3", {}, GPU)
    assert not table.runs(release, "CudnnRNNV3", {}, CPU)


def test_kernels_come_with_releases(table):
    """As those of bfloat16, of NCHW and of contrib's linked libraries."""
    bfloat16 = (number_of("bfloat16"),)
    having = [one for one in table.releases if table.has_kernel(one, "Conv2D", {"T": bfloat16}, CPU)]
    assert having == list(table.releases[table.releases.index(having[0]) :]) and having[0] not in ("1.14", "1.15")
    nchw = {"T": (FLOAT,), "data_format": ("NCHW",)}
    assert not table.has_kernel("2.4", "DepthToSpace", nchw, CPU)
    assert table.has_kernel("2.4", "DepthToSpace", nchw, GPU)
    assert [one for one in table.releases if table.kernels(one, "GatherTree", CPU)] == ["1.14", "1.15"]
    assert not any(table.kernels(one, "Resampler", CPU) for one in table.releases)
    assert table.kernels("1.14", "BlockLSTM", CPU) and table.kernels("2.4", "BlockLSTM", CPU)


def test_a_list_of_types_needs_a_kernel_for_each():
    table = add(KernelTable({}, {CPU: {}, GPU: {}}), "2.0", {"Op": [kernel(T=[FLOAT, INT])]})
    assert table.has_kernel("2.0", "Op", {"T": (FLOAT, INT)}, CPU)
    assert not table.has_kernel("2.0", "Op", {"T": (FLOAT, TEXT)}, CPU)
    assert table.has_kernel("2.0", "Op", {"T": ()}, CPU)


def add(table, release, kernels):
    found = {op: condensed(ones) for op, ones in kernels.items()}
    return with_release(table, release, {CPU: "a " + release, GPU: "b " + release}, {CPU: found, GPU: {}})


def test_releases_are_added_in_any_order(tmp_path):
    """What is in 1.15 and from 2.1 on, is not in 2.0; a release that is added again is replaced."""
    op, other = {"Op": [kernel(T=[FLOAT])]}, {"Op": [kernel(T=[INT])], "New": [kernel()]}
    table = KernelTable({}, {CPU: {}, GPU: {}})
    for release, kernels in (("2.10", other), ("1.15", op), ("2.1", {"Gone": [kernel()]}), ("2.0", {}), ("2.1", op)):
        table = add(table, release, kernels)
    assert table.releases == ("1.15", "2.0", "2.1", "2.10")
    write_kernels(table, tmp_path / "table")
    assert read_kernels(tmp_path / "table") == table
    assert [bool(table.kernels(one, "Op", CPU)) for one in table.releases] == [True, False, True, True]
    assert [table.has_kernel(one, "Op", {"T": (INT,)}, CPU) for one in table.releases] == [False] * 3 + [True]
    assert "Gone" not in table.ops[CPU] and table.attributes() == {"Op": {"T"}, "New": set()}


@pytest.mark.parametrize(
    "kernels, expected",
    [
        ([kernel(T=[FLOAT]), kernel(T=[INT])], [kernel(T=[FLOAT, INT])]),
        ([kernel(T=[FLOAT], I=[INT]), kernel(T=[FLOAT], I=[TEXT])], [kernel(T=[FLOAT], I=[INT, TEXT])]),
        ([kernel(T=[FLOAT]), kernel()], [kernel()]),
        ([kernel(T=[FLOAT], I=[INT]), kernel(T=[FLOAT, INT])], [kernel(T=[FLOAT, INT])]),
        (
            [kernel(T=[a], I=[b]) for a, b in itertools.product([FLOAT, INT], [TEXT, HALF])],
            [kernel(T=[FLOAT, INT], I=[TEXT, HALF])],
        ),
        ([kernel(T=[FLOAT], I=[INT]), kernel(T=[INT], I=[TEXT])], None),  # neither is implied by the other
        ([kernel(T=[FLOAT]), kernel(I=[FLOAT])], None),
    ],
)
def test_few_kernels_stand_for_many(kernels, expected):
    """And compute the same combinations of values."""
    found = condensed(kernels)
    assert set(found) == set(kernels if expected is None else expected)
    table = add(KernelTable({}, {CPU: {}, GPU: {}}), "2.0", {"Op": kernels})
    for t, i in itertools.product([FLOAT, INT, TEXT, HALF], repeat=2):
        computes = any({"T": t, "I": i}[name] in allowed for one in kernels for name, allowed in one if len(one) == 1)
        computes = computes or any(
            all({"T": t, "I": i}[name] in allowed for name, allowed in one) for one in kernels if len(one) != 1
        )
        assert table.has_kernel("2.0", "Op", {"T": (t,), "I": (i,)}, CPU) == computes
