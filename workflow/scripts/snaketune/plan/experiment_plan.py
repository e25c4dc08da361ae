"""What an experiment makes: states, protocols and token sets, by the names of their files.

Everything is known from the config alone, so that a dry run shows the whole plan.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from snaketune.config.changes import changed_eval, every_eval, small_eval
from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment, RunSpec
from snaketune.config.faults import Fault, FieldNames, from_pydantic, report
from snaketune.config.model import ModelSpec, Quantisation
from snaketune.plan.table_plan import PRIMARY, EvalPlan, RunPlan, SnapshotPlan
from snaketune.runtime.content import digest
from snaketune.runtime.errors import UserError

Json = dict[str, Any]
Weights = Literal["none", "adapter", "full"]


# What stands as it is in a protocol's name, and so in file names.
_SHORT_WORD = re.compile("[a-z0-9]{1,32}")


@dataclass(frozen=True)
class State:
    """What is evaluated: a base model, or what a run's training left, whole or on the way."""

    model: str
    quantisation: Quantisation
    weights: Weights
    """What lies on top of the base: nothing, an adapter, or weights that replace it."""
    run: str | None = None
    snapshot: str | None = None


@dataclass(frozen=True)
class TokenSet:
    """Training rows: a dataset under a tokenizer, a prompt and a length limit."""

    model: str
    dataset: str
    task: str
    system: str | None
    prompt_text: str | None
    reply_prefix: str
    chat: bool
    few_shot: dict[str, int]
    """By dataset: how many of its few-shot examples the run's evals show, so that they leave the
    training rows."""
    max_length: int
    overlong: str

    @property
    def prompt(self) -> Json:
        """What decides how an example is worded."""
        return {
            "task": self.task,
            "system": self.system,
            "prompt": self.prompt_text,
            "reply_prefix": self.reply_prefix,
            "chat": self.chat,
        }


@dataclass
class Plan:
    """All that the rules look up, by name."""

    states: dict[str, State] = field(default_factory=dict)
    protocols: dict[str, EvalSpec] = field(default_factory=dict)
    tokens: dict[str, TokenSet] = field(default_factory=dict)
    run_tokens: dict[str, str] = field(default_factory=dict)
    """Key of a trained run's token set."""
    measured: dict[tuple[str, str], None] = field(default_factory=dict)
    """Pairs of state and protocol, in order, each once."""
    eval_of: dict[str, str] = field(default_factory=dict)
    """The eval's name by protocol."""
    given: dict[tuple[str, str], str] = field(default_factory=dict)
    """Files of predictions that were made elsewhere, by state and protocol."""
    crossed: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By dataset that a run trains on and another one that it is evaluated on: the splits asked."""
    table: list[RunPlan] = field(default_factory=list)
    training_shapes: list[tuple[Weights, int, bool, list[str]]] = field(default_factory=list)
    """Trained runs by what they leave: kind of weights, number of snapshots, whether weights that
    were scored on dev are kept, runs."""

    @cached_property
    def run_table(self) -> dict[str, RunPlan]:
        """The table's rows by run."""
        return {row.run: row for row in self.table}


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


def _shapes(plan: Plan, experiment: Experiment) -> list[tuple[Weights, int, bool, list[str]]]:
    shapes: dict[tuple[Weights, int, bool], list[str]] = {}
    for name, run in experiment.runs.items():
        if run.train:
            keeps = experiment.presets[run.preset].keep > 0
            shape = (plan.states[name].weights, snapshot_count(experiment, run), keeps)
            shapes.setdefault(shape, []).append(name)
    return [(*shape, names) for shape, names in shapes.items()]


def _add_run(plan: Plan, experiment: Experiment, name: str, run: RunSpec) -> None:
    preset = experiment.presets.get(run.preset or "")
    method = preset.method if preset else "predictions" if run.predictions else "adapter"
    base = _add_base(plan, experiment, run, method)
    if not run.predictions:
        weights: Weights = "full" if method == "full" else "adapter"
        quantisation = run_quantisation(experiment.models[run.model], method)
        plan.states[name] = State(run.model, quantisation, weights, name)

    evals = run_evals(experiment, run)
    names = {
        key: protocol_name(key, _sized(experiment, experiment.evals[key]), spec)
        for key, spec in evals.items()
    }
    for key, spec in evals.items():
        _add_protocol(plan, names[key], spec)
        plan.eval_of[names[key]] = key
        if base:
            plan.measured[base, names[key]] = None
        plan.measured[name, names[key]] = None
        if run.predictions:
            plan.given[name, names[key]] = run.predictions[key]
        if run.base and (other := experiment.runs[run.base]).predictions:
            plan.given[run.base, names[key]] = other.predictions[key]
    if run.train:
        _add_tokens(plan, experiment, name, run, evals)
        _add_crossed(plan, run.train, evals)
    plan.table.append(
        RunPlan(
            run=name,
            state=name,
            base_state=base,
            model=run.model or "",
            train_data=run.train,
            method=method,
            seed=run.seed if run.train else None,
            preset=preset.model_dump(mode="json") if preset else {},
            swept={key: values[0] for key, values in run.sweep.items()},
            evals={key: _eval_plan(evals[key], names[key]) for key in evals},
            snapshots=_add_snapshots(plan, experiment, name, run),
            followed=_add_followed(plan, experiment, name, run, evals),
            choose=run.choose,
            thresholds=_kept(experiment.thresholds.get(name, {}), evals),
            totals=_kept(experiment.totals.get(name, {}), evals),
        )
    )


