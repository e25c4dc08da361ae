"""What the jobs of an experiment ask for: what the config says, else the estimate."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from snaketune import estimate
from snaketune.config.experiment import Experiment
from snaketune.estimate import Estimate
from snaketune.plan import Plan, make_plan


@dataclass(frozen=True)
class Asked:
    """Of an experiment's first attempts, by run and by (state, protocol)."""

    training: dict[str, Estimate] = field(default_factory=dict)
    evaluation: dict[tuple[str, str], Estimate] = field(default_factory=dict)


def training_estimate(experiment: Experiment, run: str) -> Estimate:
    """Of a run's training, whatever the config asks instead."""
    spec = experiment.runs[run]
    rows = experiment.datasets[spec.train].limit
    return estimate.training(experiment.models[spec.model], experiment.presets[spec.preset], rows)


def evaluation_estimate(experiment: Experiment, plan: Plan, state: str, protocol: str) -> Estimate:
    """Of a state's job under a protocol, whatever the config asks instead."""
    found = plan.states[state]
    model = experiment.models[found.model]
    return estimate.evaluation(model, found.quantisation, plan.protocols[protocol])


def asked_of(settings: Path) -> Asked:
    """By the resolved config, which each start writes. The report reads it there, not from params:
    what a job asks for makes nothing run again."""
    if not settings.is_file():
        return Asked()
    experiment = Experiment.model_validate(yaml.safe_load(settings.read_text(encoding="utf-8")))
    plan = make_plan(experiment)
    trained = [name for name, run in experiment.runs.items() if run.train]
    return Asked(
        {name: _own(experiment, training_estimate(experiment, name), name) for name in trained},
        {
            (state, protocol): _own(
                experiment,
                evaluation_estimate(experiment, plan, state, protocol),
                plan.states[state].run,
            )
            for state, protocol in plan.measured
            if (state, protocol) not in plan.given
        },
    )


def _own(experiment: Experiment, needs: Estimate, run: str | None) -> Estimate:
    overrides = [experiment.runs[run].resources] if run else []
    return estimate.overridden(needs, *overrides, experiment.resources)
