"""How a task words an example. Light: the Snakefile's own process calls it."""

from collections.abc import Sequence
from typing import Any

from snaketune.config.evaluation import EvalSpec, OptionsSpec
from snaketune.data.formats.choices import LETTERS
from snaketune.tasks.prompts import MULTIPLE_CHOICE


def fill(template: str, **values: str) -> str:
    """Puts values into `{name}`s; braces in the values, and any others, mean nothing."""
    parts = template.split("{")
    out = [parts[0]]
    for part in parts[1:]:
        name, closed, rest = part.partition("}")
        out.append(values[name] + rest if closed and name in values else "{" + part)
    return "".join(out)


def listed(choices: Sequence[str], line: str) -> str:
    """The options as lines, each with its letter."""
    lettered = zip(LETTERS, choices, strict=False)
    return "".join(fill(line, letter=letter, option=option) for letter, option in lettered)


def worded(prompt: str | None, task: str, question: str, choices: Sequence[str] | None) -> str:
    """The prompt for an example: the template filled, or the task's own (the question alone where
    the task has none)."""
    usual = MULTIPLE_CHOICE if task == "multiple_choice" else "{question}"
    options = listed(choices or (), OptionsSpec().line)
    return fill(prompt or usual, question=question, options=options)


def options_protocol(spec: EvalSpec) -> dict[str, Any]:
    """What scoring the options of a multiple-choice eval takes, as plain values."""
    context, options = spec.prompt or MULTIPLE_CHOICE, spec.options
    gap = "" if options.chat or context[-1:].isspace() else " "
    return {
        "context": context,
        "option": options.option or gap + "{option}",
        "line": options.line,
        "system": (spec.system or "") if options.chat else None,
        "sample": spec.sample.model_dump(mode="json") if spec.sample else None,
    }
