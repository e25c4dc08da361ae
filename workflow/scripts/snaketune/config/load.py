"""From what Snakemake read to a checked experiment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from snaketune.config.dataset import may_have_dev, without_query
from snaketune.config.eval_faults import change_faults, eval_faults, judges_of, metric_faults
from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, FieldNames, from_pydantic, missing_name, report
from snaketune.config.model import ModelSpec
from snaketune.config.preset import Preset
from snaketune.config.push import push_faults, with_repositories
from snaketune.config.run import RunSpec
from snaketune.config.smoke import smoke
from snaketune.config.sweep import expanded, sweep_faults
from snaketune.config.written import repeats
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_text


def load_experiment(config: dict[str, Any], files: list[Path]) -> Experiment:
    """The experiment in `config`; `files` are the config files it came from, for line numbers.

    Raises `UserError` with all faults, each with its place.
    """
    config = _with_nulls(config)
    twice = list(_keys_twice(files))
    try:
        experiment = Experiment.model_validate(config)
    except ValidationError as error:
        faults = from_pydantic(error, FieldNames(Experiment))
        raise UserError(report([*twice, *faults, *_dangling(config)], files)) from None
    _refuse([*twice, *_faults(experiment), *sweep_faults(experiment)], files)
    if any(run.sweep for run in experiment.runs.values()):
        try:
            experiment = expanded(experiment)
        except ValueError as error:
            raise UserError(f"1 fault in the config:\n  {error}") from None
        _refuse(list(_faults(experiment)), files)
    experiment = with_repositories(experiment)
    return smoke(experiment) if experiment.smoke else experiment


def _refuse(faults: list[Fault], files: list[Path]) -> None:
    if faults:
        raise UserError(report(faults, files))


def _keys_twice(files: list[Path]) -> Iterator[Fault]:
    """Keys that stand twice in one file. That several files have a key is what overlays are for."""
    for file in dict.fromkeys(files):
        for repeat in repeats(file):
            message = f"found {repeat.places}; expected it once"
            yield Fault(repeat.path, message, f"{file}:{repeat.lines[0]}")


def _with_nulls(value: Any) -> Any:
    """Snakemake reads every value of a nested `--config` as text: `{sample: null}` as "null"."""
    if isinstance(value, dict):
        return {key: _with_nulls(inner) for key, inner in value.items()}
    return None if value == "null" else value


def write_resolved(experiment: Experiment, file: Path) -> None:
    """The experiment as YAML with every default filled in; it can be run again as it is, but for
    addresses with a query, which may be a signature and is left out."""
    plain = experiment.model_dump(mode="json")
    for data in plain["datasets"].values():
        source = data["source"]
        by_split = isinstance(source, dict)
        data["source"] = (
            {split: without_query(address) for split, address in source.items()}
            if by_split
            else without_query(source)
        )
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
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
    judges = judges_of(experiment)
    yield from eval_faults(experiment, judges)
    yield from push_faults(experiment)
    for name, run in experiment.runs.items():
        yield from _run_faults(experiment, judges, name, run)
    for section in ("thresholds", "totals"):
        for run, entries in getattr(experiment, section).items():
            if run not in experiment.runs:
                yield missing_name((section, run), "runs", run, experiment.runs)
            for key in entries:
                if section == "thresholds":
                    yield from metric_faults(experiment, (section, run, key), key)
                elif key not in experiment.evals:
                    yield missing_name((section, run, key), "evals", key, experiment.evals)


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
        path = ("runs", name, "snapshots")
        yield Fault(
            path, f"epochs needs whole epochs, but presets.{run.preset} has {preset.epochs}"
        )
    # Smoke sets max_steps itself: its snapshots only have to be there.
    if run.snapshots == "epochs" and preset and preset.max_steps and not experiment.smoke:
        found = f"epochs ends at whole epochs, but presets.{run.preset}.max_steps is"
        expected = "expected a number of snapshots, or no max_steps"
        yield Fault(("runs", name, "snapshots"), f"{found} {preset.max_steps}; {expected}")
    if preset and preset.best != "none":
        yield from _best_faults(experiment, name, run, preset.best)
    for eval_name in run.follow:
        if eval_name not in experiment.evals:
            yield missing_name(("runs", name, "follow"), "evals", eval_name, experiment.evals)
        elif run.evals.get(eval_name) is False:
            found = f"found {eval_name}, which runs.{name}.evals leaves out"
            yield Fault(("runs", name, "follow"), found)
    if run.choose:
        yield from _choose_faults(experiment, name, run)
    for eval_name, change in run.evals.items():
        path = ("runs", name, "evals", eval_name)
        if eval_name not in experiment.evals:
            yield missing_name(path, "evals", eval_name, experiment.evals)
        elif isinstance(change, dict):
            spec = experiment.evals[eval_name]
            yield from change_faults(experiment, judges, path, spec, change)


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
    data = experiment.datasets.get(run.train or "")
    if run.choose:
        yield Fault(
            path, f"both choose and {key} say which weights are taken; expected one of them"
        )
    if data and best == "accuracy" and data.task != "classification":
        found = f"{key} is accuracy, but datasets.{run.train} is {data.task}"
        yield Fault(path, f"{found}; expected a classification dataset, or best: loss")
    if data and not may_have_dev(data):
        found = f"{key} is {best}, but datasets.{run.train} has no dev split"
        yield Fault(path, f"{found}; expected dev: N there, or a source that has one")


def _choose_faults(experiment: Experiment, name: str, run: RunSpec) -> Iterator[Fault]:
    path = ("runs", name, "choose")
    faults = list(metric_faults(experiment, path, run.choose))
    yield from faults
    if faults:
        return
    eval_name = run.choose.partition(".")[0]
    if eval_name in experiment.leave_out:
        yield Fault(path, f"eval {eval_name} is left out, but it chooses the snapshot")
    change = run.evals.get(eval_name) or {}
    dataset = change.get("dataset", experiment.evals[eval_name].dataset)
    data = experiment.datasets.get(dataset)
    if data and not may_have_dev(data):
        found = f"found {run.choose}, but datasets.{dataset} has no dev split to choose on"
        yield Fault(path, f"{found}; expected dev: N there, or a source that has one")
