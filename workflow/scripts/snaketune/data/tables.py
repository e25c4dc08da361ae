"""All tables behind a dataset, and what identifies their content; train and test drawn from a
source that has one split.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np

from snaketune.config.base import without_query
from snaketune.config.dataset import DatasetSpec, DrawnSplitsSpec, SplitName
from snaketune.data.folders import is_data, kind_of, kinds_of, saved_files
from snaketune.data.locate import SourcePart, source_parts_for
from snaketune.data.record import Record, Table, is_missing
from snaketune.data.sources.local import READERS, saved_table
from snaketune.data.sources.remote import download, load_hub_dataset
from snaketune.runtime.content import file_hash
from snaketune.runtime.errors import UserError


@dataclass
class Loaded:
    """The tables of each split with, in the same order, what the manifest says of them; `unused`
    names splits of a hub dataset that serve as none of ours."""

    tables: dict[SplitName, list[Table]] = field(default_factory=dict)
    origins: dict[SplitName, list[dict]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    not_drawn: int = 0
    """Records that are left over where splits are drawn."""

    def add(self, split: SplitName, table: Table, origin: dict) -> None:
        """One more table of `split`."""
        self.tables.setdefault(split, []).append(table)
        self.origins.setdefault(split, []).append({"name": table.name, **origin})


@contextmanager
def loaded_tables(spec: DatasetSpec, splits: Sequence[SplitName], where: str) -> Iterator[Loaded]:
    """The tables of `spec` that are read for `splits`, which may hold more; downloads live as long
    as the context.

    Raises `UserError` for what can't be found, read or trusted.
    """
    with tempfile.TemporaryDirectory(prefix="snaketune-") as folder:
        loaded = Loaded()
        for part in source_parts_for(spec, splits, where):
            _add(loaded, part, spec, Path(folder))
        _check_hashes(loaded, spec, where)
        yield loaded


def _add(loaded: Loaded, part: SourcePart, spec: DatasetSpec, folder: Path) -> None:
    if part.kind == "hub":
        _add_hub(loaded, part, spec)
    elif part.kind == "download":
        _add_download(loaded, part, spec, folder)
    elif part.kind == "saved":
        path = Path(part.address)
        files = [_file(f, f.name) for f in saved_files(path)]
        loaded.add(part.known_split, saved_table(path), {"kind": "saved", "files": files})
    else:
        table, origin = read_file(Path(part.address))
        loaded.add(part.known_split, _with_folder(table, part, spec), origin)


def _with_folder(table: Table, part: SourcePart, spec: DatasetSpec) -> Table:
    """The table, which tells where it was found in a source that is a folder of folders."""
    named = [spec.source] if isinstance(spec.source, str) else spec.source.values()
    source = next((Path(s) for s in named if Path(s) in Path(part.address).parents), None)
    if source is None or (inner := Path(part.address).parent.relative_to(source)) == Path():
        return table
    return replace(table, read_as=(f"in the folder {inner}", *table.read_as))


def read_file(path: Path) -> tuple[Table, dict]:
    """The table in a local file, and what the manifest says of it."""
    kind = kind_of(path)
    origin = {"kind": kind[1:], "files": [_file(path, path.name)]}
    return READERS[kind](path, str(path)), origin


def _add_hub(loaded: Loaded, part: SourcePart, spec: DatasetSpec) -> None:
    split = part.split if part.pinned else None
    limit = None if spec.draw else spec.limit
    data = load_hub_dataset(part.address, spec.subset, spec.revision, split, limit)
    for name, table in data.tables.items():
        loaded.add(name, table, {"kind": "hub", "subset": spec.subset, "commit": data.commit})
    if split is None:
        loaded.unused += data.unused


def _add_download(loaded: Loaded, part: SourcePart, spec: DatasetSpec, folder: Path) -> None:
    name = PurePosixPath(urlsplit(part.address).path)
    place = without_query(part.address)
    if not is_data(name, spec.format):
        raise UserError(
            f"{place}: found an address that ends with {name.suffix or name.name!r}, "
            f"expected a file of {kinds_of(spec.format)}"
        )
    target = folder / part.known_split / name.name
    target.parent.mkdir(exist_ok=True)
    download(part.address, target)
    found = _file(target, name.name)
    _expect_hash(place, found["sha256"], spec.sha256.get(part.known_split))
    origin = {"kind": "download", "url": place, "files": [found]}
    loaded.add(part.known_split, READERS[kind_of(name)](target, place), origin)


def _file(path: Path, name: str) -> dict:
    return {"name": name, "bytes": path.stat().st_size, "sha256": file_hash(path)}


def _check_hashes(loaded: Loaded, spec: DatasetSpec, where: str) -> None:
    for split, expected in spec.sha256.items():
        files = [f for origin in loaded.origins.get(split, []) for f in origin.get("files", [])]
        if len(files) != 1:
            raise UserError(
                f"{where}.sha256.{split}: found {len(files)} files for this split, expected one"
            )
        _expect_hash(loaded.tables[split][0].path, files[0]["sha256"], expected)


def _expect_hash(place: str, found: str, expected: str | None) -> None:
    if expected is not None and found != expected.lower():
        raise UserError(
            f"{place}: found SHA-256 {found}, expected {expected}; the file is not the one that "
            "the config means"
        )


def draw_splits(
    loaded: Loaded, spec: DrawnSplitsSpec, where: str, group: str | None = None
) -> Loaded:
    """The source's records in the order of `numpy.random.default_rng(seed).permutation(n)`: the
    first for test, the next for train. Records keep their numbers in the source. With `group` the
    order is that of the groups, as each is met, and none is on both sides: the one that a split's
    number falls within is in it whole, or for train as far as the number goes. With strata it is
    the first of each. A dev split of the source's own stays as it is.

    Raises `UserError` where the source has several splits, or too few records.
    """
    drawn_from: list[SplitName] = [split for split in loaded.tables if split != "dev"]
    drawn_from = drawn_from or list(loaded.tables)
    if len(drawn_from) != 1:
        raise UserError(
            f"{where}.draw: found the splits {', '.join(loaded.tables)} in the source, expected "
            "one split to draw from"
        )
    split = drawn_from[0]
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


def _chosen(
    records: list[tuple[int, Record]], spec: DrawnSplitsSpec, where: str, group: str | None
) -> dict[SplitName, list[int]]:
    """The places of the records of each split, in drawn order."""
    test, train = _counts(spec, len(records))
    needed = test + (train or 1)
    if len(records) < needed:
        raise UserError(f"{where}.draw: found {len(records)} records, expected at least {needed}")
    order = [int(i) for i in np.random.default_rng(spec.seed).permutation(len(records))]
    if spec.stratify is not None:
        strata = _strata([record for _, record in records], spec.stratify, test, where)
        first = stratified(order, strata, test)
        rest = [i for i in order if i not in set(first)]
        return {"test": first, "train": rest if train is None else stratified(rest, strata, train)}
    if group is not None:
        names = [_group_of(record, group, i) for i, (_, record) in enumerate(records)]
        asked = test
        order, test = _by_group(order, names, asked)
        if test == len(order):
            raise UserError(
                f"{where}.draw: found all {len(order)} records in the groups that the first "
                f"{asked} belong to, expected other groups to train on"
            )
    return {"test": order[:test], "train": order[test : None if train is None else test + train]}


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


def _group_of(record: Record, group: str, place: int) -> str:
    """A record's group; one that has none is rejected later, and its own until then."""
    found = record.value.get(group) if isinstance(record.value, dict) else None
    return f"of record {place}" if found is None else str(found)


def _by_group(order: list[int], names: list[str], first: int) -> tuple[list[int], int]:
    """The places group by group, and how many whole groups' ones hold the `first`."""
    members: dict[str, list[int]] = {}
    for place in order:
        members.setdefault(names[place], []).append(place)
    count = 0
    for group in members.values():
        if count >= first:
            break
        count += len(group)
    return [place for group in members.values() for place in group], count


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
