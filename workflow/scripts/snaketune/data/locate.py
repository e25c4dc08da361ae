"""Where a dataset's records lie: which address, which split, which local files.

Light on purpose, and without the network: the Snakefile asks for the files at every parse.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args
from urllib.parse import urlsplit

from snaketune.config.base import FORMATS, SPLIT_WORDS, called_exactly, split_of
from snaketune.config.dataset import DatasetSpec, FormatName, SplitName
from snaketune.data.folders import (
    are_shards,
    claimed_splits,
    data_in,
    files_by_split,
    holds_data,
    is_data,
    kinds_of,
    readable_files,
    require_all_shards,
    saved_files,
    saved_splits,
    stem_of,
)
from snaketune.runtime.errors import UserError

SPLITS: tuple[SplitName, ...] = get_args(SplitName)


@dataclass(frozen=True)
class SourcePart:
    """One address with records of one split.

    `split` is None for a hub dataset, whose splits are known only once it is loaded. `pinned`
    says that the config names the split, whatever the address itself calls it.
    """

    kind: Literal["file", "saved", "hub", "download"]
    address: str
    split: SplitName | None
    pinned: bool = False

    @property
    def known_split(self) -> SplitName:
        """The split of a part that is no hub dataset."""
        if self.split is None:
            raise ValueError(f"{self.address}: its split is known once it is loaded")
        return self.split

    @property
    def name(self) -> str:
        """The address without its folders, as what is written shows it."""
        if self.kind == "hub":
            return f"hub:{self.address}"
        if self.kind == "download":
            return PurePosixPath(urlsplit(self.address).path).name
        path = PurePosixPath(self.address)
        return f"{path.parent.name}/{path.name}".lstrip("/") if self.kind == "saved" else path.name


def source_parts(spec: DatasetSpec, where: str = "datasets") -> list[SourcePart]:
    """The addresses behind `spec`, in the order train, dev, test.

    `where` is the spec's path in the config, for messages. Raises `UserError` for a local path
    that is missing, empty or ambiguous.
    """
    if isinstance(spec.source, str):
        return _parts(spec.source, None, spec, f"{where}.source")
    return [
        part
        for split in SPLITS
        if split in spec.source
        for part in _parts(spec.source[split], split, spec, f"{where}.source.{split}")
    ]


def source_parts_for(
    spec: DatasetSpec, splits: Sequence[SplitName], where: str = "datasets"
) -> list[SourcePart]:
    """The addresses that have to be read for `splits`: their own, and those that may hold any
    split."""
    return [
        p for p in source_parts(spec, where) if spec.draw or p.split in splits or p.split is None
    ]


def _parts(source: str, split: SplitName | None, spec: DatasetSpec, where: str) -> list[SourcePart]:
    pinned, form = split is not None, spec.format
    if source.startswith("hub:"):
        return [SourcePart("hub", source.removeprefix("hub:"), split, pinned)]
    if "://" in source:
        stem = PurePosixPath(urlsplit(source).path).stem
        return [SourcePart("download", source, split or _split_for(stem, form, where), pinned)]
    path = Path(source)
    if path.is_dir():
        return list(_folder(path, split, spec, where))
    if not path.is_file():
        raise UserError(
            f"{where}: found no file or folder {source}, expected a path relative to the working "
            "directory, `hub:OWNER/NAME` or an `https://` address"
        )
    if not is_data(path, form):
        expected = f"a file of {kinds_of(form)}{_way_to(path)}"
        raise UserError(f"{where}: found {source}, expected {expected}")
    return [SourcePart("file", source, split or _split_for(stem_of(path), form, where), pinned)]


def _way_to(path: Path) -> str:
    """What to do about a file of another kind."""
    ways = {".zip": "unpack it", ".tar": "unpack it", ".xlsx": "save the sheet as CSV"}
    ways |= {".xls": ways[".xlsx"], ".ods": ways[".xlsx"], ".tgz": "unpack it"}
    way = ways.get(path.suffix.lower()) or ways.get(Path(path.stem).suffix.lower())
    return f"; {way} first" if way else ""


def _split_for(stem: str, form: FormatName, where: str) -> SplitName:
    """The split of a lone file: what its name says, else what its format is for."""
    named = {SPLIT_WORDS.get(word) for word in re.split(r"[^a-z]+", stem.lower())} - {None}
    if len(named) > 1:
        raise UserError(
            f"{where}: found the file name {stem!r}, which names several splits; expected a "
            "source by split, such as {train: FILE, test: FILE}"
        )
    return split_of(stem) or ("test" if FORMATS[form].evaluation_only else "train")


def _folder(
    folder: Path, split: SplitName | None, spec: DatasetSpec, where: str
) -> Iterator[SourcePart]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        yield from _saved(folder, split, spec.format, where)
        return
    pattern = FORMATS[spec.format].many_files
    files = readable_files(folder, spec.format, pattern or "*")
    if not files:
        yield from _deeper(folder, split, spec, where)
        return
    require_all_shards(files)
    by_split = files_by_split(files, split, spec.format)
    if not by_split:
        raise UserError(
            f"{where}: found {len(files)} files in {folder} of which none is named for "
            f"{split or 'a split'}; expected names such as train.jsonl, or a source by split, "
            "such as {train: FILE, test: FILE}"
        )
    for name in SPLITS:
        group = by_split.get(name, [])
        if len(group) > 1 and not pattern and not are_shards(group):
            listed = ", ".join(p.name for p in group)
            raise UserError(
                f"{where}: found {len(group)} files for the split {name} in {folder} ({listed}), "
                "expected one, or a source by split that names the file"
            )
        yield from (SourcePart("file", str(path), name, split is not None) for path in group)


def _deeper(
    folder: Path, split: SplitName | None, spec: DatasetSpec, where: str
) -> Iterator[SourcePart]:
    """The parts in a folder of folders, as snapshots of the hub are: one a configuration, which
    `subset` names where there are several, or one a split."""
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and holds_data(p, spec.format))
    of_splits = {called_exactly(p.name): p for p in inner}
    if inner and None not in of_splits and len(of_splits) == len(inner):
        for name in SPLITS:
            if name in of_splits and split in (None, name):
                yield from _folder(of_splits[name], name, spec, where)
        return
    inner = [p for p in inner if p.name == spec.subset] or inner
    if len(inner) > 1:
        listed = ", ".join(p.name for p in inner)
        raise UserError(
            f"{where}: found data in several folders of {folder} ({listed}), expected one of them "
            "as `subset`, or its path as the source"
        )
    if not inner:
        expected = FORMATS[spec.format].many_files or (
            f"{kinds_of(spec.format)}, or a `save_to_disk` folder"
        )
        raise UserError(
            f"{where}: found no data file in the folder {folder}, expected files of {expected}"
        )
    yield from _folder(inner[0], split, spec, where)


def _saved(
    folder: Path, split: SplitName | None, form: FormatName, where: str
) -> Iterator[SourcePart]:
    if (folder / "state.json").is_file():
        yield SourcePart(
            "saved", str(folder), split or _split_for(folder.name, form, where), bool(split)
        )
        return
    names = saved_splits(folder / "dataset_dict.json")
    wanted = [split] if split else SPLITS
    by_split = claimed_splits(names, wanted, folder, where)
    if split and split not in by_split and len(names) == 1:
        by_split = {split: names[0]}
    if not any(name in by_split for name in wanted):
        raise UserError(
            f"{where}: found the splits {', '.join(names) or 'none'} in {folder}, "
            f"expected {' or '.join(wanted)}"
        )
    for name in wanted:
        if name in by_split:
            yield SourcePart("saved", str(folder / by_split[name]), name, split is not None)


def files_of(part: SourcePart) -> list[tuple[str, Path]]:
    """The local files of a part with their names; none of hub and https."""
    path = Path(part.address)
    if part.kind == "file":
        return [(part.name, path)]
    if part.kind == "saved":
        return [(f"{part.name}/{file.name}", file) for file in saved_files(path)]
    return []


def source_files(spec: DatasetSpec, where: str = "datasets") -> list[str]:
    """The local files that `spec` reads, sorted. Empty for hub and https."""
    return sorted({str(file) for part in source_parts(spec, where) for _, file in files_of(part)})


def catalogue_file(spec: DatasetSpec, where: str = "datasets") -> Path | None:
    """The file of the dataset's catalogue; None where it has none."""
    if spec.catalogue is None:
        return None
    source, at = spec.catalogue.source, f"{where}.catalogue.source"
    path = Path(source)
    if not path.is_file():
        raise UserError(f"{at}: found {source}, which is no file")
    if not is_data(path):
        raise UserError(f"{at}: found {path}, expected a file of {kinds_of()}")
    return path


def left_aside(spec: DatasetSpec) -> list[str]:
    """Data files in the sources' folders, or splits that were saved there, that are read for no
    split."""
    sources = [spec.source] if isinstance(spec.source, str) else spec.source.values()
    parts = [Path(part.address) for part in source_parts(spec)]
    named = {Path(source) for source in sources if Path(source).is_dir()}
    inner = {part.parent for part in parts if named & set(part.parents)}
    folders, read = sorted(named | inner), {*parts, catalogue_file(spec)}
    found = [p for folder in folders for p in data_in(folder, spec.format)]
    return sorted({p.name for p in found if p not in read})
