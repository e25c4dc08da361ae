"""Local data, models and adapters that a config names: are they there? Asked at every parse, so
cheap: of models no more is read than what names their weights."""

import re
from collections.abc import Iterator
from pathlib import Path

from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, report
from snaketune.data.files import catalogue_file, source_files
from snaketune.models.content import weight_files
from snaketune.runtime.errors import UserError

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
            path = ("datasets", name, "few_shot", "file")
            faults.append(Fault(path, f"found {shots}, which is no file"))
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
                path = ("runs", name, "predictions", eval_name)
                yield Fault(path, f"found {file}, which is no file")
        if run.adapter and not run.adapter.startswith("hub:"):
            needed = ("adapter_config.json", "adapter_model.safetensors")
            yield from _folder_faults(("runs", name, "adapter"), run.adapter, needed, hub=False)


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
