"""What an experiment makes: states, protocols and token sets, by the names of their files.

Everything is known from the config alone, so that a dry run shows the whole plan.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError

from snaketune.config.base import TASKS
from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, FieldNames, from_pydantic, report
from snaketune.config.run import RunSpec
from snaketune.plan.protocols import (
    Mixture,
    TokenSet,
    dev_eval,
    name_of_eval,
    run_evals,
    token_set,
)
from snaketune.plan.states import (
    State,
    Weights,
    base_of_run,
    exports_of_run,
    final_of_run,
    part_names,
    snapshot_count,
    snapshot_state_name,
    training_method,
)
from snaketune.plan.table_plan import JOINED, EvalPlan, RunPlan, SnapshotPlan
from snaketune.runtime.errors import UserError


class Cell(NamedTuple):
    """A state under a protocol: one file of predictions, and what follows from it."""

    state: str
    protocol: str


class TrainingShape(NamedTuple):
    """Trained runs that leave the same files; each shape has a rule of its own."""

    weights: Weights
    snapshots: int
    runs: list[str]

    @property
    def name(self) -> str:
        """`adapter_3`, `full_2`"""
        return f"{self.weights}_{self.snapshots}"


@dataclass
class Plan:
    """All that the rules look up, by name."""

    states: dict[str, State] = field(default_factory=dict)
    protocols: dict[str, EvalSpec] = field(default_factory=dict)
    tokens: dict[str, TokenSet] = field(default_factory=dict)
    mixtures: dict[str, Mixture] = field(default_factory=dict)
    run_tokens: dict[str, str] = field(default_factory=dict)
    """Key of a trained run's token set, or of the mixture of several."""
    run_parts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Keys of the token sets of a trained run, by dataset."""
    measured: dict[Cell, None] = field(default_factory=dict)
    """In order, each once."""
    eval_of: dict[str, str] = field(default_factory=dict)
    """The eval's name by protocol."""
    brought: dict[Cell, str] = field(default_factory=dict)
    """Files of predictions that were made elsewhere."""
    crossed: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By dataset that a run trains on and another one that it is evaluated on: the splits asked."""
    table: list[RunPlan] = field(default_factory=list)
    training_shapes: list[TrainingShape] = field(default_factory=list)

    @cached_property
    def run_table(self) -> dict[str, RunPlan]:
        """The table's rows by run."""
        return {row.run: row for row in self.table}

    @cached_property
    def exported_states(self) -> list[str]:
        """The states that are files for llama.cpp."""
        return [name for name, state in self.states.items() if state.exported]

    @cached_property
    def brought_states(self) -> list[str]:
        """The states whose predictions were made elsewhere."""
        return list(dict.fromkeys(cell.state for cell in self.brought))


def make_plan(experiment: Experiment) -> Plan:
    """The plan of all runs; a base is evaluated under every protocol that one of its runs has.

    Raises `UserError` for a run whose settings do not go together.
    """
    plan = Plan()
    for name, run in experiment.runs.items():
        try:
            _add_run(plan, experiment, name, run)
        except ValidationError as error:
            # The config's own checks come first; what slips through them is still the user's.
            faults = from_pydantic(error, FieldNames(EvalSpec))
            placed = [Fault(("runs", name, "evals", *f.path), f.message) for f in faults]
            raise UserError(report(placed, [])) from None
    plan.training_shapes = _shapes(plan, experiment)
    return plan


def learners_of(plan: Plan, tokens: str) -> list[str]:
    """The runs that learn from a token set."""
    return [run for run, key in plan.run_tokens.items() if key == tokens]


def tokens_in_words(plan: Plan) -> dict[str, str]:
    """By token set, for those who read a listing: the runs that learn from it."""
    runs: dict[str, list[str]] = {}
    for run, key in plan.run_tokens.items():
        for name in {key, *plan.run_parts[run].values()}:
            runs.setdefault(name, []).append(run)
    return {name: f"for {some_of(found)}" for name, found in runs.items()}


def some_of(names: Sequence[str], most: int = 3) -> str:
    """`a, b, c and others`"""
    return ", ".join(names[:most]) + (" and others" if names[most:] else "")


def _shapes(plan: Plan, experiment: Experiment) -> list[TrainingShape]:
    shapes: dict[tuple[Weights, int], list[str]] = {}
    for name, run in experiment.runs.items():
        if run.train:
            shape = (plan.states[name].weights, snapshot_count(experiment, run))
            shapes.setdefault(shape, []).append(name)
    return [TrainingShape(*shape, names) for shape, names in shapes.items()]


_OF_THE_RUN = ("preset", "swept", "thresholds", "totals", "snapshots", "followed")


