"""The dev split that is held out of the training records, and how these stood before."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snaketune.data.example import Example, read_examples
from snaketune.data.split_report import SplitReport
from snaketune.data.text import normalise
from snaketune.runtime.errors import UserError


def hold_out(train: list[Example], count: int, seed: int, shown: set[str], where: str) -> list[int]:
    """The places of the dev examples among the training examples, rising.

    Dev is the first `count` of `numpy.random.default_rng(seed).permutation(n)` whose normalised
    question, with its context, is not among `shown`, the few-shot examples' questions. Raises
    `UserError` where no training example would be left.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    free = (int(i) for i in order if normalise(train[int(i)].prompt) not in shown)
    held = sorted(i for i, _ in zip(free, range(count), strict=False))
    if len(held) < count or len(held) == len(train):
        raise UserError(
            f"{where}.dev: found {count} with {len(train)} training records, expected fewer than "
            "the training records that are no few-shot examples"
        )
    return held


def put_back(train: list[Example], dev: list[Example], places: Sequence[int]) -> list[Example]:
    """The training examples in file order, with those of dev at the places they were held out
    of."""
    held, kept = dict(zip(places, dev, strict=True)), iter(train)
    return [held[i] if i in held else next(kept) for i in range(len(train) + len(dev))]


def training_records(files: Sequence[Path]) -> list[Example]:
    """All training examples in file order, from train.parquet alone or, where dev is held out of
    it, from train.parquet, dev.parquet and dev.json; none without files."""
    if len(files) < 3:
        return [example for file in files for example in read_examples(file)]
    train, dev, report = files
    return put_back(read_examples(train), read_examples(dev), SplitReport.read(report).held_out)
