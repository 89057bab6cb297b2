"""Which ops draw random numbers: the one list, for the refusal of such ops, for dropout and for inspection."""

from __future__ import annotations

import re

_DRAWS = re.compile(
    r"(Risc)?Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|Poisson|PoissonV2|Crop|IndexShuffle)"
    r"|(Stateless)?(Parameterized)?TruncatedNormal(V2)?|(Stateless)?Multinomial"
    r"|(Stateless)?SampleDistortedBoundingBox(V2)?"
    r"|Stateless(Random(?!Get)\w+|Shuffle)"
    r"|Stateful(Uniform|StandardNormal|TruncatedNormal|Random)\w*"
    r"|NonDeterministicInts|RngReadAndSkip|XlaRngBitGenerator|StochasticCastToInt"
    r"|(Uniform|LogUniform|ThreadUnsafeUnigram|LearnedUnigram|FixedUnigram)CandidateSampler"
)


def is_random(op: str) -> bool:
    """Whether an op draws random numbers.

    A queue or a dataset that shuffles (RandomShuffleQueueV2, RandomDataset, ShuffleDataset) draws none: it hands out
    data. Nor does what only makes seeds and algorithm numbers (StatelessRandomGetKeyCounter, AnonymousSeedGenerator).
    """
    return _DRAWS.fullmatch(op) is not None