def _add_base(plan: Plan, experiment: Experiment, run: RunSpec, method: str) -> str | None:
    """The state that a run is compared with; None for predictions that stand by themselves."""
    if run.model is None:
        return run.base
    quantisation = run_quantisation(experiment.models[run.model], method)
    base = f"base-{run.model}" + ("-nf4" if quantisation == "nf4" else "")
    plan.states[base] = State(run.model, quantisation, "none")
    return base


def _kept(entries: dict[str, Any], evals: dict[str, EvalSpec]) -> Json:
    """Entries whose eval the run has."""
    return {key: value for key, value in entries.items() if key.partition(".")[0] in evals}


def _eval_plan(spec: EvalSpec, protocol: str) -> EvalPlan:
    task = spec.measured_as
    return EvalPlan(task=task, protocol_name=protocol, primary=PRIMARY[task])


def run_quantisation(model: ModelSpec, method: str) -> Quantisation:
    """What the base is held in: an adapter is evaluated on the numbers that it was trained on."""
    return model.quantisation or ("nf4" if method == "qlora" else "none")


def run_evals(experiment: Experiment, run: RunSpec) -> dict[str, EvalSpec]:
    """The run's evals with its changes, without those left out."""
    evals = {}
    for key, spec in experiment.evals.items():
        change = run.evals.get(key)
        elsewhere = run.predictions and key not in run.predictions
        if key in experiment.leave_out or change is False or elsewhere:
            continue
        evals[key] = _sized(experiment, changed_eval(spec, change or {}))
    return evals


def _sized(experiment: Experiment, spec: EvalSpec) -> EvalSpec:
    spec = _with_labels(experiment, spec)
    return small_eval(spec) if experiment.smoke else spec


def _with_labels(experiment: Experiment, spec: EvalSpec) -> EvalSpec:
    """A classification whose classes are not named has the dataset's."""
    if spec.classes is None or spec.classes.labels:
        return spec
    labels = experiment.datasets[spec.dataset].labels
    classes = {**spec.classes.model_dump(), "labels": labels}
    return EvalSpec.model_validate({**spec.model_dump(), "classes": classes})


def protocol_name(eval_name: str, usual: EvalSpec, spec: EvalSpec) -> str:
    """The eval's name and what `spec` changes of the usual settings: `gsm8k-few_shot_5`."""
    before, after = usual.protocol(), spec.protocol()
    changed = [_change(key, after[key]) for key in after if after[key] != before[key]]
    return "-".join([eval_name, *changed])


def _add_protocol(plan: Plan, name: str, spec: EvalSpec) -> None:
    known = plan.protocols.setdefault(name, spec)
    # The name has digests of what changed; two that agree would be a rare chance.
    if known.protocol() != spec.protocol():
        raise UserError(f"{name}: two protocols have this name; expected another system or prompt")


def _change(key: str, value: object) -> str:
    text = str(value)
    plain = value is None or isinstance(value, int) or _SHORT_WORD.fullmatch(text)
    return f"{key}_{text.lower() if plain else digest(value)[:6]}"


