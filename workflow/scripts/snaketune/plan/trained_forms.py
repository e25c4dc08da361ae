"""Where a run is trained under another form than it is asked, as far as the config tells; that
tokens agree is checked on rows (see inference/agreement.py).

A form is the system turn, the prompt, the template's arguments, the prefix of a reply, thinking.
"""

from collections.abc import Iterator
from typing import Any

from snaketune.config.base import thinking_mode
from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment
from snaketune.config.run import RunSpec
from snaketune.plan.experiment_plan import Plan
from snaketune.plan.protocols import TokenSet, run_evals
from snaketune.prompts.wording import (
    MATH_SYSTEM,
    MULTIPLE_CHOICE,
    generation_protocol,
    options_protocol,
)


def own_evals(experiment: Experiment, run: RunSpec, dataset: str) -> dict[str, EvalSpec]:
    """The run's evals on a dataset that it trains on. Safety is asked of any prompts, and has no
    answers that could be trained."""
    evals = run_evals(experiment, run)
    return {k: s for k, s in evals.items() if s.dataset == dataset and s.task != "safety"}


def compared_evals(experiment: Experiment, name: str, dataset: str) -> dict[str, dict[str, Any]]:
    """The run's evals on a dataset that it trains on, as they are asked."""
    return {
        key: {
            "generates": spec.generates,
            "asked": generation_protocol(spec) if spec.generates else options_protocol(spec),
            "protocol": spec.protocol(),
        }
        for key, spec in own_evals(experiment, experiment.runs[name], dataset).items()
    }


def other_forms(experiment: Experiment, name: str, tokens: TokenSet) -> list[str]:
    """Of the run's evals of the same task on other datasets, which are only told: those that are
    asked under another form than it trains."""
    run = experiment.runs[name]
    others = {
        key: spec
        for key, spec in run_evals(experiment, run).items()
        if spec.dataset not in run.learns_from and spec.task == tokens.task
    }
    return [
        f"run {name} is trained under another {found} than evals.{key} asks with, on another "
        f"dataset"
        for key, spec in others.items()
        if (found := _different(tokens, spec))
    ]


_PLACES = ("{context}", "{options}", "{labels}")


def talking_form(experiment: Experiment, plan: Plan, name: str) -> dict[str, Any]:
    """The form in which a chat with a run is put: that of its rows (of several datasets, the first
    one's), else of its first eval. A prompt with places for more than a question says nothing of
    what is typed, which then stands alone."""
    run = experiment.runs[name]
    if run.train:
        form = dict(plan.tokens[plan.run_parts[name][run.learns_from[0]]].prompt)
        form.pop("train_on", None)
    else:
        spec = next(iter(run_evals(experiment, run).values()))
        form = {key: spec.model_dump()[key] for key in ("task", "system", "prompt")}
        form |= {"reply_prefix": spec.reply_prefix or "", "chat": spec.chat is not False}
        form |= {"template_args": spec.template_args or {}}
        form |= {"thinking": thinking_mode(spec.thinking)}
    if any(place in (form["prompt"] or "") for place in _PLACES):
        form["prompt"] = None
    if form["prompt"] is None and form["task"] == "multiple_choice":
        form["prompt"] = "{question}"
    return form


def prompt_notes(experiment: Experiment, plan: Plan) -> Iterator[str]:
    """For the plan, in words: where a run is asked otherwise than it is trained, and where there
    are no rows to compare."""
    for name, run in experiment.runs.items():
        if not run.train:
            if run.alone:
                continue
            what = "an adapter" if run.adapter else "predictions"
            yield f"run {name}: {what} made elsewhere; there are no rows to compare prompts with"
            continue
        accepted = f", which runs.{name}.accept says is meant" if run.accept else ""
        for dataset, key in plan.run_parts[name].items():
            tokens = plan.tokens[key]
            for asked, spec in own_evals(experiment, run, dataset).items():
                if found := _different(tokens, spec):
                    under = f"run {name} is trained under another {found}"
                    yield f"{under} than evals.{asked} asks with{accepted}"


def _different(tokens: TokenSet, spec: EvalSpec) -> str:
    trained = _form(tokens.task, tokens.system, tokens.prompt_text, tokens.prompt)
    asked = _form(spec.task, spec.system, spec.prompt, spec.model_dump())
    return ", ".join(key for key in trained if trained[key] != asked[key])


def _form(
    task: str, system: str | None, prompt: str | None, more: dict[str, Any]
) -> dict[str, Any]:
    """The form with the task's own texts in the place of unset ones."""
    chat = more["chat"] is not False
    own_system = MATH_SYSTEM if task == "math" and chat else ""
    own_prompt = MULTIPLE_CHOICE if task == "multiple_choice" else "{question}"
    return {
        "system turn": own_system if system is None else system,
        "prompt": prompt or own_prompt,
        "chat": chat,
        "reply_prefix": more["reply_prefix"] or "",
        "template_args": more.get("template_args") or {},
        "thinking": thinking_mode(more.get("thinking")),
    }
