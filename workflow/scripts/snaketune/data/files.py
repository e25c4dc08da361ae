"""Which local files lie behind a dataset. Light, and without the network, as `locate` is."""

import json
from pathlib import Path

from snaketune.config.dataset import DatasetSpec
from snaketune.data.locate import SUFFIXES, Part, parts, saved_splits
from snaketune.runtime.errors import UserError

# What `save_to_disk` writes about its data.
_OF_SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")


def files_of(part: Part) -> list[tuple[str, Path]]:
    """The local files of a part with their names; none of hub and https."""
    path = Path(part.address)
    if part.kind == "file":
        return [(part.name, path)]
    if part.kind == "saved":
        return [(f"{part.name}/{file.name}", file) for file in saved_files(path)]
    return []


def source_files(spec: DatasetSpec, where: str = "datasets") -> list[str]:
    """The local files that `spec` reads, sorted. Empty for hub and https."""
    return sorted({str(file) for part in parts(spec, where) for _, file in files_of(part)})


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
    read = {Path(part.address) for part in parts(spec)} | {catalogue_file(spec)}
    return sorted({p.name for folder in folders for p in _data_in(folder) if p not in read})


def _data_in(folder: Path) -> list[Path]:
    """The data files in a folder, and the splits that were saved there."""
    saved = folder / "dataset_dict.json"
    names = saved_splits(saved) if saved.is_file() else []
    files = [
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name not in _OF_SAVED
    ]
    return [*files, *(folder / name for name in names)]
