"""Conversations: an example as turns, the turns as text, and the tokens that end a reply; the same
for training and for inference.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from snaketune.config.evaluation import OptionsSpec, TaskName
from snaketune.data.example import Example
from snaketune.prompts.wording import MATH_SYSTEM, MULTIPLE_CHOICE, fill_template, list_options
from snaketune.runtime.errors import UserError

Messages = list[dict[str, str]]

# Some templates print today's date; a fixed one keeps prompts equal from day to day.
DATE = datetime(2024, 7, 26)


def render_chat(tokenizer: Any, messages: Messages, *, reply_next: bool, **options: Any) -> str:
    """The conversation as text; with `reply_next` it ends with the header of the next reply.

    Tokenise the result once, with `add_special_tokens=False`: the template prints the
    beginning-of-text token itself where the model has one.
    """
    return tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=reply_next,
        chat_template=_dated(tokenizer.get_chat_template()),
        **{"date_string": DATE.strftime("%d %b %Y"), **options},
    )


def _dated(template: str) -> str:
    """The template with the fixed date where it asks for today's; as data only plain values can be
    handed to it."""
    return re.sub(
        r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""", lambda m: repr(DATE.strftime(m[2])), template
    )


def template_hash(tokenizer: Any) -> str:
    """12 hex digits that identify the chat template; they lie beside every result."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()[:12]


def build_messages(
    example: Example,
    *,
    task: TaskName,
    system: str | None,
    shots: Sequence[dict[str, str]],
    prompt: str | None = None,
) -> Messages:
    """System turn (the example's own, else this; None: the task's own; empty: none), worked
    examples (`question` and `answer`) as user and assistant turns, the example's history, and the
    example under `prompt` (None: the task's own) as the last user turn."""
    text = (MATH_SYSTEM if task == "math" else "") if system is None else system
    before = [{key: turn[key] for key in ("role", "content")} for turn in example.history]
    if before and before[0]["role"] == "system":
        text = before.pop(0)["content"]
    turns = [{"role": "system", "content": text}] if text else []
    text = format_prompt(prompt, task, example)
    return [*turns, *worked_turns(shots), *before, {"role": "user", "content": text}]


def worked_turns(shots: Sequence[dict[str, str]]) -> Messages:
    """Worked examples as turns."""
    asked = [("user", "question"), ("assistant", "answer")]
    return [{"role": role, "content": shot[key]} for shot in shots for role, key in asked]


def read_worked(path: Path | None, count: int) -> list[dict[str, Any]]:
    """The first `count` worked examples of a few-shot file: `question` and `answer`, and where they
    have options `choices` and the `label` of the right one."""
    if not count or path is None:
        return []
    shots = json.loads(path.read_text(encoding="utf-8"))[:count]
    if len(shots) < count:
        raise UserError(f"{path}: found {len(shots)} few-shot examples, expected {count}")
    return [{key: shot[key] for key in _WORKED if key in shot} for shot in shots]


_WORKED = ("question", "answer", "choices", "label")


def unprinted_turn(text: str, turns: Messages) -> str | None:
    """What the system or a user says that does not stand in the text of a conversation, but for
    white space: the template has left it out or written it anew. None: all stands there."""
    shown = "".join(text.split())
    said = (turn["content"] for turn in turns if turn["role"] != "assistant")
    return next((content for content in said if "".join(content.split()) not in shown), None)


def format_prompt(prompt: str | None, task: str, example: Example, line: str | None = None) -> str:
    """The prompt for an example: the template filled, or the task's own (the question alone where
    the task has none). The context stands below the question unless the template places it;
    `line` words an option (None: as usual)."""
    template = prompt or (MULTIPLE_CHOICE if task == "multiple_choice" else "{question}")
    placed = "{context}" in template
    return fill_template(
        template,
        question=example.question if placed else example.prompt,
        context=example.context or "",
        options=list_options(example.choices or (), line or OptionsSpec().line),
    )


def join_with_space(text: str, more: str) -> str:
    """`text`, then `more` behind white space; nothing is added where `more` is empty."""
    gap = " " if text and more and not text[-1].isspace() else ""
    return f"{text}{gap}{more}"


_REPLY = "reply"


def end_tokens(tokenizer: Any, generation_configs: Iterable[Any], name: str) -> list[int]:
    """The union, ascending, of the tokenizer's end token, the generation configs' ones, and the
    token with which the chat template closes a reply.

    A base model's end token is often not the one that its template ends a turn with.
    Raises UserError where there is none at all.
    """
    found = _as_set(tokenizer.eos_token_id)
    for config in generation_configs:
        found |= _as_set(config.eos_token_id)
    found |= _as_set(turn_end_token(tokenizer))
    if not found:
        raise UserError(
            f"model {name}: no end token. Found: no eos_token in tokenizer_config.json, no "
            "eos_token_id in generation_config.json, and no special token after a reply in the "
            "chat template. Expected at least one; set eos_token in tokenizer_config.json."
        )
    return sorted(found)


def turn_end_token(tokenizer: Any, options: Mapping[str, Any] | None = None) -> int | None:
    """The special token that the chat template writes after a reply, if it writes one; where
    nothing follows the last reply, the one that opens the next turn (GLM-4's `<|user|>`)."""
    closing = turn_closing_tokens(tokenizer, options)
    return closing[-1] if closing else None


def turn_closing_tokens(tokenizer: Any, options: Mapping[str, Any] | None = None) -> list[int]:
    """The tokens that the chat template writes after a reply, up to the special one that ends the
    turn; [] where it writes none. `options` go to the template."""
    text = closing_text(tokenizer, options) if tokenizer.chat_template else ""
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def closing_text(tokenizer: Any, options: Mapping[str, Any] | None = None) -> str:
    """What the chat template writes after a reply, up to the special token that ends the turn."""
    for more in ([], [{"role": "user", "content": "question"}]):
        after = _after_reply(tokenizer, more, options or {})
        if found := _up_to_special(tokenizer, after):
            return found
    return ""


def _up_to_special(tokenizer: Any, after: str) -> str:
    """The text up to its first special token; empty where other text stands before that."""
    start = after.lstrip()
    added = (token.content for token in tokenizer.added_tokens_decoder.values())
    names = {*tokenizer.all_special_tokens, *added} - {tokenizer.bos_token}
    if tokenizer.eos_token:
        names.add(tokenizer.eos_token)
    found = max((name for name in names if name and start.startswith(name)), key=len, default="")
    return after[: len(after) - len(start)] + found if found else ""


def _after_reply(tokenizer: Any, more: Messages, options: Mapping[str, Any]) -> str:
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _REPLY}]
    return render_chat(tokenizer, [*messages, *more], reply_next=False, **options).rpartition(
        _REPLY
    )[2]


def _as_set(value: int | list[int] | None) -> set[int]:
    if value is None:
        return set()
    return {value} if isinstance(value, int) else set(value)
