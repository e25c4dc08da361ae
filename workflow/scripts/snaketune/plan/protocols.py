"""Protocols: how a run's evals are asked, and how its training rows are worded to go with them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from snaketune.config.base import thinking_mode, thought_budget
from snaketune.config.changes import changed_eval, every_eval, small_eval
from snaketune.config.dataset import FORM, DatasetSpec
from snaketune.config.eval_checks import numbers_of_a_table
from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment
from snaketune.config.model import TrainPart
from snaketune.config.run import RunSpec
from snaketune.prompts.wording import own_prompt
from snaketune.runtime.content import digest

# What stands as it is in a protocol's name, and so in file names.
_SHORT_WORD = re.compile("[a-z0-9]{1,32}")


def run_evals(experiment: Experiment, run: RunSpec) -> dict[str, EvalSpec]:
    """The run's evals with its changes, without those left out."""
    evals = {}
    for key in experiment.evals:
        change = run.evals.get(key)
        elsewhere = run.predictions and key not in run.predictions
        if key in experiment.leave_out or change is False or elsewhere:
            continue
        evals[key] = _asked(experiment, key, run.change_of(key))
    return evals


def dev_eval(experiment: Experiment, run: RunSpec, key: str) -> EvalSpec:
    """The run's eval on all of the dev split, where its snapshots are chosen."""
    return _asked(experiment, key, {**run.change_of(key), "split": "dev", "sample": None})


class _Last:
    """The experiment that was asked about last, and its evals by name and change: a sweep's runs
    ask for the same ones, some thousand times."""

    experiment: Experiment | None = None
    found: ClassVar[dict[tuple[str, str], EvalSpec]] = {}


def _asked(experiment: Experiment, key: str, change: dict[str, Any]) -> EvalSpec:
    """The experiment's eval `key` with a run's changes, as it is asked."""
    if _Last.experiment is not experiment:
        _Last.experiment, _Last.found = experiment, {}
    known = (key, repr(change))
    if known not in _Last.found:
        spec = experiment.evals[key]
        _Last.found[known] = _sized(experiment, changed_eval(spec, change) if change else spec)
    return _Last.found[known]


def _sized(experiment: Experiment, spec: EvalSpec) -> EvalSpec:
    spec = _with_labels(experiment, _with_form(experiment, spec))
    return small_eval(spec, experiment.smoke == "demo") if experiment.smoke else spec


def _with_form(experiment: Experiment, spec: EvalSpec) -> EvalSpec:
    """The eval in its dataset's form, where it does not say otherwise."""
    data = experiment.datasets[spec.dataset]
    form = {key: _first(getattr(spec, key), getattr(data, key)) for key in FORM}
    if spec.options:
        form["chat"] = _first(spec.chat, spec.options.chat, data.chat)
        form["options"] = spec.options.model_copy(update={"chat": form["chat"]})
    if not form["chat"]:
        form["system"] = spec.system
    form["prompt"] = own_prompt(
        spec.task, form["chat"], form["system"], form["prompt"], data.labels
    )
    return spec.model_copy(update=form)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _with_labels(experiment: Experiment, spec: EvalSpec) -> EvalSpec:
    """A classification whose classes are not named has the dataset's."""
    if spec.classes is None or spec.classes.labels:
        return spec
    labels = experiment.datasets[spec.dataset].labels
    classes = {**spec.classes.model_dump(), "labels": labels}
    return EvalSpec.model_validate({**spec.model_dump(), "classes": classes})


def name_of_eval(experiment: Experiment, key: str, spec: EvalSpec) -> str:
    """The name of the protocol that a run makes of the experiment's eval `key`."""
    usual = _asked(experiment, key, {})
    return key if spec is usual else protocol_name(key, usual, spec)


def protocol_name(eval_name: str, usual: EvalSpec, spec: EvalSpec) -> str:
    """The eval's name and what `spec` changes of the usual settings: `gsm8k-few_shot_5`."""
    before, after = usual.protocol(), spec.protocol()
    keys = [*after, *(key for key in before if key not in after)]
    changed = [_change(key, after.get(key)) for key in keys if after.get(key) != before.get(key)]
    return "-".join([eval_name, *changed])


def _change(key: str, value: object) -> str:
    text = str(value)
    plain = value is None or isinstance(value, int) or _SHORT_WORD.fullmatch(text)
    return f"{key}_{text.lower() if plain else digest(value)[:6]}"


def reward_model(spec: EvalSpec) -> str | None:
    """The model that scores an eval's samples."""
    return spec.sampling.reward if spec.sampling else None


def class_labels(spec: EvalSpec) -> list[str]:
    """The labels of a classification; none of another task."""
    return spec.classes.labels if spec.classes else []


def most_samples(spec: EvalSpec) -> int | None:
    """The most samples that anything is measured of; None where there is one reply."""
    return spec.sampling.at[-1] if spec.sampling else None


def _helpers(spec: EvalSpec) -> list[str]:
    """The models that look at an eval's replies."""
    judge, reward = [spec.judge.model] if spec.judge else [], reward_model(spec)
    return judge + ([reward] if reward else [])


def is_reward_model(experiment: Experiment, model: str) -> bool:
    """Whether a model scores replies."""
    return any(reward_model(spec) == model for spec in every_eval(experiment))


