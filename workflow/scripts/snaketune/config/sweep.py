"""Sweeps: a run with lists of hyperparameters becomes a run a combination."""

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

from pydantic import ValidationError

from snaketune.config.experiment import Experiment, RunSpec
from snaketune.config.faults import Fault, FieldNames, Path_, from_pydantic, missing_name, suggest
from snaketune.config.preset import Preset

_OF_THE_RUN = {"model": "models", "preset": "presets", "train": "datasets", "seed": None}
Setting = dict[str, Any]
"""A value by swept key."""


def sweep_faults(experiment: Experiment) -> Iterator[Fault]:
    """Keys that are no hyperparameter, lists without or with repeated values, and combinations that
    a preset refuses."""
    for name, run in experiment.runs.items():
        faults = [
            fault
            for key, values in run.sweep.items()
            for fault in _key_faults(experiment, ("runs", name, "sweep", key), key, values)
        ]
        yield from faults or _combination_faults(experiment, name, run)
        if run.base in experiment.runs and len(_settings(experiment.runs[run.base])) > 1:
            yield Fault(("runs", name, "base"), f"found {run.base}, which is a sweep of runs")


def expanded(experiment: Experiment) -> Experiment:
    """The experiment with a run, and a preset of its own, for every combination of a sweep.

    A run whose sweep leaves one combination keeps its name, so that expanding twice is expanding
    once. Raises `ValueError` with the place where two runs or presets would have one name.
    """
    runs: dict[str, RunSpec] = {}
    presets = dict(experiment.presets)
    members: dict[str, list[str]] = {}
    for name, run in experiment.runs.items():
        settings = _settings(run)
        for setting in settings:
            own = name if len(settings) == 1 else run_name(name, setting)
            members.setdefault(name, []).append(own)
            if own in runs or (own != name and own in experiment.runs):
                raise ValueError(f"runs.{name}.sweep: found two runs named {own}")
            runs[own] = _member(presets, own, run, setting, own != name) if setting else run
    return experiment.model_copy(
        update={
            "runs": runs,
            "presets": presets,
            "thresholds": _spread(experiment.thresholds, members),
            "totals": _spread(experiment.totals, members),
        }
    )


def run_name(name: str, setting: Setting) -> str:
    """`lora_learning_rate_0_0001_r_8`"""
    parts = [f"{key.rpartition('.')[2]}_{_plain(value)}" for key, value in setting.items()]
    return re.sub(r"\W", "_", "_".join([name, *parts]), flags=re.ASCII)


def _plain(value: Any) -> str:
    return f"{value:g}".replace("-", "m") if isinstance(value, float) else str(value)


def _settings(run: RunSpec) -> list[Setting]:
    """Every combination of a sweep; one without values where there is none."""
    return [dict(zip(run.sweep, values, strict=True)) for values in product(*run.sweep.values())]


def _member(
    presets: dict[str, Preset], name: str, run: RunSpec, setting: Setting, labelled: bool
) -> RunSpec:
    """The run of one combination; its preset is added to `presets`."""
    own = {key: value for key, value in setting.items() if key in _OF_THE_RUN}
    changes = {key: value for key, value in setting.items() if key not in _OF_THE_RUN}
    run = run.model_copy(update={"sweep": {k: [v] for k, v in setting.items()}, **own})
    if changes and run.preset:
        preset = changed_preset(presets[run.preset], changes)
        key = run.preset if presets[run.preset] == preset else f"{name}_preset"
        if presets.setdefault(key, preset) != preset:
            raise ValueError(f"runs.{name}.sweep: found another preset named {key}")
        run = run.model_copy(update={"preset": key})
    if not labelled:
        return run
    return run.model_copy(update={"label": run.label and f"{run.label} ({_words(setting)})"})


def changed_preset(preset: Preset, changes: Setting) -> Preset:
    """The preset with values at dotted keys. Raises pydantic's ValidationError."""
    values = preset.model_dump(exclude_unset=True)
    for key, value in changes.items():
        *sections, last = key.split(".")
        node = values
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return Preset.model_validate(values)


def _key_faults(
    experiment: Experiment, path: tuple[str, ...], key: str, values: list[Any]
) -> Iterator[Fault]:
    known = [*_OF_THE_RUN, *_hyperparameters()]
    if key not in known:
        yield Fault(path, f"found {key}, which is no hyperparameter{suggest(key, known)}")
        return
    if not values or any(values.count(value) > 1 for value in values):
        yield Fault(path, f"found {values}, expected one or more different values")
    if key in _OF_THE_RUN:
        yield from _reference_faults(experiment, path, key, values)


def _combination_faults(experiment: Experiment, name: str, run: RunSpec) -> Iterator[Fault]:
    """What a preset refuses, each fault once: of one value at its key, of several at the sweep."""
    fields, found = FieldNames(Preset), dict[Fault, None]()
    for setting in _settings(run):
        changes = {key: value for key, value in setting.items() if key not in _OF_THE_RUN}
        preset = experiment.presets.get(setting.get("preset", run.preset) or "", Preset())
        try:
            changed_preset(preset, changes)
        except ValidationError as error:
            for fault in from_pydantic(error, fields):
                key = ".".join(map(str, fault.path))
                path: Path_ = ("runs", name, "sweep")
                words = f"{_words(setting)}: " if key not in changes else ""
                path = path if words else (*path, key)
                found[Fault(path, words + fault.message)] = None
    yield from found


def _words(setting: Setting) -> str:
    return ", ".join(f"{key} {value}" for key, value in setting.items())


def _reference_faults(
    experiment: Experiment, path: tuple[str, ...], key: str, values: list[Any]
) -> Iterator[Fault]:
    kind = _OF_THE_RUN[key]
    for value in values:
        if kind is None and (not isinstance(value, int) or isinstance(value, bool)):
            yield Fault(path, f"found {value!r}, expected a whole number")
        elif kind and not (isinstance(value, str) and value in getattr(experiment, kind)):
            yield missing_name(path, kind, str(value), getattr(experiment, kind))


def _hyperparameters() -> list[str]:
    """Keys of the preset that make a training another one."""
    names = []
    for name in Preset().identity():
        field = Preset.model_fields[name]
        section = getattr(field.annotation, "model_fields", None)
        names += [f"{name}.{inner}" for inner in section] if section else [name]
    return names


def _spread(entries: dict[str, Any], members: dict[str, list[str]]) -> dict[str, Any]:
    """What was said of a swept run holds for every run that it stands for."""
    return {own: value for name, value in entries.items() for own in members[name]}
