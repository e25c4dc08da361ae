"""Train and test drawn from a source that has one split."""

from dataclasses import replace

import numpy as np

from snaketune.config.dataset import DrawnSplitsSpec
from snaketune.data.load import Loaded
from snaketune.data.record import Record, Table
from snaketune.runtime.errors import UserError


def drawn(loaded: Loaded, spec: DrawnSplitsSpec, where: str) -> Loaded:
    """The source's records in the order of `numpy.random.default_rng(seed).permutation(n)`: the
    first for test, the next for train. Records keep their numbers in the source.

    Raises `UserError` where the source has several splits, or too few records.
    """
    if len(loaded.tables) != 1:
        raise UserError(
            f"{where}.draw: found the splits {', '.join(loaded.tables)} in the source, expected "
            "one split to draw from"
        )
    split = next(iter(loaded.tables))
    records = [(i, r) for i, t in enumerate(loaded.tables[split]) for r in t.records]
    needed = spec.test + (spec.train or 1)
    if len(records) < needed:
        raise UserError(f"{where}.draw: found {len(records)} records, expected at least {needed}")
    order = [int(i) for i in np.random.default_rng(spec.seed).permutation(len(records))]
    end = None if spec.train is None else needed
    chosen = {"test": order[: spec.test], "train": order[spec.test : end]}
    left = len(records) - sum(map(len, chosen.values()))
    out = Loaded(unused=loaded.unused, not_drawn=left)
    for name, places in chosen.items():
        for table, origin in _in_runs(loaded, split, [records[i] for i in places]):
            out.tables.setdefault(name, []).append(table)
            out.origins.setdefault(name, []).append(origin)
    return out


def _in_runs(
    loaded: Loaded, split: str, drawn: list[tuple[int, Record]]
) -> list[tuple[Table, dict]]:
    """The drawn records by the table that they come from; with one table, in drawn order."""
    return [
        (replace(table, records=iter([r for i, r in drawn if i == place])), origin)
        for place, (table, origin) in enumerate(
            zip(loaded.tables[split], loaded.origins[split], strict=True)
        )
    ]
