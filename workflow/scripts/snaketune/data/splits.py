"""The dev split that is held out of the training records, and ids across splits."""

from collections import Counter
from dataclasses import replace

import numpy as np

from snaketune.config.dataset import SplitName
from snaketune.data.example import Example
from snaketune.data.text import normalise
from snaketune.errors import UserError


def hold_out(
    train: list[Example], count: int, seed: int, shown: set[str], where: str
) -> tuple[list[Example], list[Example]]:
    """Training and dev examples, both in file order.

    Dev is the first `count` of `numpy.random.default_rng(seed).permutation(n)` whose normalised
    question, with its context, is not among `shown`, the few-shot examples' questions. Raises
    `UserError` where no training example would be left.
    """
    order = np.random.default_rng(seed).permutation(len(train)) if count else ()
    free = (int(i) for i in order if normalise(train[int(i)].prompt) not in shown)
    held = {i for i, _ in zip(free, range(count), strict=False)}
    if count and (len(held) < count or len(held) == len(train)):
        raise UserError(
            f"{where}.dev: found {count} with {len(train)} training records, expected fewer than "
            "the training records that are no few-shot examples"
        )
    kept = [e for i, e in enumerate(train) if i not in held]
    return kept, [e for i, e in enumerate(train) if i in held]


def tell_apart(splits: dict[SplitName, list[Example]]) -> dict[SplitName, list[Example]]:
    """The splits with ids that are unique across them: where files number their records alike,
    every id gets its split in front (`train-17`)."""
    counts = Counter(e.id for examples in splits.values() for e in examples)
    if all(n == 1 for n in counts.values()):
        return splits
    return {
        split: [replace(e, id=f"{split}-{e.id}") for e in examples]
        for split, examples in splits.items()
    }
