"""From what Snakemake read to a checked experiment, in which a run with lists of hyperparameters, a
sweep, has become a run a combination, and one with several seeds a run a seed.
"""

import re
from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from snaketune.config.base import without_query
from snaketune.config.changes import smoke
from snaketune.config.checks import experiment_faults, reference_faults
from snaketune.config.experiment import MOST_LETTERS, Experiment
from snaketune.config.faults import (
    Fault,
    FieldNames,
    Path_,
    from_pydantic,
    missing_name,
    repeats,
    report,
    suggest,
    written,
)
from snaketune.config.model import RUN_IN_NAME, Preset
from snaketune.config.run import RunSpec
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_text

_OF_THE_RUN = {"model": "models", "preset": "presets", "train": "datasets", "seed": None}
Setting = dict[str, Any]
"""A value by swept key."""
MOST_RUNS = 5_000
"""That one run may stand for: the plan takes its time and is to be read."""
_LONGEST = MOST_LETTERS + 20
"""Letters of the name of a run that a sweep makes."""


def sweep_faults(experiment: Experiment) -> Iterator[Fault]:
    """Keys that are no hyperparameter, lists without or with repeated values, and combinations that
    a preset refuses."""
    for name, run in experiment.runs.items():
        if (count := _combinations(run)) > MOST_RUNS:
            found = f"found {count:,} combinations, expected {MOST_RUNS:,} at most"
            yield Fault(("runs", name, "sweep"), f"{found}: fewer values, or several experiments")
            continue
        faults = [
            fault
            for key, values in run.sweep.items()
            for fault in _key_faults(experiment, ("runs", name, "sweep", key), key, values)
        ]
        yield from faults or _combination_faults(experiment, name, run)
        if run.base in experiment.runs and _combinations(experiment.runs[run.base]) > 1:
            yield Fault(("runs", name, "base"), f"found {run.base}, which is a sweep of runs")


def expanded(experiment: Experiment) -> Experiment:
    """The experiment with a run, and a preset of its own, for every combination of a sweep and
    every seed.

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
            if len(own) > _LONGEST:
                raise ValueError(
                    f"runs.{name}.sweep: found a run named {own}, of {len(own)} letters; expected "
                    f"{_LONGEST} at most, as files are named for it: a shorter name, fewer keys"
                )
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


def _combinations(run: RunSpec) -> int:
    """How many runs it stands for, without making one."""
    return prod(len(values) for values in run.sweep.values()) * run.seeds


def _settings(run: RunSpec) -> list[Setting]:
    """Every combination of a sweep, with every seed; one without values where there is none."""
    sweep = dict(run.sweep)
    if run.seeds > 1:
        sweep["seed"] = list(range(run.seed, run.seed + run.seeds))
    return [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())]


def _member(
    presets: dict[str, Preset], name: str, run: RunSpec, setting: Setting, labelled: bool
) -> RunSpec:
    """The run of one combination; its preset is added to `presets`."""
    own = {key: value for key, value in setting.items() if key in _OF_THE_RUN}
    changes = {key: value for key, value in setting.items() if key not in _OF_THE_RUN}
    tried = {} if run.seeds > 1 and not run.sweep else setting
    joined = {"seeds": 1, "seed_of": _joined_name(name, setting)} if run.seeds > 1 else {}
    run = run.model_copy(update={"sweep": {k: [v] for k, v in tried.items()}, **own, **joined})
    if changes and run.preset:
        preset = changed_preset(presets[run.preset], changes)
        key = run.preset if presets[run.preset] == preset else f"{name}_preset"
        if presets.setdefault(key, preset) != preset:
            raise ValueError(f"runs.{name}.sweep: found another preset named {key}")
        run = run.model_copy(update={"preset": key})
    if not labelled:
        return run
    return run.model_copy(update={"label": run.label and f"{run.label} ({_words(setting)})"})


def _joined_name(name: str, setting: Setting) -> str:
    """The name of the row that joins the seeds: what the run's own name has before its seed."""
    return name.removesuffix(run_name("", {"seed": setting["seed"]}))


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
        if kind is None and not (type(value) is int and 0 <= value < 2**32):
            yield Fault(path, f"found {value!r}, expected a whole number from 0 to {2**32 - 1}")
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


def load_experiment(config: dict[str, Any], files: list[Path]) -> Experiment:
    """The experiment in `config`; `files` are the config files it came from, for line numbers.

    Raises `UserError` with all faults, each with its place.
    """
    config = _with_gate(_with_nulls(config), files)
    twice = list(_keys_twice(files))
    try:
        experiment = Experiment.model_validate(config)
    except ValidationError as error:
        faults = from_pydantic(error, FieldNames(Experiment))
        raise UserError(report([*twice, *faults, *reference_faults(config)], files)) from None
    _refuse([*twice, *experiment_faults(experiment), *sweep_faults(experiment)], files)
    if any(run.sweep or run.seeds > 1 for run in experiment.runs.values()):
        try:
            experiment = expanded(experiment)
        except ValueError as error:
            raise UserError(f"1 fault in the config:\n  {error}") from None
        _refuse(list(experiment_faults(experiment)), files)
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


def _with_gate(config: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    """`--config gate=true` stands beside the section that the files have, not in its place."""
    # Snakemake reads `true` as text.
    always = {"true": True, "false": False}.get(str(config.get("gate")).lower())
    if always is None:
        return config
    section: dict[str, Any] = {}
    for file in files:
        own = written(file, "gate")
        section |= own if isinstance(own, dict) else {}
    return {**config, "gate": {**section, "always": always}}


def with_repositories(experiment: Experiment) -> Experiment:
    """The experiment with every run's own name in its repository's."""
    runs = {name: _named(name, run) for name, run in experiment.runs.items()}
    return experiment.model_copy(update={"runs": runs})


def _named(name: str, run: RunSpec) -> RunSpec:
    if run.push is None:
        return run
    push = run.push.model_copy(update={"repo": run.push.repo.replace(RUN_IN_NAME, name)})
    return run.model_copy(update={"push": push})


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
