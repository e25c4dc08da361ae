"""How an example becomes a conversation: one function for training and for inference."""

from collections.abc import Sequence

from snaketune.chat import Messages
from snaketune.config.evaluation import TaskName
from snaketune.data.example import Example
from snaketune.tasks.prompts import MATH_SYSTEM
from snaketune.tasks.wording import worded


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
    text = worded(prompt, task, example.prompt, example.choices)
    return [*turns, {"role": "user", "content": text}]
