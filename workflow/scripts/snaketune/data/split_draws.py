"""Train and test drawn from a source that has one split: by records or whole groups, with strata or
without.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from snaketune.config.dataset import DrawnSplitsSpec, SplitName
from snaketune.data.record import Record, Table, is_missing
from snaketune.data.tables import Loaded
from snaketune.runtime.errors import UserError


def draw_splits(
    loaded: Loaded, spec: DrawnSplitsSpec, where: str, group: str | None = None
) -> Loaded:
    """The source's records in the order of `numpy.random.default_rng(seed).permutation(n)`: the
    first for test, the next for train. Records keep their numbers in the source. With `group` the
    order is that of the groups, as each is met, and none is on both sides: the one that a split's
    number falls within is in it whole, or for train as far as the number goes. With strata it is
    the first of each; with both see `groups_alike`, and what they came to is printed. A dev split
    of the source's own stays as it is.

    Raises `UserError` where the source has several splits, or too few records.
    """
    if spec.unless_there and "test" in loaded.tables:
        return loaded
    drawn_from: list[SplitName] = [split for split in loaded.tables if split != "dev"]
    drawn_from = drawn_from or list(loaded.tables)
    if len(drawn_from) != 1:
        raise UserError(
            f"{where}.draw: found the splits {', '.join(loaded.tables)} in the source, expected "
            "one split to draw from"
        )
    split = drawn_from[0]
    if spec.unless_there:
        print(_unasked(spec, where))
    records = [(i, r) for i, t in enumerate(loaded.tables[split]) for r in t.records]
    chosen = _chosen(records, spec, where, group)
    left = len(records) - sum(map(len, chosen.values()))
    out = Loaded(unused=loaded.unused, not_drawn=left)
    for name in loaded.tables.keys() - {split}:
        out.tables[name], out.origins[name] = loaded.tables[name], loaded.origins[name]
    for name, places in chosen.items():
        for table, origin in _in_runs(loaded, split, [records[i] for i in places]):
            out.tables.setdefault(name, []).append(table)
            out.origins.setdefault(name, []).append(origin)
    return out


def _unasked(spec: DrawnSplitsSpec, where: str) -> str:
    share = f"{100 * spec.test:.0f} %" if isinstance(spec.test, float) else f"{spec.test:,}"
    most = f", at most {spec.at_most:,}," if spec.at_most else ""
    return (
        f"{where}: the source has no test split, which an eval asks for: {share} of its records"
        f"{most} are drawn with seed {spec.seed} and not trained on. To change it: {where}.draw, "
        "such as {test: 0.1}"
    )


def _chosen(
    records: list[tuple[int, Record]], spec: DrawnSplitsSpec, where: str, group: str | None
) -> dict[SplitName, list[int]]:
    """The places of the records of each split, in drawn order."""
    test, train = _counts(spec, len(records))
    needed = test + (train or 1)
    if len(records) < needed:
        raise UserError(f"{where}.draw: found {len(records)} records, expected at least {needed}")
    order = [int(i) for i in np.random.default_rng(spec.seed).permutation(len(records))]
    names = [_group_of(r, group, i) for i, (_, r) in enumerate(records)] if group else None
    strata = None
    if spec.stratify is not None:
        strata = _strata([record for _, record in records], spec.stratify, test, where)
    if names and strata is None:
        order = _group_by_group(order, names)
    first = _first(order, names, strata, test, spec.seed)
    taken = set(first)
    rest = [i for i in order if i not in taken]
    if not rest:
        raise UserError(
            f"{where}.draw: found all {len(order)} records in the groups that the first {test} "
            "belong to, expected other groups to train on"
        )
    if names and strata:
        print(_how_near(strata, first, f"{spec.stratify} in the test split"))
    if train is not None:
        rest = stratified(rest, strata, train) if strata else rest[:train]
    return {"test": first, "train": rest}


def _first(
    order: list[int],
    names: Sequence[str] | None,
    strata: Sequence[str] | None,
    count: int,
    seed: int,
) -> list[int]:
    """The records of the test split, in the order given, which without strata is group by group."""
    if names is None:
        return order[:count] if strata is None else stratified(order, strata, count)
    if strata is None:
        place = min(count, len(order)) - 1
        while place + 1 < len(order) and names[order[place + 1]] == names[order[place]]:
            place += 1
        return order[: place + 1]
    held = groups_alike(names, strata, count, seed)
    return [i for i in order if names[i] in held]


def _counts(spec: DrawnSplitsSpec, total: int) -> tuple[int, int | None]:
    """Records of test and train, where shares are rounded down; at least one."""
    test, train = (
        # As it is written: 0.29 of 100 are 29, which no float product says.
        max(1, int(Fraction(str(x)) * total)) if isinstance(x, float) else x
        for x in (spec.test, spec.train)
    )
    return min(test or 1, spec.at_most or test or 1), train


def _strata(records: list[Record], field: str, test: int, where: str) -> list[str]:
    """The value of each record's `field`; those that can't be read are a stratum of their own."""
    values = [r.value.get(field) if isinstance(r.value, dict) else None for r in records]
    if all(is_missing(value) for value in values):
        raise UserError(f"{where}.draw.stratify: found no record with a value of {field}")
    strata = [json.dumps(value, default=str) for value in values]
    if (several := len(set(strata))) > test:
        raise UserError(
            f"{where}.draw.stratify: found {several} values of {field} with {test} test records, "
            "expected a field with no more values than that, such as the label's"
        )
    return strata


def stratified(order: list[int], strata: Sequence[str], count: int) -> list[int]:
    """The first of each stratum in `order`, `count` in all: of each its share of them rounded down,
    and one more of those with the largest remainders (of equal ones the more frequent, then the
    first met), so that no stratum is more than one record off its share."""
    sizes = Counter(strata[i] for i in order)
    exact = {name: Fraction(count * size, len(order)) for name, size in sizes.items()}
    quota = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (quota[name] - exact[name], -sizes[name]))
    for name in by_remainder[: count - sum(quota.values())]:
        quota[name] += 1
    chosen = []
    for place in order:
        if quota[strata[place]]:
            quota[strata[place]] -= 1
            chosen.append(place)
    return chosen


_TRIED = 1000


def groups_alike(names: Sequence[str], strata: Sequence[str], count: int, seed: int) -> set[str]:
    """Whole groups that hold `count` records or, by a part of one, more: of 1,000 draws of groups,
    all groups being as likely, the one in which the strata are nearest to their shares of it, by
    the sum of the records that they are off; of equal ones the first.

    Draws are `numpy.random.default_rng(seed).permutation(groups)`, groups as they are met in the
    source, one after the other. Choosing among draws favours no group for its size.
    """
    groups, kinds = list(dict.fromkeys(names)), list(dict.fromkeys(strata))
    of = {name: i for i, name in enumerate(groups)}, {name: i for i, name in enumerate(kinds)}
    held = np.zeros((len(groups), len(kinds)), dtype=np.int64)
    for name, stratum in zip(names, strata, strict=True):
        held[of[0][name], of[1][stratum]] += 1
    shares = held.sum(0) / len(names)
    draws, best = np.random.default_rng(seed), (np.inf, np.arange(0))
    for _ in range(_TRIED):
        drawn = draws.permutation(len(groups))
        last = int(np.searchsorted(held[drawn].sum(1).cumsum(), count))
        found = held[drawn[: last + 1]].sum(0)
        off = float(np.abs(found - found.sum() * shares).sum())
        if off < best[0]:
            best = off, drawn[: last + 1]
    return {groups[i] for i in best[1]}


def _how_near(strata: Sequence[str], chosen: Sequence[int], what: str) -> str:
    """What strata came to in whole groups, for the log."""
    found, everywhere = Counter(strata[i] for i in chosen), Counter(strata)
    shares = [
        f"{name} {found[name]} of {len(chosen)} "
        f"({100 * found[name] / len(chosen):.1f} %, of all {100 * count / len(strata):.1f} %)"
        for name, count in everywhere.most_common(10)
    ]
    more = f", and {len(everywhere) - 10} more" if len(everywhere) > 10 else ""
    return f"{what}, as near as whole groups come: {', '.join(shares)}{more}"


def _group_of(record: Record, group: str, place: int) -> str:
    """A record's group; one that has none is rejected later, and its own until then."""
    found = record.value.get(group) if isinstance(record.value, dict) else None
    return f"of record {place}" if found is None else str(found)


def _group_by_group(order: list[int], names: Sequence[str]) -> list[int]:
    """The places in the order in which their groups are met."""
    members: dict[str, list[int]] = {}
    for place in order:
        members.setdefault(names[place], []).append(place)
    return [place for group in members.values() for place in group]


def _in_runs(
    loaded: Loaded, split: SplitName, drawn: list[tuple[int, Record]]
) -> list[tuple[Table, dict]]:
    """The drawn records by the table that they come from; with one table, in drawn order."""
    return [
        (replace(table, records=iter([r for i, r in drawn if i == place])), origin)
        for place, (table, origin) in enumerate(
            zip(loaded.tables[split], loaded.origins[split], strict=True)
        )
    ]