def _add_run(plan: Plan, experiment: Experiment, name: str, run: RunSpec) -> None:
    base = base_of_run(experiment, run)
    # What the run is compared with; None for predictions that stand by themselves.
    base_state = next(iter(base), run.base)
    plan.states |= base | final_of_run(experiment, name, run)

    evals = run_evals(experiment, run)
    names = {key: name_of_eval(experiment, key, spec) for key, spec in evals.items()}
    for key, spec in evals.items():
        _add_protocol(plan, key, names[key], spec)
        if base_state:
            plan.measured[Cell(base_state, names[key])] = None
        plan.measured[Cell(name, names[key])] = None
        if run.predictions:
            plan.brought[Cell(name, names[key])] = run.predictions[key]
        if run.base and (other := experiment.runs[run.base]).predictions:
            plan.brought[Cell(run.base, names[key])] = other.predictions[key]
    if run.train:
        _add_rows(plan, experiment, name, run, evals)
    preset = experiment.presets.get(run.preset or "")
    plan.table.append(
        RunPlan(
            run=name,
            state=name,
            base_state=base_state,
            model=run.model or "",
            train_data=JOINED.join(run.learns_from) or None,
            method=training_method(experiment, run),
            seed=run.seed if run.train else None,
            preset=preset.model_dump(mode="json") if preset else {},
            swept={key: values[0] for key, values in run.sweep.items()},
            evals={key: _eval_plan(spec, names[key]) for key, spec in evals.items()},
            snapshots=_add_snapshots(plan, experiment, name, run),
            followed=_add_followed(plan, experiment, name, run, evals),
            choose=run.choose,
            thresholds=_kept(experiment.thresholds.get(name, {}), evals),
            totals=_kept(experiment.totals.get(name, {}), evals),
            seed_of=run.seed_of,
        )
    )
    if run.gguf:
        _add_exports(plan, name, run)


def _add_exports(plan: Plan, name: str, run: RunSpec) -> None:
    """What the run is exported as, each beside the run under the run's own protocols."""
    row = plan.table[-1]
    trained = dict.fromkeys(("train_data", "seed", "choose", "seed_of"))
    trained |= {key: type(getattr(row, key))() for key in _OF_THE_RUN}
    for state, found in exports_of_run(name, plan.states[name], run.gguf).items():
        plan.states[state] = found
        plan.measured |= {Cell(state, spec.protocol_name): None for spec in row.evals.values()}
        about: dict[str, Any] = {"run": state, "state": state, "base_state": name, **trained}
        plan.table.append(replace(row, method="gguf", **about))


def _add_rows(
    plan: Plan, experiment: Experiment, name: str, run: RunSpec, evals: dict[str, EvalSpec]
) -> None:
    """What the run trains on."""
    sets = {data: token_set(experiment, run, evals, data) for data in run.learns_from}
    plan.tokens |= {tokens.name: tokens for tokens in sets.values()}
    parts = {data: tokens.name for data, tokens in sets.items()}
    plan.run_parts[name] = parts
    if isinstance(run.train, str):
        plan.run_tokens[name] = parts[run.train]
    else:
        mixture = Mixture(tuple(parts.values()), tuple(run.parts), run.seed)
        plan.mixtures[mixture.name] = mixture
        plan.run_tokens[name] = mixture.name
    for data in parts:
        _add_crossed(plan, data, evals.values())


def _add_protocol(plan: Plan, eval_name: str, name: str, spec: EvalSpec) -> None:
    known = plan.protocols.setdefault(name, spec)
    # The name has digests of what changed; two that agree would be a rare chance.
    if known is not spec and known.protocol() != spec.protocol():
        raise UserError(f"{name}: two protocols have this name; expected another system or prompt")
    plan.eval_of[name] = eval_name


def _add_crossed(plan: Plan, train: str, evals: Iterable[EvalSpec]) -> None:
    for spec in evals:
        if spec.dataset != train:
            splits = plan.crossed.setdefault((train, spec.dataset), [])
            splits += [spec.split] if spec.split not in splits else []


def _eval_plan(spec: EvalSpec, protocol: str) -> EvalPlan:
    task = spec.measured_as
    return EvalPlan(task=task, protocol_name=protocol, primary=TASKS[task].primary)


def _kept(entries: dict[str, Any], evals: dict[str, EvalSpec]) -> dict[str, Any]:
    """Entries whose eval the run has."""
    return {key: value for key, value in entries.items() if key.partition(".")[0] in evals}


def _add_snapshots(
    plan: Plan, experiment: Experiment, name: str, run: RunSpec
) -> list[SnapshotPlan]:
    """The run's snapshots; where one is to be chosen, each is evaluated on the dev split."""
    if not run.choose:
        return []
    key = run.choose.partition(".")[0]
    spec = dev_eval(experiment, run, key)
    protocol = name_of_eval(experiment, key, spec)
    _add_protocol(plan, key, protocol, spec)
    rows = []
    for snapshot in part_names(snapshot_count(experiment, run)):
        state = _add_snapshot_state(plan, name, snapshot)
        plan.measured[Cell(state, protocol)] = None
        evals = {key: _eval_plan(spec, protocol)}
        rows.append(SnapshotPlan(snapshot=snapshot, state=state, evals=evals))
    return rows


def _add_followed(
    plan: Plan, experiment: Experiment, name: str, run: RunSpec, evals: dict[str, EvalSpec]
) -> list[SnapshotPlan]:
    """The run's snapshots under the evals that follow it. Where nothing is chosen the last one is
    the run's final state, which is measured already."""
    followed = {key: evals[key] for key in run.follow if key in evals}
    if not followed:
        return []
    rows = []
    names = part_names(snapshot_count(experiment, run))
    chosen = run.choose or experiment.presets[run.preset or ""].best != "none"
    for snapshot in names:
        last = snapshot == names[-1] and not chosen
        state = name if last else _add_snapshot_state(plan, name, snapshot)
        plans = {}
        for key, spec in followed.items():
            protocol = name_of_eval(experiment, key, spec)
            plan.measured[Cell(state, protocol)] = None
            plans[key] = _eval_plan(spec, protocol)
        rows.append(SnapshotPlan(snapshot=snapshot, state=state, evals=plans))
    return rows


def _add_snapshot_state(plan: Plan, run: str, snapshot: str) -> str:
    """The name of a snapshot's state."""
    name = snapshot_state_name(run, snapshot)
    plan.states[name] = plan.states[run].at(run, snapshot)
    return name