def needs_chat(experiment: Experiment, model: str) -> bool:
    """Whether a model needs a chat template: it judges or scores, or one of its runs trains or is
    evaluated in conversations."""
    helpers = {name for spec in every_eval(experiment) for name in _helpers(spec)}
    if model in helpers:
        return True
    runs = [run for run in experiment.runs.values() if run.model == model]
    return any(
        any(_first(run.chat, experiment.datasets[part].chat) for part in run.learns_from)
        or any(spec.chat for spec in run_evals(experiment, run).values())
        for run in runs
    )


def needs_thoughts(experiment: Experiment, model: str) -> list[dict[str, Any]]:
    """Of the model's evals under a budget of thoughts, which need a template that has some: what
    the template is handed, each once."""
    found = [
        spec.template_args or {}
        for run in experiment.runs.values()
        if run.model == model
        for spec in run_evals(experiment, run).values()
        if thought_budget(spec.thinking) is not None and spec.generates
    ]
    return [args for i, args in enumerate(found) if args not in found[:i]]


def training_methods(experiment: Experiment, model: str) -> list[dict[str, Any]]:
    """What decides of the presets of a model's trainings whether it can take them, each once."""
    found: dict[str, dict[str, Any]] = {}
    for run in experiment.runs.values():
        if run.model == model and run.train is not None and run.preset in experiment.presets:
            preset = experiment.presets[run.preset]
            settings: dict[str, Any] = {"method": preset.method}
            if preset.method != "full":
                settings["lora"] = preset.lora.model_dump(include={"dropout", "targets", "dora"})
            found[digest(settings)] = settings
    return [found[key] for key in sorted(found)]


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
    template_args: dict[str, Any]
    thinking: Literal["off", "on"] | None
    train_on: str
    """Which replies of a conversation are learned."""
    few_shot: dict[str, int]
    """By dataset: how many of its few-shot examples the run's evals show, so that they leave the
    training rows."""
    max_length: int
    overlong: str

    @property
    def prompt(self) -> dict[str, Any]:
        """What decides how an example is worded."""
        return {
            "task": self.task,
            "system": self.system,
            "prompt": self.prompt_text,
            "reply_prefix": self.reply_prefix,
            "chat": self.chat,
            **self._newer,
        }

    @property
    def _newer(self) -> dict[str, Any]:
        """What is mentioned only where it is not as usual, so that names stay."""
        newer = {
            "template_args": self.template_args,
            "thinking": self.thinking,
            "train_on": "" if self.train_on == "all" else self.train_on,
        }
        return {key: value for key, value in newer.items() if value}

    @property
    def name(self) -> str:
        """Runs that agree in all of it share the rows."""
        later = ("template_args", "thinking", "train_on")
        usual = {k: v for k, v in vars(self).items() if k not in later}
        return f"{self.model}-{self.dataset}-{digest(usual | self._newer)[:6]}"


@dataclass(frozen=True)
class Mixture:
    """Rows of several token sets, as those of one."""

    tokens: tuple[str, ...]
    parts: tuple[TrainPart, ...]
    seed: int

    @property
    def settings(self) -> list[dict[str, Any]]:
        """What decides how often the rows of each part occur."""
        return [
            {"dataset": part.dataset, "weight": part.weight or 1.0, "rows": part.rows}
            for part in self.parts
        ]

    @property
    def name(self) -> str:
        """Runs that agree in all of it share the rows."""
        known = {"tokens": self.tokens, "parts": self.settings, "seed": self.seed}
        return f"{self.tokens[0].partition('-')[0]}-mixed-{digest(known)[:6]}"


def token_set(
    experiment: Experiment, run: RunSpec, evals: dict[str, EvalSpec], dataset: str
) -> TokenSet:
    """The rows of a dataset that a run trains on; `evals` are the run's."""
    assert run.model and run.preset, "a training"
    preset, data = experiment.presets[run.preset], experiment.datasets[dataset]
    form = {key: _first(getattr(run, key), getattr(data, key)) for key in FORM}
    task = _trained_task(data, [spec for spec in evals.values() if spec.dataset == dataset])
    system = form["system"] if form["chat"] else run.system
    return TokenSet(
        model=run.model,
        dataset=dataset,
        task=task,
        system=system,
        prompt_text=own_prompt(task, form["chat"], system, form["prompt"], data.labels),
        reply_prefix=form["reply_prefix"],
        chat=form["chat"],
        template_args=form["template_args"],
        thinking=thinking_mode(form["thinking"]),
        train_on=data.train_on,
        few_shot=_shown(evals),
        max_length=preset.max_length,
        overlong=preset.overlong,
    )


def _trained_task(data: DatasetSpec, evals: Sequence[EvalSpec]) -> str:
    """The task in whose form the rows are put: a table of numbers that is asked as math is trained
    as math."""
    return "math" if any(numbers_of_a_table(spec, data) for spec in evals) else data.task


def _shown(evals: dict[str, EvalSpec]) -> dict[str, int]:
    shown: dict[str, int] = {}
    for spec in evals.values():
        if spec.few_shot:
            shown[spec.dataset] = max(spec.few_shot, shown.get(spec.dataset, 0))
    return shown
