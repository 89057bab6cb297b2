"""The op vocabulary holds what TensorFlow's releases have: each name exists, and no op of a family is missing."""

from __future__ import annotations

import re

import pytest

from ckpt2saved.graph import ops
from ckpt2saved.graph.op_table import read_table


@pytest.fixture(scope="module")
def releases():
    return read_table().releases


@pytest.fixture(scope="module")
def known(releases):
    """Op -> the names of its attributes, in whatever release."""
    found = {}
    for table in releases.values():
        for op, attributes in table.items():
            found.setdefault(op, set()).update(attributes)
    return found


def sets():
    return {name: value for name, value in vars(ops).items() if name.isupper() and isinstance(value, tuple)}


@pytest.mark.parametrize("name", sorted(sets()))
def test_every_op_that_is_named_exists(known, name):
    assert [op for op in sets()[name] if op not in known] == []
    assert len(set(sets()[name])) == len(sets()[name])


def test_every_predicate_fits_some_op(known):
    """None of them has a pattern that fits nothing."""
    predicates = [
        value
        for name, value in vars(ops).items()
        if re.match("is_|parses_|changes_", name) and name not in ("is_weight", "is_training")
    ]
    assert len(predicates) > 12
    for predicate in predicates:
        assert any(map(predicate, known)), predicate.__name__


# Ops with a seed that draw nothing, or draw something else than the numbers that they return.
NOT_RANDOM = {
    "AllCandidateSampler": "every class, in their order",
    "ComputeAccidentalHits": "has the attributes of the samplers, and draws nothing",
    "CudnnRNN": "for its dropout, which has an attribute of its own",
    "FractionalAvgPool": "data, pooled over regions that are drawn",
    "FractionalMaxPool": "data, pooled over regions that are drawn",
    "RandomShuffleQueue": "hands out data",
    "SnapshotDataset": "hands out data",
}


def test_every_op_with_a_seed_is_random_or_known_not_to_be(known):
    seeded = {op for op, attributes in known.items() if {"seed", "seed2"} & attributes}
    others = {op for op in seeded if not ops.is_random(op)}
    assert {re.sub(r"(Backprop|Canonical|Params)\w*|V[0-9]\Z", "", op) for op in others} == set(NOT_RANDOM)


def test_stateless_ops_that_take_their_seed_as_an_input_are_random_too(known):
    named = {op for op in known if re.match(r"State(less|ful)\w*(Random|Normal|Uniform|Multinomial|Shuffle)", op)}
    makes_seeds = {op for op in named if "Get" in op}
    assert {op for op in named - makes_seeds if not ops.is_random(op)} == set()
    assert not any(map(ops.is_random, makes_seeds | {"RandomDataset", "ShuffleDataset", "AnonymousSeedGenerator"}))


def test_uniform_ops_are_random():
    assert all(map(ops.is_random, ops.UNIFORM))


def test_what_hands_out_data_is_of_a_pipeline(known):
    named = {op for op in known if re.search(r"Dequeue|GetNext|Unstage|Peek\Z|ReaderRead|TakeMany\Z|RecordInput", op)}
    named -= {"TakeManySparseFromTensorsMap"}
    assert {op for op in named if not ops.is_pipeline(op)} == set()
    assert {op for op in known if ops.is_pipeline(op)} == named
    assert all(map(ops.is_of_pipeline, named)) and all(map(ops.is_never_served, named))


@pytest.mark.parametrize(
    "op", ["FIFOQueueV2", "RandomShuffleQueue", "IteratorV2", "OneShotIterator", "TFRecordReaderV2", "Barrier"]
)
def test_what_data_comes_from_is_of_a_pipeline(op):
    assert ops.is_of_pipeline(op) and not ops.is_pipeline(op)


def test_a_barrier_of_the_compiler_is_no_pipeline():
    assert not ops.is_of_pipeline("XlaOptimizationBarrier")


def test_every_optimizers_step_is_an_update(known):
    """Those of TensorFlow's optimizers; an accumulator of gradients updates no variable."""
    named = {op for op in known if re.search(r"Apply[A-Z]", op) and "Accumulator" not in op}
    assert {op for op in known if ops.is_update(op)} == named
    assert all(ops.changes_state(op) for op in named)


def test_every_version_of_a_fused_batch_norm_is_known(known):
    """Beside gradients and what TensorFlow's own optimizer makes for one kind of processor."""
    named = {op for op in known if re.match(r"_?FusedBatchNorm", op) and "Grad" not in op}
    assert set(ops.FUSED_BATCH_NORMS) == named
    assert all("is_training" in known[op] for op in named)


@pytest.mark.parametrize(
    "names, pattern",
    [
        (ops.PLACEHOLDERS, r"Placeholder(V2|WithDefault)?\Z"),
        (ops.PYTHON, r"\w*PyFunc\w*\Z"),
        (ops.TABLES, r"(Mutable)?(Dense)?HashTable(OfTensors)?(V2)?\Z"),
        (ops.CUDNN_RNNS, r"CudnnRNN(V[0-9])?\Z"),
        (ops.CTC_DECODERS, r"CTC\w*Decoder\w*\Z"),
        (ops.CTC_LOSSES, r"CTCLoss\w*\Z"),
        (ops.CONDITIONALS, r"(Stateless)?If\Z"),
        (ops.CASES, r"(Stateless)?Case\Z"),
        (ops.LOOPS, r"(Stateless)?While\Z"),
        (ops.CALLS, r"(Stateful)?PartitionedCall\Z"),
        (ops.SWITCHES, r"(Ref)?Switch\Z"),
        (ops.MERGES, r"(Ref)?Merge\Z"),
        (ops.ENTERS, r"(Ref)?Enter\Z"),
        (ops.EXITS, r"(Ref)?Exit\Z"),
        (ops.ITERATIONS, r"(Ref)?NextIteration\Z"),
        (ops.SELECTS, r"Select(V[0-9])?\Z"),
        (ops.ASSIGNS_WHOLE, r"Assign(Add|Sub)?(VariableOp)?\Z"),
        (ops.VARIABLES, r"(Variable(V2)?|VarHandleOp)\Z"),
    ],
)
def test_no_version_of_an_op_is_missing(known, names, pattern):
    assert set(names) == {op for op in known if re.match(pattern, op)}


def test_what_is_assigned_changes_state():
    assert all(map(ops.changes_state, ops.ASSIGNMENTS))


def test_variables_and_tables_are_state(known):
    assert all(map(ops.is_state, ops.VARIABLES + ops.TABLES))
    handles = {op for op in known if re.match(r"Anonymous\w*HashTable", op)}
    assert handles and all(map(ops.is_state, handles))


def test_the_gradient_of_an_op_is_a_gradient(known):
    """For every op whose name with Grad behind it is an op as well."""
    named = {op + "Grad" for op in known} & set(known)
    assert len(named) > 30 and all(map(ops.is_gradient, named))
