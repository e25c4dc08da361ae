"""Seeded subsets."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from snaketune.config.evaluation import SampleSpec

T = TypeVar("T")


def take(examples: Sequence[T], sample: SampleSpec | None) -> list[T]:
    """The subset that `sample` names, in its own order; all of them without a sample.

    The first n of `numpy.random.default_rng(seed).permutation(N)`, n = `int(fraction * N)` or
    `count`; at least one and at most N.
    """
    if sample is None:
        return list(examples)
    total = len(examples)
    asked = sample.count if sample.fraction is None else int(sample.fraction * total)
    order = np.random.default_rng(sample.seed).permutation(total)
    return [examples[int(i)] for i in order[: max(1, asked)]]
