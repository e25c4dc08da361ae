"""Which local files lie behind a dataset, and whether all that a config names are there: data,
models, adapters. Asked at every parse, so light and without the network, as `locate` is: of models
no more is read than what names their weights.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from snaketune.config.dataset import DatasetSpec
from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, report
from snaketune.data.locate import SUFFIXES, SourcePart, saved_splits, source_parts
from snaketune.models.content import weight_files
from snaketune.runtime.errors import UserError

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
    return sorted({p.name for folder in folders for p in _data_in(folder) if p not in read})


def _data_in(folder: Path) -> list[Path]:
    """The data files in a folder, and the splits that were saved there."""
    saved = folder / "dataset_dict.json"
    names = saved_splits(saved) if saved.is_file() else []
    files = [
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name not in _OF_SAVED
    ]
    return [*files, *(folder / name for name in names)]


_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def data_files(experiment: Experiment, configs: list[Path]) -> dict[str, list[str]]:
    """The local files of each dataset.

    Raises `UserError` with all that is missing among data, models and adapters; `configs` are the
    config files, for line numbers.
    """
    files: dict[str, list[str]] = {}
    faults = list(_weight_faults(experiment))
    for name, spec in experiment.datasets.items():
        try:
            files[name] = source_files(spec, f"datasets.{name}")
        except UserError as error:
            faults.append(Fault(("datasets", name, "source"), str(error)))
        try:
            catalogue = catalogue_file(spec, f"datasets.{name}")
        except UserError as error:
            faults.append(Fault(("datasets", name, "catalogue", "source"), str(error)))
        else:
            files.setdefault(name, []).extend([str(catalogue)] if catalogue else [])
        shots = spec.few_shot.file
        if shots and not Path(shots).is_file():
            where = ("datasets", name, "few_shot", "file")
            faults.append(Fault(where, f"found {shots}, which is no file"))
    if faults:
        raise UserError(report(faults, configs))
    return files


def _weight_faults(experiment: Experiment) -> Iterator[Fault]:
    """Model and adapter folders that aren't there or lack what they need, and predictions."""
    for name, spec in experiment.models.items():
        needed = ("config.json", "tokenizer_config.json", "*.safetensors")
        yield from _folder_faults(("models", name, "id"), spec.id, needed)
        if Path(spec.id).is_dir():
            try:
                weight_files(Path(spec.id))
            except UserError as error:
                yield Fault(("models", name, "id"), str(error))
    for name, run in experiment.runs.items():
        for eval_name, file in run.predictions.items():
            if not Path(file).is_file():
                where = ("runs", name, "predictions", eval_name)
                yield Fault(where, f"found {file}, which is no file")
        if run.adapter and not run.adapter.startswith("hub:"):
            own = ("adapter_config.json", "adapter_model.safetensors")
            yield from _folder_faults(("runs", name, "adapter"), run.adapter, own, hub=False)


def _folder_faults(
    path: tuple[str, ...], found: str, needed: tuple[str, ...], hub: bool = True
) -> Iterator[Fault]:
    folder = Path(found)
    if not folder.is_dir():
        if hub and _HUB_ID.fullmatch(found):
            return
        or_hub = "a folder or a hub id such as OWNER/NAME" if hub else "a folder or hub:OWNER/NAME"
        yield Fault(path, f"found {found}, which is no folder; expected {or_hub}")
        return
    for pattern in needed:
        if not any(folder.glob(pattern)):
            why = "; only safetensors are loaded" if "safetensors" in pattern else ""
            yield Fault(path, f"the folder {found} has no {pattern}{why}")
