"""What is wrong with an experiment as a whole: references, runs, where they are pushed to, and what
is not there (of models no more is read than what names their weights).

Each part is checked by its own model when it is read; here is what only shows beside the others.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snaketune.config.base import PERPLEXITY
from snaketune.config.dataset import may_have_dev
from snaketune.config.eval_checks import (
    against_faults,
    change_faults,
    choose_faults,
    eval_faults,
    gate_faults,
    judges_of,
    metric_faults,
    row_faults,
)
from snaketune.config.experiment import RUN_IN_NAME, Experiment, RunSpec
from snaketune.config.faults import Fault, Path_, missing_name, report
from snaketune.config.model import GGUF_FAMILIES, ModelSpec, Preset, no_gguf_family
from snaketune.data.locate import catalogue_file, source_files
from snaketune.models.content import weight_files
from snaketune.models.headers import model_type
from snaketune.runtime.errors import UserError


def experiment_faults(experiment: Experiment) -> Iterator[Fault]:
    """All of them but what sweeps have: see `sweep_faults`."""
    yield from reference_faults(experiment.model_dump())
    yield from _unknown_evals(experiment)
    judges = judges_of(experiment)
    yield from eval_faults(experiment, judges)
    yield from push_faults(experiment)
    yield from _seed_faults(experiment)
    for name, run in experiment.runs.items():
        yield from _run_faults(experiment, judges, name, run)
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


def _run_faults(
    experiment: Experiment, judges: set[str], name: str, run: RunSpec
) -> Iterator[Fault]:
    preset = experiment.presets.get(run.preset or "")
    model = experiment.models.get(run.model or "")
    yield from _given_faults(experiment, name, run)
    if preset and model:
        yield from _quantisation_faults(name, run, preset, model)
    if run.snapshots == "epochs" and preset and not float(preset.epochs).is_integer():
        found = f"epochs needs whole epochs, but presets.{run.preset} has {preset.epochs}"
        yield Fault(("runs", name, "snapshots"), found)
    # Smoke sets max_steps itself: its snapshots only have to be there.
    if run.snapshots == "epochs" and preset and preset.max_steps and not experiment.smoke:
        found = f"epochs ends at whole epochs, but presets.{run.preset}.max_steps is"
        expected = "expected a number of snapshots, or no max_steps"
        yield Fault(("runs", name, "snapshots"), f"{found} {preset.max_steps}; {expected}")
    yield from row_faults(experiment, name, run)
    if preset and preset.best != "none":
        yield from _best_faults(experiment, name, run, preset.best)
    for eval_name in run.follow:
        if eval_name not in experiment.evals:
            yield missing_name(("runs", name, "follow"), "evals", eval_name, experiment.evals)
        elif run.evals.get(eval_name) is False:
            found = f"found {eval_name}, which runs.{name}.evals leaves out"
            yield Fault(("runs", name, "follow"), found)
    if run.choose:
        yield from choose_faults(experiment, name, run, run.choose)
    for eval_name, change in run.evals.items():
        path: Path_ = ("runs", name, "evals", eval_name)
        if eval_name not in experiment.evals:
            yield missing_name(path, "evals", eval_name, experiment.evals)
        elif isinstance(change, dict):
            spec = experiment.evals[eval_name]
            yield from change_faults(experiment, judges, path, spec, change)


def _given_faults(experiment: Experiment, name: str, run: RunSpec) -> Iterator[Fault]:
    """Of predictions made elsewhere: which evals they are for, and what they are held against."""
    for eval_name in run.predictions:
        if eval_name not in experiment.evals:
            path = ("runs", name, "predictions", eval_name)
            yield missing_name(path, "evals", eval_name, experiment.evals)
        elif experiment.evals[eval_name].task == PERPLEXITY:
            found = "found a file, but perplexity is of a model, which no predictions stand for"
            yield Fault(("runs", name, "predictions", eval_name), found)
    if run.base and run.base not in experiment.runs:
        yield missing_name(("runs", name, "base"), "runs", run.base, experiment.runs)
    elif run.base == name:
        yield Fault(("runs", name, "base"), f"found {name}, the run itself; expected another one")
    elif run.base:
        other = experiment.runs[run.base]
        asked = run.predictions or [
            key
            for key in experiment.evals
            if run.evals.get(key) is not False and key not in experiment.leave_out
        ]
        for eval_name in asked:
            if other.predictions and eval_name not in other.predictions:
                found = f"found {run.base}, which has no predictions for {eval_name}"
                yield Fault(("runs", name, "base"), found)


def _quantisation_faults(
    name: str, run: RunSpec, preset: Preset, model: ModelSpec
) -> Iterator[Fault]:
    """An adapter is evaluated on the weights that it was trained on, so both say the same."""
    path, method = ("runs", name, "preset"), preset.method
    trained_on = "nf4" if method == "qlora" else "none"
    if model.quantisation not in (None, trained_on):
        weights = "nf4" if method == "qlora" else "plain"
        found = f"method {method} trains on {weights} weights, but models.{run.model}.quantisation"
        yield Fault(
            path, f"{found} is {model.quantisation}; expected it to be unset, or {trained_on}"
        )
    if method == "qlora" and preset.dtype not in ("auto", model.dtype):
        found = f"presets.{run.preset}.dtype is {preset.dtype}, but models.{run.model}.dtype is"
        expected = "expected the same: 4-bit weights follow from the numbers that they are made of"
        yield Fault(path, f"{found} {model.dtype}; {expected}")


def _best_faults(experiment: Experiment, name: str, run: RunSpec, best: str) -> Iterator[Fault]:
    """Of a preset that keeps the weights that are best on dev."""
    path, key = ("runs", name, "preset"), f"presets.{run.preset}.best"
    known = {k: d for k in run.learns_from if (d := experiment.datasets.get(k))}
    if run.choose:
        yield Fault(
            path, f"both choose and {key} say which weights are taken; expected one of them"
        )
    for data, spec in known.items():
        if best == "accuracy" and spec.task != "classification":
            found = f"{key} is accuracy, but datasets.{data} is {spec.task}"
            yield Fault(path, f"{found}; expected a classification dataset, or best: loss")
    if known and not any(map(may_have_dev, known.values())):
        found = f"{key} is {best}, but datasets.{', '.join(known)} has no dev split"
        yield Fault(path, f"{found}; expected dev: N there, or a source that has one")


def push_faults(experiment: Experiment) -> Iterator[Fault]:
    """Runs, of one sweep or not, that would overwrite one another's repository."""
    taken: dict[str, str] = {}
    for name, run in experiment.runs.items():
        if run.push is None:
            continue
        path, repo = ("runs", name, "push"), run.push.repo.replace(RUN_IN_NAME, name)
        if RUN_IN_NAME not in run.push.repo and (
            run.seeds > 1 or any(len(values) > 1 for values in run.sweep.values())
        ):
            found = f"found {repo} for all runs of the sweep"
            yield Fault(
                path, f"{found}, expected {RUN_IN_NAME} in the name, such as {repo}-{RUN_IN_NAME}"
            )
        if repo in taken:
            found = f"found {repo}, which runs.{taken[repo]} is pushed to as well"
            yield Fault(path, f"{found}; expected a repository each, or {RUN_IN_NAME} in the name")
        taken.setdefault(repo, name)


_BESIDE = {"seed", "sweep", "label", "push", "gguf", "resources", "gpu"}
_BESIDE |= {"report_to", "preset"}
"""What runs that are joined may differ in: their seed, and what decides no figure."""


def _seed_faults(experiment: Experiment) -> Iterator[Fault]:
    """Runs that are joined though they differ in more than their seed, or not in that."""
    members: dict[str, list[str]] = {}
    for name, run in experiment.runs.items():
        if run.seed_of is not None:
            members.setdefault(run.seed_of, []).append(name)
    for row, names in members.items():
        if row in experiment.runs:
            yield Fault(("runs", names[0], "seed_of"), f"found {row}, which is a run of its own")
        runs = [experiment.runs[name] for name in names]
        made = [
            (run.model_dump(exclude=_BESIDE), experiment.presets.get(run.preset or ""))
            for run in runs
        ]
        for name, settings in zip(names, made, strict=True):
            if settings != made[0]:
                found = f"found {row}, but the run differs from {names[0]} in more than its seed"
                yield Fault(("runs", name, "seed_of"), found)
        if len({run.seed for run in runs}) < len(runs):
            found = f"found one seed twice among the runs of {row}"
            yield Fault(("runs", names[0], "seed_of"), f"{found}, expected different ones")


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