def _add_snapshots(
    plan: Plan, experiment: Experiment, name: str, run: RunSpec
) -> list[SnapshotPlan]:
    """The run's snapshots; where one is to be chosen, each is evaluated on the dev split."""
    if not run.choose:
        return []
    key = run.choose.partition(".")[0]
    change = run.evals.get(key) or {}
    usual = experiment.evals[key]
    spec = changed_eval(usual, {**change, "split": "dev", "sample": None})
    spec = _sized(experiment, spec)
    protocol = protocol_name(key, _sized(experiment, usual), spec)
    _add_protocol(plan, protocol, spec)
    plan.eval_of[protocol] = key
    rows = []
    for snapshot in snapshots(snapshot_count(experiment, run)):
        state = _add_state(plan, name, snapshot)
        plan.measured[state, protocol] = None
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
    names = snapshots(snapshot_count(experiment, run))
    chosen = run.choose or experiment.presets[run.preset].best != "none"
    for snapshot in names:
        last = snapshot == names[-1] and not chosen
        state = name if last else _add_state(plan, name, snapshot)
        plans = {}
        for key, spec in followed.items():
            protocol = protocol_name(key, _sized(experiment, experiment.evals[key]), spec)
            plan.measured[state, protocol] = None
            plans[key] = _eval_plan(spec, protocol)
        rows.append(SnapshotPlan(snapshot=snapshot, state=state, evals=plans))
    return rows


def _add_state(plan: Plan, run: str, snapshot: str) -> str:
    """The name of a snapshot's state."""
    whole = plan.states[run]
    name = f"{run}-{snapshot}"
    plan.states[name] = State(whole.model, whole.quantisation, whole.weights, run, snapshot)
    return name


def snapshot_count(experiment: Experiment, run: RunSpec) -> int:
    """How many snapshots a run saves."""
    if run.snapshots == "epochs":
        return int(experiment.presets[run.preset].epochs)
    return run.snapshots


def _helpers(spec: EvalSpec) -> list[str]:
    """The models that look at an eval's replies."""
    judge = [spec.judge.model] if spec.judge else []
    return judge + ([spec.sampling.reward] if spec.sampling and spec.sampling.reward else [])


def is_reward_model(experiment: Experiment, model: str) -> bool:
    """Whether a model scores replies."""
    return any(s.sampling and s.sampling.reward == model for s in every_eval(experiment))


def asked_in_chat(experiment: Experiment, model: str) -> bool:
    """Whether a model needs a chat template: it judges or scores, or one of its runs trains or is
    evaluated in conversations."""
    helpers = {name for spec in every_eval(experiment) for name in _helpers(spec)}
    if model in helpers:
        return True
    runs = [run for run in experiment.runs.values() if run.model == model]
    return any(
        (run.train and run.chat)
        or any(
            spec.options is None or spec.options.chat
            for spec in run_evals(experiment, run).values()
        )
        for run in runs
    )


def pushed_whole(experiment: Experiment, plan: Plan, name: str) -> bool:
    """Whether a run is pushed as a model of its own. One that was trained whole is never an
    adapter, and needs its tokenizer beside it."""
    return experiment.runs[name].push.merged or plan.states[name].weights == "full"


def about_run(experiment: Experiment, plan: Plan, name: str) -> Json:
    """What a model card says of a run."""
    run, row, state = experiment.runs[name], plan.run_table[name], plan.states[name]
    data = experiment.datasets.get(run.train or "")
    return {
        "train_data": run.train,
        "adapter": run.adapter,
        "data_licence": data.licence if data else None,
        "method": row.method,
        "weights": state.weights,
        "quantisation": state.quantisation,
        "preset": row.preset,
        "merged": pushed_whole(experiment, plan, name) and state.weights == "adapter",
        "protocols": {
            key: plan.protocols[entry.protocol_name].protocol() for key, entry in row.evals.items()
        },
    }


def snapshots(count: int) -> list[str]:
    """`1of3`, `2of3`, `3of3`"""
    return [f"{k}of{count}" for k in range(1, count + 1)]


def _add_tokens(
    plan: Plan, experiment: Experiment, name: str, run: RunSpec, evals: dict[str, EvalSpec]
) -> None:
    preset = experiment.presets[run.preset]
    tokens = TokenSet(
        model=run.model,
        dataset=run.train,
        task=experiment.datasets[run.train].task,
        system=run.system,
        prompt_text=run.prompt,
        reply_prefix=run.reply_prefix,
        chat=run.chat,
        few_shot=_shown(evals),
        max_length=preset.max_length,
        overlong=preset.overlong,
    )
    key = f"{run.model}-{run.train}-{digest(vars(tokens))[:6]}"
    plan.tokens[key] = tokens
    plan.run_tokens[name] = key


def _add_crossed(plan: Plan, train: str, evals: dict[str, EvalSpec]) -> None:
    for spec in evals.values():
        if spec.dataset != train:
            splits = plan.crossed.setdefault((train, spec.dataset), [])
            splits += [spec.split] if spec.split not in splits else []


def _shown(evals: dict[str, EvalSpec]) -> dict[str, int]:
    shown: dict[str, int] = {}
    for spec in evals.values():
        if spec.few_shot:
            shown[spec.dataset] = max(spec.few_shot, shown.get(spec.dataset, 0))
    return shown
