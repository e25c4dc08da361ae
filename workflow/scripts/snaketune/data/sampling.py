"""Seeded subsets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from snaketune.config.evaluation import SampleSpec
from snaketune.data.example import Example, read_examples
from snaketune.runtime.errors import UserError

T = TypeVar("T")


def read_asked(path: Path, sample: dict[str, Any] | None) -> list[Example]:
    """The prepared examples in a file that an eval with this `sample` asks. Raises `UserError`
    where there are none."""
    spec = SampleSpec.model_validate(sample) if sample else None
    asked = take(read_examples(path), spec)
    if not asked:
        raise UserError(f"{path}: found no examples to ask, expected at least one")
    return asked


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
