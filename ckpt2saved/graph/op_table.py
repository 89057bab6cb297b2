"""The ops of each TensorFlow release since 1.12 and their attributes: a table that is part of the package.

`tools/make_op_table.py` writes it from the op registries inside TensorFlow's own packages. TF Serving X.Y is built on
TensorFlow X.Y and registers the same ops. Its image also has some ops of TensorFlow Text (since 2.0), of Decision
Forests (since 2.11), and of tf.contrib (until 1.15); of these the table has only the names of tf.contrib's. It does not
have the number of inputs of an op: since 1.14 that changed for collectives, TPU embeddings, internal ops and
CustomAggregator, and in 1.15 for a few ops of tensor lists and datasets.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Tuple

from ckpt2saved.graph.packed import index_in, ordered, read_packed, runs, write_packed
from ckpt2saved.graph.registry import Attribute, Ops

PATH = Path(__file__).resolve().parent / "ops.json.gz"

_FORMAT = 3

# What TF Serving 1.14 and 1.15 link of tf.contrib (SUPPORTED_TENSORFLOW_OPS in their tensorflow_serving/model_servers/
# BUILD): the libraries that are both in contrib_kernels and in contrib_ops_op_lib of TensorFlow's contrib/BUILD. The
# ops of contrib/framework are there without their kernels, and those of contrib/ignite as well.
LINKED = (
    "boosted_trees/",
    "factorization/",
    "hadoop/",
    "input_pipeline/",
    "kafka/",
    "kinesis/",
    "layers/",
    "nearest_neighbor/",
    "rnn/",
    "seq2seq/",
    "tensor_forest/python/",
    "text/",
)


class OpTable(NamedTuple):
    """The registries of several TensorFlow releases, and the ops of tf.contrib."""

    releases: Mapping[str, Ops]  # "1.14" -> its ops; the oldest first
    packages: Mapping[str, str]  # "1.14" -> the release whose package was read, 1.14.0
    contrib: FrozenSet[str]
    libraries: Mapping[str, Mapping[str, str]]  # "1.14" -> op -> the library below contrib/ with its kernels

    def linking(self, op: str) -> Tuple[str, ...]:
        """The releases of TF Serving whose images have an op of tf.contrib, the oldest first."""
        return tuple(release for release, ops in self.libraries.items() if op in ops and ops[op].startswith(LINKED))

    def library_of(self, op: str) -> str:
        """The library below tensorflow/contrib with the kernels of an op; "" where there is none."""
        found = [ops[op] for ops in self.libraries.values() if op in ops]
        return found[-1] if found else ""

    def releases_with(self, op: str) -> Tuple[str, ...]:
        """The releases that have an op, the oldest first."""
        return tuple(release for release, ops in self.releases.items() if op in ops)

    def releases_with_attribute(self, op: str, attribute: str) -> Tuple[str, ...]:
        """The releases whose op has an attribute."""
        return tuple(release for release, ops in self.releases.items() if attribute in ops.get(op, {}))

    def releases_allowing(self, op: str, attribute: str, value: Any) -> Tuple[str, ...]:
        """The releases whose op allows a value for an attribute."""
        return tuple(
            release
            for release in self.releases_with_attribute(op, attribute)
            if allows(self.releases[release][op][attribute], value)
        )


def allows(attribute: Attribute, value: Any) -> bool:
    """Whether an attribute may have a value: a DataType's number, or a text."""
    return attribute.allowed is None or value in attribute.allowed


@functools.lru_cache(maxsize=1)
def shipped_table() -> OpTable:
    """The table that ships with the package, read once."""
    return read_table()


def read_table(path: Path = PATH) -> OpTable:
    """The table that ships with the package."""
    content = read_packed(path)
    releases = list(content["tensorflow"])
    found: Dict[str, Ops] = {release: {} for release in releases}
    values = [None if value is None else tuple(value) for value in content["allowed"]]
    defaults = [None if default is None else bytes.fromhex(default) for default in content["defaults"]]
    for op, (spans, attributes) in content["ops"].items():
        for first, last in spans:
            for release in releases[first : last + 1]:
                found[release][op] = {}
        for name, variants in attributes.items():
            for first, last, default, allowed in variants:
                attribute = Attribute(defaults[default], values[allowed])
                for release in releases[first : last + 1]:
                    found[release][op][name] = attribute
    libraries = {
        release: {op: library for library, ops in by_library.items() for op in ops}
        for release, by_library in content["contrib_libraries"].items()
    }
    return OpTable(
        releases=found,
        packages=content["tensorflow"],
        contrib=frozenset(content["contrib"]),
        libraries=libraries,
    )


def write_table(table: OpTable, path: Path = PATH) -> None:
    """Write a table: the same content gives the same bytes; what several releases have in common is written once."""
    releases = list(table.releases)
    allowed: List[Any] = []
    defaults: List[Any] = []
    ops: Dict[str, Any] = {}
    for op in sorted({op for release in releases for op in table.releases[release]}):
        columns = [table.releases[release].get(op) for release in releases]
        names = sorted({name for attributes in columns if attributes for name in attributes})
        attributes = {
            name: [
                [
                    first,
                    last,
                    index_in(defaults, value.default and value.default.hex()),
                    index_in(allowed, value.allowed),
                ]
                for first, last, value in runs([(column or {}).get(name) for column in columns])
            ]
            for name in names
        }
        present = runs([None if column is None else True for column in columns])
        ops[op] = [[[first, last] for first, last, _ in present], attributes]
    content = {
        "format": _FORMAT,
        "tensorflow": {release: table.packages[release] for release in releases},
        "contrib": sorted(table.contrib),
        "contrib_libraries": {release: _by_library(table.libraries[release]) for release in ordered(table.libraries)},
        "allowed": allowed,
        "defaults": defaults,
        "ops": ops,
    }
    write_packed(content, path)


def _by_library(libraries: Mapping[str, str]) -> Dict[str, List[str]]:
    return {
        library: sorted(op for op in libraries if libraries[op] == library)
        for library in sorted(set(libraries.values()))
    }
