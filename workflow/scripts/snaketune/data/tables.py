"""All tables behind a dataset, and what identifies their content; train and test drawn from a
source that has one split.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np

from snaketune.config.dataset import DatasetSpec, DrawnSplitsSpec, SplitName, without_query
from snaketune.data.locate import SUFFIXES, SourcePart, saved_files, source_parts_for
from snaketune.data.record import Record, Table
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
        loaded.add(part.known_split, *read_file(Path(part.address)))


def read_file(path: Path) -> tuple[Table, dict]:
    """The table in a local file, and what the manifest says of it."""
    origin = {"kind": path.suffix[1:].lower(), "files": [_file(path, path.name)]}
    return READERS[path.suffix.lower()](path, str(path)), origin


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
    if name.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{place}: found an address that ends with {name.suffix or name.name!r}, "
            f"expected a file of {', '.join(SUFFIXES)}"
        )
    target = folder / part.known_split / name.name
    target.parent.mkdir(exist_ok=True)
    download(part.address, target)
    found = _file(target, name.name)
    _expect_hash(place, found["sha256"], spec.sha256.get(part.known_split))
    origin = {"kind": "download", "url": place, "files": [found]}
    loaded.add(part.known_split, READERS[name.suffix.lower()](target, place), origin)


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
    number falls within is in it whole, or for train as far as the number goes.

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
    test = spec.test
    if group is not None:
        names = [_group_of(record, group, i) for i, (_, record) in enumerate(records)]
        order, test = _by_group(order, names, test)
        if test == len(order):
            raise UserError(
                f"{where}.draw: found all {len(order)} records in the groups that the first "
                f"{spec.test} belong to, expected other groups to train on"
            )
    end = None if spec.train is None else test + spec.train
    chosen: dict[SplitName, list[int]]
    chosen = {"test": order[:test], "train": order[test:end]}
    left = len(records) - sum(map(len, chosen.values()))
    out = Loaded(unused=loaded.unused, not_drawn=left)
    for name, places in chosen.items():
        for table, origin in _in_runs(loaded, split, [records[i] for i in places]):
            out.tables.setdefault(name, []).append(table)
            out.origins.setdefault(name, []).append(origin)
    return out


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
