"""What jobs request: what the config says, else the estimate, as far as a start grants it."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, report
from snaketune.config.model import ModelSpec, Preset
from snaketune.config.run import RunSpec
from snaketune.plan import estimate
from snaketune.plan.estimate import Estimate
from snaketune.plan.experiment_plan import Cell, Plan
from snaketune.plan.protocols import reward_model
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_json

_GPUS = "SNAKETUNE_GPUS"
MOST_THREADS = 8


# GPUs, and the threads that go with them.


def gpus_at_once(limit: int | None, is_main: bool) -> int | None:
    """`--resources gpu=N` as the first process was given it; None: no limit.

    A job parses the workflow again and must ask for what was submitted for it, but SLURM's plugin
    hands no limit on: the job finds it in its environment.
    """
    if not is_main:
        found = os.environ.get(_GPUS, "")
        return int(found) if found.isdigit() else limit
    os.environ.pop(_GPUS, None)
    if limit is not None:
        os.environ[_GPUS] = str(limit)
    return limit


def threads_for(gpu: int, cores: int | None, gpus: int | None) -> int:
    """Threads of a job that takes `gpu` GPUs, where so many are granted at once, so that jobs for
    all of them fit on the cores. `cores` is None where jobs run elsewhere."""
    if not cores or not gpus:
        return MOST_THREADS
    return max(1, min(MOST_THREADS, cores // gpus * max(1, gpu)))


def check_gpus(experiment: Experiment, limit: int | None, configs: list[Path]) -> None:
    """Raises `UserError` where a run asks for more GPUs than `limit` grants at once.

    Snakemake would clip the request without a word. 0 grants none on purpose: all runs on the CPU;
    None is no limit.
    """
    if limit and (faults := list(_gpu_faults(experiment, limit))):
        raise UserError(report(faults, configs))


def _gpu_faults(experiment: Experiment, limit: int) -> Iterator[Fault]:
    for name, run in experiment.runs.items():
        if run.gpu and run.gpu > limit:
            yield Fault(
                ("runs", name, "gpu"),
                f"found {run.gpu}, but at most {limit} are granted at once; expected "
                f"--resources gpu={run.gpu} (or so in the profile), or a smaller number here",
            )


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


# Memory and time: the first attempt's; further attempts get as much again.


def training_request(experiment: Experiment, run: str, processes: int | None = None) -> Estimate:
    """Of a run's training on so many processes (None: on the run's GPUs)."""
    spec = experiment.runs[run]
    processes = processes or max(1, spec.gpu or 1)
    needed = estimate.training(*_trained(experiment, spec), processes=processes)
    return _as_configured(experiment, run, needed)


def evaluation_request(experiment: Experiment, plan: Plan, cell: Cell) -> Estimate:
    """Of a state's job under a protocol."""
    state = plan.states[cell.state]
    model = experiment.models[state.model]
    needed = estimate.evaluation(model, state.quantisation, plan.protocols[cell.protocol])
    return _as_configured(experiment, _run_behind(plan, cell.state), needed)


def helper_request(experiment: Experiment, plan: Plan, cell: Cell) -> Estimate:
    """Of the judge or reward model's job on one state's replies."""
    spec = plan.protocols[cell.protocol]
    needed = estimate.judgement(experiment.models[_helper(spec)], spec)
    return _as_configured(experiment, _run_behind(plan, cell.state), needed)


def merging_request(experiment: Experiment, run: str) -> Estimate:
    """Of merging what a run arrived at into its base."""
    needed = estimate.loading(experiment.models[experiment.runs[run].model or ""])
    return _as_configured(experiment, run, needed)


def _trained(experiment: Experiment, run: RunSpec) -> tuple[ModelSpec, Preset, int | None]:
    """Model, preset and the most rows that there can be."""
    assert run.model and run.preset and run.train, "a training"
    rows = _most_rows(experiment, run)
    return experiment.models[run.model], experiment.presets[run.preset], rows


def _helper(spec: EvalSpec) -> str:
    name = spec.judge.model if spec.judge else reward_model(spec)
    assert name, "an eval whose replies a model looks at"
    return name


def _run_behind(plan: Plan, state: str) -> str | None:
    """The run whose resources a state's jobs ask for; None for a base model. Predictions that were
    made elsewhere are no state of a model's: theirs is the run of that name."""
    return plan.states[state].run if state in plan.states else state


def _as_configured(experiment: Experiment, run: str | None, needed: Estimate) -> Estimate:
    """What the run's `resources` say, else the experiment's, else what is needed."""
    own = [experiment.runs[run].resources] if run else []
    return estimate.overridden(needed, *own, experiment.resources)


# What the first attempts ask for, which the report shows beside what they used.

Request = dict[str, float]
"""An estimate by the names of its figures, as JSON has it."""


def _figures(request: Estimate) -> Request:
    """Without what ends a job: the report is about what it needs."""
    return {k: v for k, v in asdict(request).items() if k != "set_minutes"}


def _most_rows(experiment: Experiment, run: RunSpec) -> int | None:
    """Rows of an epoch at most; None: nobody knows."""
    limits = [experiment.datasets[part.dataset].limit for part in run.parts]
    weighed = [
        part.rows or (None if limit is None else math.ceil(limit * (part.weight or 1)))
        for part, limit in zip(run.parts, limits, strict=True)
    ]
    return None if None in weighed else sum(rows or 0 for rows in weighed)


def requests_of(
    experiment: Experiment, plan: Plan, ran_on: Mapping[str, int] | None = None
) -> dict[str, dict[str, dict[str, Request]]]:
    """Of the trainings by run and number of processes, of the model's jobs under `evaluation` and
    of those of a judge or reward model under `helpers`, by protocol and state. A training is there
    with every number that it may get, and with the one that it had, by run in `ran_on`."""
    trained: dict[str, dict[str, Request]] = {}
    for name, run in experiment.runs.items():
        if run.train:
            counts = {*range(1, max(1, run.gpu or 1) + 1), (ran_on or {}).get(name, 1)}
            requests = {n: training_request(experiment, name, n) for n in sorted(counts)}
            trained[name] = {str(n): _figures(request) for n, request in requests.items()}
    replied: dict[str, dict[str, Request]] = {}
    helped: dict[str, dict[str, Request]] = {}
    for cell in plan.measured:
        spec, brought = plan.protocols[cell.protocol], cell in plan.brought
        if not brought:
            request = evaluation_request(experiment, plan, cell)
            replied.setdefault(cell.protocol, {})[cell.state] = _figures(request)
        # The rewards of samples that were made elsewhere came with them.
        if spec.judge or (reward_model(spec) and not brought):
            request = helper_request(experiment, plan, cell)
            helped.setdefault(cell.protocol, {})[cell.state] = _figures(request)
    return {"training": trained, "evaluation": replied, "helpers": helped}


def write_requests(experiment: Experiment, plan: Plan, folder: Path) -> None:
    """Into `.work/requests.json` of the experiment's `folder`. Each start writes it and the report
    reads it there, not from params: what a job asks for makes nothing run again."""
    metas = {run: folder / "train" / run / "train_meta.json" for run in experiment.runs}
    ran_on = {
        run: json.loads(file.read_text(encoding="utf-8"))["processes"]
        for run, file in metas.items()
        if file.is_file()
    }
    write_json(folder / ".work" / "requests.json", requests_of(experiment, plan, ran_on))
