"""Variants of what the config says: evals as runs change them, the smoke variant of an experiment,
its whole DAG on a few rows, and test splits that are drawn unasked."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from snaketune.config.base import BudgetSpec, SplitName, own_file, thinking_mode, thought_budget
from snaketune.config.dataset import DatasetSpec, DrawnSplitsSpec, SampleSpec
from snaketune.config.evaluation import EvalSpec, JudgeSpec, SamplingSpec
from snaketune.config.experiment import Experiment
from snaketune.config.model import ModelSpec, Preset
from snaketune.config.run import RunSpec
from snaketune.data.locate import source_parts


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
            if not isinstance(change, dict) or name not in experiment.evals:
                continue
            if (name, repr(change)) not in seen:
                seen.add((name, repr(change)))
                with suppress(ValidationError):
                    yield changed_eval(experiment.evals[name], change)


# The smoke variant.

ROWS, REPLIES, NEW_TOKENS, STEPS, BATCH, SAMPLES = 48, 4, 16, 3, 4, 4
TASK_MODEL, JUDGE_MODEL, REWARD_MODEL = "data/demo/model", "data/demo/judge", "data/demo/reward"


def smoke(experiment: Experiment) -> Experiment:
    """The experiment with few rows, steps and tokens, with its own models or, where the demo's are
    asked for, with these. Nothing of it is to be pushed.

    What runs change of an eval is left as it is; `small_eval` is applied after the change.
    """
    demo, answered = experiment.smoke == "demo", _answered_elsewhere(experiment)
    return experiment.model_copy(
        update={
            "models": _demo_models(experiment) if demo else experiment.models,
            "datasets": {
                k: v if k in answered else _few_rows(v) for k, v in experiment.datasets.items()
            },
            "presets": {k: _few_steps(v, demo) for k, v in experiment.presets.items()},
            "runs": {k: _small_run(v) for k, v in experiment.runs.items()},
            "totals": {},
        }
    )


def smoke_notes(experiment: Experiment) -> Iterator[str]:
    """For the plan, in words: whose models a rehearsal takes."""
    if experiment.smoke is True:
        yield (
            "a rehearsal on a few rows, with the models of this config (before, smoke took the "
            "demo's small ones: that is `--config smoke=demo` now)"
        )
    elif experiment.smoke:
        yield "a rehearsal with the demo's small models in the place of those of this config"


def _demo_models(experiment: Experiment) -> dict[str, ModelSpec]:
    stand_ins = dict.fromkeys(experiment.models, TASK_MODEL)
    for spec in every_eval(experiment):
        if spec.judge:
            stand_ins[spec.judge.model] = JUDGE_MODEL
        if spec.sampling and spec.sampling.reward:
            stand_ins[spec.sampling.reward] = REWARD_MODEL
    return {name: _demo_model(spec, stand_ins[name]) for name, spec in experiment.models.items()}


def _answered_elsewhere(experiment: Experiment) -> set[str]:
    """The datasets that predictions made elsewhere are of. These answer all examples, so all are
    prepared; an eval's `sample` makes the work on them small."""
    evals, runs = experiment.evals, experiment.runs.values()
    return {evals[name].dataset for run in runs for name in run.predictions if name in evals}


def small_eval(spec: EvalSpec, demo: bool) -> EvalSpec:
    """The eval on a few records, with short replies."""
    thinking = spec.thinking
    if thought_budget(thinking) is not None:
        thinking = BudgetSpec(budget=min(thought_budget(thinking) or 1, NEW_TOKENS))
    if demo:  # these do not think
        thinking = thinking_mode(spec.thinking)
    return spec.model_copy(
        update={
            "sample": SampleSpec(count=REPLIES),
            "max_new_tokens": min(spec.max_new_tokens, NEW_TOKENS),
            "backend": "transformers" if demo else spec.backend,
            "judge": _by_transformers(spec.judge) if demo and spec.judge else spec.judge,
            "thinking": thinking,
            "sampling": spec.sampling and _few_samples(spec.sampling),
        }
    )


def _by_transformers(judge: JudgeSpec) -> JudgeSpec:
    return judge.model_copy(update={"backend": "transformers"})


def _few_samples(spec: SamplingSpec) -> SamplingSpec:
    count = min(spec.samples, SAMPLES)
    at = [n for n in spec.at if n <= count] or [count]
    return spec.model_copy(update={"samples": count, "at": at})


def _demo_model(spec: ModelSpec, folder: str) -> ModelSpec:
    return spec.model_copy(
        update={
            "id": own_file(folder),
            "revision": None,
            "dtype": "auto",
            "trust_remote_code": False,
            "parameters": None,
            "chat_template": None,
        }
    )


def _small_run(run: RunSpec) -> RunSpec:
    train = run.train
    if isinstance(train, list):
        few = {"rows": REPLIES}
        train = [part.model_copy(update=few) if part.rows else part for part in train]
    return run.model_copy(update={"push": None, "train": train})


def _few_rows(spec: DatasetSpec) -> DatasetSpec:
    return spec.model_copy(update={"limit": ROWS, "dev": min(spec.dev, REPLIES)})


def _few_steps(preset: Preset, demo: bool) -> Preset:
    """Of a config's own model each step is as it will be: whether it fits is to be seen."""
    if not demo:
        return preset.model_copy(update={"max_steps": min(preset.max_steps or STEPS, STEPS)})
    small = min(preset.batch_size, BATCH)
    return preset.model_copy(
        update={"max_steps": STEPS, "batch_size": small, "accumulation": 1, "dtype": "auto"}
    )


# Splits that are drawn without being asked for.

DRAWN = DrawnSplitsSpec(test=0.2, at_most=1000)
"""Of a source without a test split that an eval asks for."""


def asked_splits(experiment: Experiment) -> set[tuple[str, SplitName]]:
    """The splits that evals ask for, each with its dataset."""
    return {(spec.dataset, spec.split) for spec in every_eval(experiment)}


def with_test_splits(experiment: Experiment) -> Experiment:
    """The experiment with a test split drawn wherever an eval asks for one and the source has none.

    Which splits a dataset of the hub has is not known before it is loaded: it is drawn unless it is
    there.
    """
    asked = {name for name, split in asked_splits(experiment) if split == "test"}
    drawn = {
        name: spec.model_copy(update={"draw": draw})
        for name, spec in experiment.datasets.items()
        if name in asked and spec.draw is None and (draw := _unasked(_splits(spec)))
    }
    return experiment.model_copy(update={"datasets": experiment.datasets | drawn})


def _unasked(splits: set[SplitName | None]) -> DrawnSplitsSpec | None:
    if splits == {None}:
        return DRAWN.model_copy(update={"unless_there": True})
    return DRAWN if splits <= {"train", "dev"} else None


def _splits(spec: DatasetSpec) -> set[SplitName | None]:
    """The splits of the source; None among them: it may have any."""
    return {part.split for part in source_parts(spec)}


def drawn_notes(given: Experiment, planned: Experiment) -> Iterator[str]:
    """For the plan, in words: which test splits are drawn without being asked for."""
    for name, spec in planned.datasets.items():
        if spec.draw and given.datasets[name].draw is None and not spec.draw.unless_there:
            yield (
                f"datasets.{name} has no test split, which an eval asks for: 20 % of its records, "
                "at most 1,000, are drawn with seed 42 and not trained on. To change it: "
                f"datasets.{name}.draw, such as {{test: 0.1}}, or a source by split, such as "
                "{train: FILE, test: FILE}"
            )
