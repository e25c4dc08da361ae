"""What lies in a folder: which of its files are data and of which kind, to which split they belong,
and what `save_to_disk` wrote there.

Light on purpose: the Snakefile asks at every parse.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from snaketune.config.base import FORMATS, SplitName, called_exactly, split_of
from snaketune.config.dataset import FormatName
from snaketune.runtime.errors import UserError

_OLDER = (".jsonl", ".json", ".csv", ".parquet")
SUFFIXES = (*_OLDER, ".ndjson", ".tsv")
PACKED = (".gz", ".bz2", ".xz", ".zst")
_TEXT = ".txt"
# The hub writes `train-00000-of-00002`, with or without a hash behind it, or `train/0000`.
_SHARD = re.compile(r"(^\d+|-\d{5}-of-\d{5}(-[0-9a-f]{16})?)$")
_OF_SHARDS = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<of>\d{5})(-[0-9a-f]{16})?$")


def kind_of(path: PurePath) -> str:
    """The suffix that says what a data file is, without that of its compression; empty where it is
    none."""
    inner = path.with_suffix("") if path.suffix.lower() in PACKED else path
    kind = inner.suffix.lower()
    return kind if kind in (*SUFFIXES, _TEXT) and (inner is path or kind != ".parquet") else ""


def is_data(path: PurePath, form: FormatName = "table") -> bool:
    """Whether it is called a data file of the format: what is called .txt is one only of text."""
    kind = kind_of(path)
    return bool(kind) and (kind != _TEXT or form == "text")


def kinds_of(form: FormatName = "table") -> str:
    """What data files of a format are called, in words."""
    suffixes = (*SUFFIXES, _TEXT) if form == "text" else SUFFIXES
    return f"{', '.join(suffixes)}, or of these with {', '.join(PACKED)}"


def stem_of(path: PurePath) -> str:
    """The name without the suffixes of kind and compression."""
    return (path.with_suffix("") if path.suffix.lower() in PACKED else path).stem


def readable_files(folder: Path, form: FormatName = "table", pattern: str = "*") -> list[Path]:
    """The data files of a folder; those of kinds that were not always read only by themselves, so
    that a folder keeps its meaning."""
    named = sorted(p for p in folder.glob(pattern) if is_data(p, form))
    if gone := next((p for p in named if p.is_symlink() and not p.exists()), None):
        raise UserError(
            f"{gone}: found a link to {gone.readlink()}, where nothing is; expected a file there "
            "(a disk that is not mounted, a cache that was cleared?), or no link"
        )
    files = [p for p in named if p.is_file()]
    return [p for p in files if p.suffix.lower() in _OLDER] or files


_DEEPEST = 4
"""From a dataset's folder in the hub's cache: `snapshots/COMMIT/main/train`."""


def holds_data(folder: Path, form: FormatName = "table", depth: int = _DEEPEST) -> bool:
    """Whether there are data files in the folder or, to this depth, below it."""
    if folder.name.startswith("."):
        return False
    if readable_files(folder, form) or (folder / "state.json").is_file():
        return True
    return depth > 1 and any(holds_data(p, form, depth - 1) for p in folder.iterdir() if p.is_dir())


def files_by_split(
    files: list[Path], split: SplitName | None, form: FormatName
) -> dict[SplitName, list[Path]]:
    """Files under the split that their name speaks of; files of a many-file format belong together
    where their names speak of no split or, in a folder for one split, not all of them do."""
    named: dict[SplitName, list[Path]] = {}
    for path in files:
        if of := split_of(stem_of(path)):
            named.setdefault(of, []).append(path)
    unnamed = len(files) - sum(map(len, named.values()))
    if FORMATS[form].many_files and (not named or (split and unnamed)):
        return {split or "train": files}
    if split is None:
        return named
    if split in named:
        return {split: named[split]}
    return {split: files} if len(files) == 1 or are_shards(files) else {}


def are_shards(files: list[Path]) -> bool:
    """Whether the files are numbered pieces of one table, as the hub writes them."""
    return len({(_SHARD.sub("", stem_of(p)), kind_of(p), p.suffix) for p in files}) == 1


def require_all_shards(files: Sequence[Path]) -> None:
    """Raises `UserError` where pieces say of how many they are, and one of them isn't there."""
    there: dict[tuple[str, int], set[int]] = {}
    for path in files:
        if found := _OF_SHARDS.match(stem_of(path)):
            there.setdefault((found["stem"], int(found["of"])), set()).add(int(found["number"]))
    for (stem, of), numbers in there.items():
        if missing := sorted(set(range(of)) - numbers):
            listed = ", ".join(f"{stem}-{n:05d}-of-{of:05d}" for n in missing[:3])
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise UserError(
                f"{files[0].parent}: found {len(numbers)} of {of} files of {stem}; expected "
                f"{listed}{more} as well (a download that did not end?)"
            )


def claimed_splits(
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


def data_in(folder: Path, form: FormatName = "table") -> list[Path]:
    """The data files in a folder, and the splits that were saved there."""
    saved = folder / "dataset_dict.json"
    names = saved_splits(saved) if saved.is_file() else []
    found = (p for p in folder.iterdir() if is_data(p, form) and p.is_file())
    files = [p for p in found if p.name not in _OF_SAVED]
    return [*files, *(folder / name for name in names)]
