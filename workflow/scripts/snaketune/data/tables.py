"""All tables behind a dataset, and what identifies their content."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from snaketune.config.base import without_query
from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data.folders import is_data, kind_of, kinds_of, saved_files
from snaketune.data.locate import SourcePart, source_parts_for
from snaketune.data.record import Table
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
