"""Choice of allowed_batch_sizes: the sizes to which a server fills up the batches that it joins.

Source: RoundToLowestAllowedBatchSize and MergeInputTensors of tensorflow_serving/batching/batching_session.cc: a batch
gets rows until its size is the next one of the list. These rows are copies of a row of the last request, and they are
computed like all others. Without a list each batch is computed as it is.
"""

from __future__ import annotations

from typing import Dict, List, Sequence, Set, Tuple

from ckpt2saved.server_config.measurements import Load, Row

_EQUAL = 0.03  # times that differ by less are equal

_Times = Dict[int, float]  # size of a request -> seconds between two answers


def allowed_sizes(rows: Sequence[Row], largest: int, *, has_gpu: bool) -> Tuple[Tuple[int, ...], str]:
    """Return the sizes for batches of up to `largest` lines, and why they are so; (): a batch is not filled up.

    A batch is filled up where `rows` show that the next size takes less time. On a GPU the number of sizes is small.
    """
    loads = _times(rows, largest)
    measured = sorted({size for times in loads for size in times})
    kept = [size for size in measured if not any(_is_quicker(loads, size, other) for other in measured)]
    left_out: Set[int] = set()
    filled: Dict[int, int] = {}
    for size, following in zip(measured, measured[1:]):
        if size not in kept:
            left_out.update(range(size, following))
            filled[size] = min(other for other in kept if other > size)
    if has_gpu:
        sizes = (_powers_of_two(largest) | set(filled.values())) - left_out
    else:
        sizes = set(range(1, largest + 1)) - left_out if filled else set()
    if has_gpu:
        reason = (
            f"allowed_batch_sizes {_listed(sizes)}: for each new size of a batch, TensorFlow chooses the kernels of"
            " convolutions on a GPU once more, and the first request waits for it; a batch is filled up to one of them"
        )
    elif filled:
        reason = f"allowed_batch_sizes without {_listed(left_out)}: {_compared(loads, filled)}"
    else:
        reason = _not_filled(loads, measured)
    return tuple(sorted(sizes)), reason


def _times(rows: Sequence[Row], largest: int) -> List[_Times]:
    """Return the times of loads that differ in the size of a request alone."""
    found: Dict[Load, _Times] = {}
    for row in rows:
        load = row.load
        if load.rate is None and load.batch <= largest and row.requests_per_second > 0:
            alike = Load(load.model, load.signature, load.concurrency, widths=load.widths)
            found.setdefault(alike, {})[load.batch] = 1 / row.requests_per_second
    return list(found.values())


def _ratios(loads: Sequence[_Times], size: int, other: int) -> List[float]:
    return [times[other] / times[size] for times in loads if size in times and other in times]


def _is_quicker(loads: Sequence[_Times], size: int, other: int) -> bool:
    """Return whether a request of the larger size `other` takes less time, at each load where both were measured."""
    ratios = _ratios(loads, size, other) if other > size else []
    return bool(ratios) and max(ratios) < 1 - _EQUAL


def _powers_of_two(largest: int) -> Set[int]:
    """Return the powers up to `largest`, and `largest`: fewer than half of the rows of a batch are filled up."""
    return {1 << power for power in range(largest.bit_length())} | {largest}


def _compared(loads: Sequence[_Times], filled: Dict[int, int]) -> str:
    texts = []
    for size, other in sorted(filled.items()):
        ratios = _ratios(loads, size, other)
        times = f" ({1 / max(ratios):.2g} times)" if ratios else ""
        texts.append(f"a request of {size} takes longer than one of {other}{times}")
    return f"{'; '.join(texts)}; a batch in between is filled up"


def _not_filled(loads: Sequence[_Times], measured: Sequence[int]) -> str:
    pairs = [(_ratios(loads, size, other), size, other) for size, other in zip(measured, measured[1:])]
    cheapest = min(((min(ratios), size, other) for ratios, size, other in pairs if ratios), default=None)
    if cheapest is None:
        return ""
    ratio, size, other = cheapest
    return (
        "no allowed_batch_sizes: rows that fill up a batch are computed too: from one measured size to the next, a"
        f" request takes {ratio:.2g} times as long, or more ({size} lines and {other})"
    )


def _listed(sizes: Set[int]) -> str:
    """Return the sizes as text, with `to` for those in sequence."""
    parts: List[List[int]] = []
    for size in sorted(sizes):
        if parts and size == parts[-1][1] + 1:
            parts[-1][1] = size
        else:
            parts.append([size, size])
    texts = []
    for first, last in parts:
        if last - first > 1:
            texts.append(f"{first} to {last}")
        else:
            texts += [str(size) for size in range(first, last + 1)]
    return ", ".join(texts)
