"""What runs change of the experiment's evals."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment


def changed_eval(spec: EvalSpec, change: dict[str, Any]) -> EvalSpec:
    """The eval with a run's changes, sections key by key; a `sample` is a whole. Raises pydantic's
    ValidationError."""
    before = spec.model_dump()
    merged = {key: _merged(key, before.get(key), value) for key, value in change.items()}
    return EvalSpec.model_validate({**before, **merged})


def _merged(key: str, before: Any, value: Any) -> Any:
    if key == "judge" and isinstance(value, str):
        value = {"model": value}
    if key != "sample" and isinstance(before, dict) and isinstance(value, dict):
        return {**before, **value}
    return value


def every_eval(experiment: Experiment) -> Iterator[EvalSpec]:
    """The experiment's evals, and each that a run makes of them; not what is no eval."""
    yield from experiment.evals.values()
    seen = set()
    for run in experiment.runs.values():
        for name, change in run.evals.items():
            known = isinstance(change, dict) and name in experiment.evals
            if known and (name, repr(change)) not in seen:
                seen.add((name, repr(change)))
                with suppress(ValidationError):
                    yield changed_eval(experiment.evals[name], change)
