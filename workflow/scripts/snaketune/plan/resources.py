"""What the jobs of an experiment ask for: what the config says, else the estimate."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment, RunSpec
from snaketune.config.model import ModelSpec
from snaketune.config.preset import Preset
from snaketune.plan import estimate
from snaketune.plan.estimate import Estimate
from snaketune.plan.experiment_plan import Plan, make_plan


@dataclass(frozen=True)
class Asked:
    """Of an experiment's first attempts, by run and by (state, protocol)."""

    training: dict[str, Estimate] = field(default_factory=dict)
    evaluation: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    looking: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    """Of the judge or reward model that looks at the replies."""


def with_gpus(experiment: Experiment, limit: int | None) -> Experiment:
    """The experiment with GPUs for every training: the run's own, else the estimate's, of which
    `limit` are granted at most (None: any)."""
    runs = {
        name: run.model_copy(update={"gpu": _gpus(experiment, run, limit)}) if run.train else run
        for name, run in experiment.runs.items()
    }
    return experiment.model_copy(update={"runs": runs})


def _gpus(experiment: Experiment, run: RunSpec, limit: int | None) -> int:
    found = estimate.gpus(*_trained(experiment, run)) if run.gpu is None else run.gpu
    return found if limit is None else min(found, limit)


def _trained(experiment: Experiment, run: RunSpec) -> tuple[ModelSpec, Preset, int | None]:
    rows = experiment.datasets[run.train].limit
    return experiment.models[run.model], experiment.presets[run.preset], rows


def training_estimate(experiment: Experiment, run: str, processes: int | None = None) -> Estimate:
    """Of a run's training on so many processes (None: on the run's GPUs), whatever the config asks
    instead."""
    spec = experiment.runs[run]
    return estimate.training(*_trained(experiment, spec), processes or max(1, spec.gpu or 1))


def evaluation_estimate(experiment: Experiment, plan: Plan, state: str, protocol: str) -> Estimate:
    """Of a state's job under a protocol, whatever the config asks instead."""
    found = plan.states[state]
    model = experiment.models[found.model]
    return estimate.evaluation(model, found.quantisation, plan.protocols[protocol])


def helper_estimate(experiment: Experiment, spec: EvalSpec) -> Estimate:
    """Of the judge or reward model's job on one state's replies, whatever the config asks
    instead."""
    name = spec.judge.model if spec.judge else spec.sampling.reward
    return estimate.judgement(experiment.models[name], spec)


def run_behind(plan: Plan, state: str) -> str | None:
    """The run whose resources a state's jobs ask for; None for a base model. Predictions that were
    made elsewhere are no state of a model's: theirs is the run of that name."""
    return plan.states[state].run if state in plan.states else state


def asked_of(settings: Path, train_meta: Iterable[Path] = ()) -> Asked:
    """By the resolved config, which each start writes, and what each training ran on. The report
    reads it there, not from params: what a job asks for makes nothing run again."""
    if not settings.is_file():
        return Asked()
    experiment = Experiment.model_validate(yaml.safe_load(settings.read_text(encoding="utf-8")))
    plan = make_plan(experiment)
    asked = Asked()
    ran_on = {f.parent.name: json.loads(f.read_text())["processes"] for f in train_meta}
    for name, run in experiment.runs.items():
        if run.train:
            needs = training_estimate(experiment, name, ran_on.get(name))
            asked.training[name] = _own(experiment, needs, name)
    for state, protocol in plan.measured:
        cell, spec = (state, protocol), plan.protocols[protocol]
        run, given = run_behind(plan, state), (state, protocol) in plan.given
        if not given:
            needs = evaluation_estimate(experiment, plan, state, protocol)
            asked.evaluation[cell] = _own(experiment, needs, run)
        # The rewards of samples that were made elsewhere came with them.
        if spec.judge or (spec.sampling and spec.sampling.reward and not given):
            asked.looking[cell] = _own(experiment, helper_estimate(experiment, spec), run)
    return asked


def _own(experiment: Experiment, needs: Estimate, run: str | None) -> Estimate:
    overrides = [experiment.runs[run].resources] if run else []
    return estimate.overridden(needs, *overrides, experiment.resources)
