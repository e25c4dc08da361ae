"""Where a dataset's records lie: which address, which split, which local files.

Light on purpose, and without the network: the Snakefile asks for the files at every parse.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args
from urllib.parse import urlsplit

from snaketune.config.base import FORMATS
from snaketune.config.dataset import (
    SPLIT_WORDS,
    DatasetSpec,
    FormatName,
    SplitName,
    called_exactly,
    split_of,
)
from snaketune.runtime.errors import UserError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".txt")
SPLITS: tuple[SplitName, ...] = get_args(SplitName)


def suffixes_of(form: FormatName) -> tuple[str, ...]:
    """Of local files: what is called .txt is data only where text is read."""
    return SUFFIXES if form == "text" else SUFFIXES[:-1]


_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


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
        return _parts(spec.source, None, spec.format, f"{where}.source")
    return [
        part
        for split in SPLITS
        if split in spec.source
        for part in _parts(spec.source[split], split, spec.format, f"{where}.source.{split}")
    ]


def source_parts_for(
    spec: DatasetSpec, splits: Sequence[SplitName], where: str = "datasets"
) -> list[SourcePart]:
    """The addresses that have to be read for `splits`: their own, and those that may hold any
    split."""
    return [
        p for p in source_parts(spec, where) if spec.draw or p.split in splits or p.split is None
    ]


def _parts(source: str, split: SplitName | None, form: FormatName, where: str) -> list[SourcePart]:
    pinned = split is not None
    if source.startswith("hub:"):
        return [SourcePart("hub", source.removeprefix("hub:"), split, pinned)]
    if "://" in source:
        stem = PurePosixPath(urlsplit(source).path).stem
        return [SourcePart("download", source, split or _split_for(stem, form, where), pinned)]
    path = Path(source)
    if path.is_dir():
        return list(_folder(path, split, form, where))
    if not path.is_file():
        raise UserError(
            f"{where}: found no file or folder {source}, expected a path relative to the working "
            "directory, `hub:OWNER/NAME` or an `https://` address"
        )
    if path.suffix.lower() not in suffixes_of(form):
        expected = f"a file of {', '.join(suffixes_of(form))}"
        raise UserError(f"{where}: found {source}, expected {expected}")
    return [SourcePart("file", source, split or _split_for(path.stem, form, where), pinned)]


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
    folder: Path, split: SplitName | None, form: FormatName, where: str
) -> Iterator[SourcePart]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        yield from _saved(folder, split, form, where)
        return
    pattern, suffixes = FORMATS[form].many_files, suffixes_of(form)
    files = sorted(
        p for p in folder.glob(pattern or "*") if p.suffix.lower() in suffixes and p.is_file()
    )
    if not files:
        expected = pattern or f"{', '.join(suffixes)} or a `save_to_disk` folder"
        raise UserError(
            f"{where}: found no data file in the folder {folder}, expected files of {expected}"
        )
    by_split = _by_split(files, split, form)
    if not by_split:
        raise UserError(
            f"{where}: found {len(files)} files in {folder} of which none is named for "
            f"{split or 'a split'}; expected names such as train.jsonl, or a source by split, "
            "such as {train: FILE, test: FILE}"
        )
    for name in SPLITS:
        group = by_split.get(name, [])
        if len(group) > 1 and not pattern and not _shards(group):
            listed = ", ".join(p.name for p in group)
            raise UserError(
                f"{where}: found {len(group)} files for the split {name} in {folder} ({listed}), "
                "expected one, or a source by split that names the file"
            )
        yield from (SourcePart("file", str(path), name, split is not None) for path in group)


def _by_split(
    files: list[Path], split: SplitName | None, form: FormatName
) -> dict[SplitName, list[Path]]:
    """Files under the split that their name speaks of; files of a many-file format belong together
    where their names speak of no split or, in a folder for one split, not all of them do."""
    named: dict[SplitName, list[Path]] = {}
    for path in files:
        if of := split_of(path.stem):
            named.setdefault(of, []).append(path)
    unnamed = len(files) - sum(map(len, named.values()))
    if FORMATS[form].many_files and (not named or (split and unnamed)):
        return {split or "train": files}
    if split is None:
        return named
    if split in named:
        return {split: named[split]}
    return {split: files} if len(files) == 1 else {}


def _shards(files: list[Path]) -> bool:
    """Whether the files are numbered pieces of one table, as the hub writes them."""
    return len({(_SHARD.sub("", p.stem), p.suffix) for p in files}) == 1


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
    by_split = _claimed(names, wanted, folder, where)
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


def _claimed(
    names: list[str], wanted: Sequence[SplitName], folder: Path, where: str
) -> dict[SplitName, str]:
    """Which of a folder's splits serves as which of the wanted ones: the one that is called so,
    else the one whose name speaks of it."""
    by_split: dict[SplitName, str] = {}
    for split in wanted:
        exact = [name for name in names if called_exactly(name) == split]
        claims = exact or [name for name in names if split_of(name) == split]
        if len(claims) > 1:
            raise UserError(
                f"{where}: found the splits {', '.join(claims)} in {folder}, which all speak of "
                f"{split}; expected one, or a source by split that names the folder of one"
            )
        if claims:
            by_split[split] = claims[0]
    return by_split


def saved_splits(path: Path) -> list[str]:
    """The splits that a `dataset_dict.json` names."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["splits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: found {type(error).__name__}: {error}, expected JSON with a list `splits`"
        ) from None


# What `save_to_disk` writes about its data.
_OF_SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")


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
    path, at = Path(spec.catalogue.source), f"{where}.catalogue.source"
    if not path.is_file():
        raise UserError(f"{at}: found {path}, which is no file")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{at}: found {path}, expected a file of {', '.join(SUFFIXES)}")
    return path


def saved_files(folder: Path) -> list[Path]:
    """The files of one saved split. Its caches (`cache-*.arrow`) come and go: not counted."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        names = [entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / 'state.json'}: found {type(error).__name__}: {error}, "
            "expected the state file of a datasets `save_to_disk` folder"
        ) from None
    return [folder / name for name in ("state.json", "dataset_info.json", *names)]


def left_aside(spec: DatasetSpec) -> list[str]:
    """Data files in the sources' folders, or splits that were saved there, that are read for no
    split."""
    sources = [spec.source] if isinstance(spec.source, str) else spec.source.values()
    folders = sorted({Path(source) for source in sources if Path(source).is_dir()})
    read = {Path(part.address) for part in source_parts(spec)} | {catalogue_file(spec)}
    suffixes = suffixes_of(spec.format)
    found = [p for folder in folders for p in _data_in(folder, suffixes)]
    return sorted({p.name for p in found if p not in read})


def _data_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The data files in a folder, and the splits that were saved there."""
    saved = folder / "dataset_dict.json"
    names = saved_splits(saved) if saved.is_file() else []
    files = [
        p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.name not in _OF_SAVED
    ]
    return [*files, *(folder / name for name in names)]
