"""What is wrong with an experiment as a whole: references, runs, where they are pushed to, and what
is not there (of models no more is read than what names their weights).

Each part is checked by its own model when it is read; here is what only shows beside the others.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snaketune.config.eval_checks import (
    against_faults,
    eval_faults,
    gate_faults,
    judges_of,
    metric_faults,
)
from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, Path_, missing_name, report, suggest
from snaketune.config.model import (
    GGUF_FAMILIES,
    no_gguf_family,
)
from snaketune.config.run_checks import push_faults, run_faults, seed_faults
from snaketune.data.locate import catalogue_file, source_files
from snaketune.models.content import weight_files
from snaketune.models.headers import model_type, unknown_targets
from snaketune.runtime.errors import UserError


def experiment_faults(experiment: Experiment) -> Iterator[Fault]:
    """All of them but what sweeps have: see `sweep_faults`."""
    yield from [*reference_faults(experiment.model_dump()), *_unknown_evals(experiment)]
    judges = judges_of(experiment)
    yield from eval_faults(experiment, judges)
    yield from push_faults(experiment)
    yield from seed_faults(experiment)
    for name, run in experiment.runs.items():
        yield from run_faults(experiment, judges, name, run)
    yield from gate_faults(experiment)
    for section in ("thresholds", "totals"):
        for run, entries in getattr(experiment, section).items():
            if run not in experiment.runs:
                yield missing_name((section, run), "runs", run, experiment.runs)
            for key in entries:
                if section == "thresholds":
                    yield from metric_faults(experiment, (section, run, key), key)
                elif key not in experiment.evals:
                    yield missing_name((section, run, key), "evals", key, experiment.evals)


_REFERENCES = {
    ("runs", "model"): "models",
    ("runs", "preset"): "presets",
    ("runs", "train"): "datasets",
    ("evals", "dataset"): "datasets",
}


def reference_faults(config: dict[str, Any]) -> Iterator[Fault]:
    """References to entries that aren't there, in a config that may have other faults."""
    for (section, key), kind in _REFERENCES.items():
        for name, entry in _dict(config.get(section)).items():
            known, named = _dict(config.get(kind)), _dict(entry).get(key)
            parts = named if isinstance(named, list) else []
            for found in [named, *(_dict(part).get("dataset") for part in parts)]:
                if isinstance(found, str) and found not in known:
                    yield missing_name((section, name, key), kind, found, known)


def _dict(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _unknown_evals(experiment: Experiment) -> Iterator[Fault]:
    for name in experiment.leave_out:
        if name not in experiment.evals:
            yield missing_name(("leave_out",), "evals", name, experiment.evals)


_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def data_files(experiment: Experiment, configs: list[Path]) -> dict[str, list[str]]:
    """The local files of each dataset.

    Raises `UserError` with all that is missing among data, models and adapters; `configs` are the
    config files, for line numbers.
    """
    files: dict[str, list[str]] = {}
    faults = [*_weight_faults(experiment), *against_faults(experiment)]
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
        kind = model_type(Path(experiment.models[run.model or ""].id)) if run.gguf else None
        if kind and kind not in GGUF_FAMILIES:
            yield Fault(("runs", name, "gguf"), no_gguf_family(kind))
        for eval_name, file in run.predictions.items():
            if not Path(file).is_file():
                path = ("runs", name, "predictions", eval_name)
                yield Fault(path, f"found {file}, which is no file")
        preset = experiment.presets.get(run.preset or "")
        model = experiment.models.get(run.model or "")
        if preset and model and preset.lora.targets != "all-linear" and Path(model.id).is_dir():
            for target, layers in unknown_targets(Path(model.id), preset.lora.targets):
                found = f"found {target}, which is no layer of models.{run.model}"
                where: Path_ = ("presets", run.preset or "", "lora", "targets")
                yield Fault(where, found + suggest(target, layers))
        if run.adapter is not None:
            yield from _adapter_faults(("runs", name, "adapter"), run.adapter)


def _adapter_faults(path: tuple[str, ...], found: str) -> Iterator[Fault]:
    if not found.startswith("hub:"):
        own = ("adapter_config.json", "adapter_model.safetensors")
        yield from _folder_faults(path, found, own, hub=False)
    elif not _HUB_ID.fullmatch(found.removeprefix("hub:")):
        yield Fault(path, f"found {found}, expected hub:OWNER/NAME")


def _folder_faults(
    path: tuple[str, ...], found: str, needed: tuple[str, ...], hub: bool = True
) -> Iterator[Fault]:
    folder = Path(found)
    if not found or not folder.is_dir():
        if hub and _HUB_ID.fullmatch(found):
            return
        or_hub = "a folder or a hub id such as OWNER/NAME" if hub else "a folder or hub:OWNER/NAME"
        yield Fault(path, f"found {found or repr('')}, which is no folder; expected {or_hub}")
        return
    for pattern in needed:
        if not any(folder.glob(pattern)):
            why = "; only safetensors are loaded" if "safetensors" in pattern else ""
            yield Fault(path, f"the folder {found} has no {pattern}{why}")
