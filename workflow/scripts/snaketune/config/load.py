"""From what Snakemake read to a checked experiment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from snaketune.config.changes import smoke
from snaketune.config.checks import experiment_faults, reference_faults
from snaketune.config.dataset import without_query
from snaketune.config.experiment import RUN_IN_NAME, Experiment, RunSpec
from snaketune.config.faults import Fault, FieldNames, from_pydantic, repeats, report
from snaketune.config.sweep import expanded, sweep_faults
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
        raise UserError(report([*twice, *faults, *reference_faults(config)], files)) from None
    _refuse([*twice, *experiment_faults(experiment), *sweep_faults(experiment)], files)
    if any(run.sweep for run in experiment.runs.values()):
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
