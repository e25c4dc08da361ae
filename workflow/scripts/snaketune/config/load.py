"""From what Snakemake read to a checked experiment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, FieldNames, from_pydantic, missing_name, report
from snaketune.config.run import RunSpec
from snaketune.config.smoke import smoke
from snaketune.errors import UserError
from snaketune.jsonl import write_text


def load_experiment(config: dict[str, Any], files: list[Path]) -> Experiment:
    """The experiment in `config`; `files` are the config files it came from, for line numbers.

    Raises `UserError` with all faults, each with its place.
    """
    config = _with_nulls(config)
    try:
        experiment = Experiment.model_validate(config)
    except ValidationError as error:
        faults = from_pydantic(error, FieldNames(Experiment))
        raise UserError(report(faults + list(_dangling(config)), files)) from None
    faults = list(_faults(experiment))
    if faults:
        raise UserError(report(faults, files))
    return smoke(experiment) if experiment.smoke else experiment


def _with_nulls(value: Any) -> Any:
    """Snakemake reads every value of a nested `--config` as text: `{sample: null}` as "null"."""
    if isinstance(value, dict):
        return {key: _with_nulls(inner) for key, inner in value.items()}
    return None if value == "null" else value


def write_resolved(experiment: Experiment, file: Path) -> None:
    """The experiment as YAML with every default filled in; it can be run again as it is."""
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(file, text)


_REFERENCES = {
    ("runs", "model"): "models",
    ("runs", "preset"): "presets",
    ("runs", "train"): "datasets",
    ("evals", "dataset"): "datasets",
}


def _dangling(config: dict[str, Any]) -> Iterator[Fault]:
    """References to entries that aren't there, in a config that may have other faults."""
    for (section, key), kind in _REFERENCES.items():
        for name, entry in _dict(config.get(section)).items():
            found = _dict(entry).get(key)
            if isinstance(found, str) and found not in _dict(config.get(kind)):
                yield missing_name((section, name, key), kind, found, _dict(config.get(kind)))


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _given_faults(experiment: Experiment, name: str, run: RunSpec) -> Iterator[Fault]:
    """Of predictions made elsewhere: which evals they are for, and what they are held against."""
    for eval_name in run.predictions:
        if eval_name not in experiment.evals:
            path = ("runs", name, "predictions", eval_name)
            yield missing_name(path, "evals", eval_name, experiment.evals)
    if run.base and run.base not in experiment.runs:
        yield missing_name(("runs", name, "base"), "runs", run.base, experiment.runs)
    elif run.base:
        other = experiment.runs[run.base]
        for eval_name in run.predictions:
            if other.predictions and eval_name not in other.predictions:
                found = f"found {run.base}, which has no predictions for {eval_name}"
                yield Fault(("runs", name, "base"), found)


def _faults(experiment: Experiment) -> Iterator[Fault]:
    yield from _dangling(experiment.model_dump())
    yield from _unknown_evals(experiment)
    for name, spec in experiment.evals.items():
        if spec.judge and spec.judge.model not in experiment.models:
            path = ("evals", name, "judge")
            yield missing_name(path, "models", spec.judge.model, experiment.models)
        yield from _guideline(("evals", name, "judge", "guideline"), spec)
        data = experiment.datasets.get(spec.dataset)
        if spec.task == "multiple_choice" and data and data.task != spec.task:
            found = f"found {spec.dataset}, whose format {data.format} gives no options"
            yield Fault(("evals", name, "dataset"), f"{found}, which task {spec.task} needs")
    for name, run in experiment.runs.items():
        yield from _run_faults(experiment, name, run)
    for section in ("thresholds", "totals"):
        for run, entries in getattr(experiment, section).items():
            if run not in experiment.runs:
                yield missing_name((section, run), "runs", run, experiment.runs)
            for key in entries:
                name = key.partition(".")[0]
                if name not in experiment.evals:
                    yield missing_name((section, run, key), "evals", name, experiment.evals)


def _unknown_evals(experiment: Experiment) -> Iterator[Fault]:
    for name in experiment.leave_out:
        if name not in experiment.evals:
            yield missing_name(("leave_out",), "evals", name, experiment.evals)


def _guideline(path: tuple[str, ...], spec: EvalSpec) -> Iterator[Fault]:
    if spec.judge and not Path(spec.judge.guideline).is_file():
        yield Fault(path, f"found {spec.judge.guideline}, which is no file")


def _run_faults(experiment: Experiment, name: str, run: RunSpec) -> Iterator[Fault]:
    preset = experiment.presets.get(run.preset or "")
    model = experiment.models.get(run.model or "")
    yield from _given_faults(experiment, name, run)
    if preset and model and preset.method == "qlora" and model.quantisation == "none":
        yield Fault(
            ("runs", name, "preset"),
            f"method qlora trains on nf4 weights, but models.{run.model}.quantisation is none",
        )
    if run.snapshots == "epochs" and preset and not float(preset.epochs).is_integer():
        path = ("runs", name, "snapshots")
        yield Fault(
            path, f"epochs needs whole epochs, but presets.{run.preset} has {preset.epochs}"
        )
    for eval_name in run.follow:
        if eval_name not in experiment.evals:
            yield missing_name(("runs", name, "follow"), "evals", eval_name, experiment.evals)
    if run.choose:
        yield from _choose_faults(experiment, name, run.choose)
    for eval_name, change in run.evals.items():
        path = ("runs", name, "evals", eval_name)
        if eval_name not in experiment.evals:
            yield missing_name(path, "evals", eval_name, experiment.evals)
        elif isinstance(change, dict):
            yield from _change_faults(path, experiment.evals[eval_name], change)


def _choose_faults(experiment: Experiment, name: str, choose: str) -> Iterator[Fault]:
    path = ("runs", name, "choose")
    eval_name, _, metric = choose.partition(".")
    if eval_name not in experiment.evals:
        yield missing_name(path, "evals", eval_name, experiment.evals)
    elif not metric:
        yield Fault(path, f"found {choose}, expected EVAL.METRIC such as {eval_name}.accuracy")
    elif eval_name in experiment.leave_out:
        yield Fault(path, f"eval {eval_name} is left out, but it chooses the snapshot")


def _change_faults(path: tuple[str, ...], spec: EvalSpec, change: dict) -> Iterator[Fault]:
    try:
        changed_eval(spec, change)
    except ValidationError as error:
        for fault in from_pydantic(error, FieldNames(EvalSpec)):
            yield Fault((*path, *fault.path), fault.message)


def changed_eval(spec: EvalSpec, change: dict[str, Any]) -> EvalSpec:
    """The eval with a run's changes. Raises pydantic's ValidationError."""
    return EvalSpec.model_validate({**spec.model_dump(), **change})
