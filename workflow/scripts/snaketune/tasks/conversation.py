"""How an example becomes a conversation: one function for training and for inference."""

from collections.abc import Sequence

from snaketune.chat import Messages
from snaketune.config.evaluation import OptionsSpec, TaskName
from snaketune.data.example import Example
from snaketune.tasks.prompts import MATH_SYSTEM, MULTIPLE_CHOICE
from snaketune.tasks.wording import fill, listed


def messages(
    example: Example,
    *,
    task: TaskName,
    system: str | None,
    shots: Sequence[dict[str, str]],
    prompt: str | None = None,
) -> Messages:
    """System turn (None: the task's own; empty: none), worked examples (`question` and `answer`)
    as user and assistant turns, and the example under `prompt` (None: the task's own) as the last
    user turn."""
    text = (MATH_SYSTEM if task == "math" else "") if system is None else system
    turns = [{"role": "system", "content": text}] if text else []
    for shot in shots:
        turns.append({"role": "user", "content": shot["question"]})
        turns.append({"role": "assistant", "content": shot["answer"]})
    text = worded(prompt, task, example)
    return [*turns, {"role": "user", "content": text}]


def worded(prompt: str | None, task: str, example: Example, line: str | None = None) -> str:
    """The prompt for an example: the template filled, or the task's own (the question alone where
    the task has none). The context stands below the question unless the template places it;
    `line` words an option (None: as usual)."""
    template = prompt or (MULTIPLE_CHOICE if task == "multiple_choice" else "{question}")
    placed = "{context}" in template
    return fill(
        template,
        question=example.question if placed else example.prompt,
        context=example.context or "",
        options=listed(example.choices or (), line or OptionsSpec().line),
    )


def opened(text: str, more: str) -> str:
    """`text`, then `more` behind white space; nothing is added where `more` is empty."""
    gap = " " if text and more and not text[-1].isspace() else ""
    return f"{text}{gap}{more}"
