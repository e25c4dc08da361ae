"""The form in which examples are put, and where a reply begins: one place for training rows, for
generation, options, labels and judges.

What a template prints between the last turn and a reply's first character (an empty think block, a
channel, a line end) belongs to the prompt: it carries no loss and stands before what is scored. It
is asked of the template itself, which prints a mark for a reply: templates print more before a
reply that is there than before one that is to come, or less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jinja2.exceptions import TemplateError

from snaketune.config.evaluation import TaskName
from snaketune.data.example import WEIGHT, Example
from snaketune.prompts.control_tokens import (
    encode_texts,
    shield,
    shield_example,
    shield_turns,
    unshield,
)
from snaketune.prompts.conversation import (
    Messages,
    build_messages,
    format_prompt,
    join_with_space,
    render_chat,
    unprinted_turn,
)
from snaketune.prompts.thoughts import (
    closed_thought,
    opened_thought,
    thought_between,
    thought_end,
)
from snaketune.runtime.errors import UserError

# Private-use characters, apart from those that mark replies of training rows.
_TURN_ENDS, _REPLY_STARTS = "\ue8fe", "\ue8ff"


@dataclass(frozen=True)
class Form:
    """How an example becomes a prompt."""

    task: TaskName
    system: str | None = None
    """The system turn; None: the task's own; empty: none."""
    prompt: str | None = None
    """The user turn, or the whole plain text; None: the task's own."""
    chat: bool = True
    """Under the model's chat template; else plain text."""
    reply_prefix: str = ""
    """Opens the reply, as part of the prompt."""
    template_args: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template is handed beside the turns."""
    thinking: Literal["off", "on"] | None = None
    """`on`: the reply begins with thoughts; `off`: the template is told that there are none; None:
    it is told nothing, and a reply stands where it prints one without thoughts."""
    train_on: Literal["all", "last", "marked"] = "all"
    """Which replies of a conversation are learned."""

    def turns(self, example: Example, shots: Sequence[dict[str, str]] = ()) -> Messages:
        """The conversation up to the reply."""
        return build_messages(
            example, task=self.task, system=self.system, shots=shots, prompt=self.prompt
        )

    def learned(self, example: Example, turns: Messages) -> set[int] | None:
        """The places, among `turns` and the reply behind them, of the replies to learn; None: of
        all."""
        if self.train_on == "all":
            return None
        if self.train_on == "last":
            return {len(turns)}
        # The history, but for a system turn in front, stands right before the question.
        before = example.history
        before = before[1:] if before and before[0]["role"] == "system" else before
        first = len(turns) - 1 - len(before)
        marked = {first + i for i, turn in enumerate(before) if turn.get(WEIGHT) == 1}
        return marked | ({len(turns)} if example.weight == 1 else set())

    @property
    def options(self) -> dict[str, Any]:
        """What the chat template is handed. The usual names for thinking are told; a template that
        knows neither is told nothing."""
        known = {} if self.thinking is None else dict.fromkeys(_SWITCHES, self.thinking == "on")
        return known | dict(self.template_args)


_SWITCHES = ("enable_thinking", "thinking")


@dataclass(frozen=True)
class Opening:
    """A prompt, for `encode_texts`, up to the first token that is trained, scored or generated."""

    text: str
    gap: str = ""
    """Blanks that the template prints before a reply. Most tokenizers join them with the reply's
    first word, so they are read with it."""

    @property
    def whole(self) -> str:
        """All that stands before the reply's first character."""
        return self.text + self.gap


def opening(
    tokenizer: Any, turns: Messages, form: Form, *, thoughts: bool = False, strict: bool = False
) -> Opening:
    """What stands before a reply to `turns`, whose control tokens are shielded; `thoughts`: before
    one that begins with its thoughts.

    The template's own prompt stands where it can't be brought together with a reply; with `strict`
    that raises `UserError`, as rows can't be trained there.
    """
    asked = render_chat(tokenizer, turns, reply_next=True, **form.options)
    if not thoughts and form.thinking != "on":
        asked = _before_answer(tokenizer, turns, form, asked, strict)
    if form.reply_prefix:
        return Opening(asked + form.reply_prefix)
    text = asked.rstrip(" \t")
    return Opening(text, asked[len(text) :])


def _before_answer(tokenizer: Any, turns: Messages, form: Form, asked: str, strict: bool) -> str:
    """The prompt `asked` with what the template prints before a reply without thoughts."""
    reply = {"role": "assistant", "content": _REPLY_STARTS}
    try:
        said = render_chat(tokenizer, [*turns, reply], reply_next=False, **form.options)
    except TemplateError:
        if strict:
            raise
        return asked
    before, found, _ = said.partition(_REPLY_STARTS)
    if found and before.startswith(asked):
        return before
    expected, printed = _tails(tokenizer, turns, form)
    if found and printed.startswith(expected):
        return asked + printed[len(expected) :]
    if found and expected.startswith(printed):
        return asked + closed_thought(asked)
    if strict:
        raise UserError(
            "the chat template asks for a reply in one way and prints it in another: found "
            f"{printed[-60:]!r} before a reply, expected {expected[-60:]!r}, which it asks with"
        )
    return asked


def _tails(tokenizer: Any, turns: Messages, form: Form) -> tuple[str, str]:
    """What stands between the last turn and the reply: where it is asked for, and where it is
    there. Templates may print system or earlier turns otherwise in either."""
    last = {**turns[-1], "content": turns[-1]["content"] + _TURN_ENDS}
    marked = [*turns[:-1], last]
    reply = {"role": "assistant", "content": _REPLY_STARTS}
    asked = render_chat(tokenizer, marked, reply_next=True, **form.options)
    said = render_chat(tokenizer, [*marked, reply], reply_next=False, **form.options)
    printed = said.partition(_REPLY_STARTS)[0]
    return asked.rpartition(_TURN_ENDS)[2], printed.rpartition(_TURN_ENDS)[2]


def template_thought_end(tokenizer: Any, form: Form, name: str) -> str:
    """What the chat template of the model `name` prints between a thought and the answer behind it,
    to close one by force. Asked are, in turn, how it prints a reply that comes with its thought,
    what its prompt opens, and the empty thought that it prints where there is to be none. Raises
    `UserError` where it has no thoughts."""
    ask = [{"role": "user", "content": "question"}]
    reply = {"role": "assistant", "content": _REPLY_STARTS, **dict.fromkeys(_FIELDS, _TURN_ENDS)}
    if tokenizer.chat_template:
        said = _rendered(tokenizer, [*ask, reply], form.options, reply_next=False)
        printed = said.partition(_REPLY_STARTS)[0].rpartition(_TURN_ENDS)
        if printed[1] and thought_between(printed[2]):
            return printed[2]
        if opened := opened_thought(_rendered(tokenizer, ask, form.options, reply_next=True)):
            return thought_end(opened)
        none = {**form.options, **dict.fromkeys(_SWITCHES, False)}
        if end := thought_between(_rendered(tokenizer, ask, none, reply_next=True)):
            return end
    raise UserError(
        f"model {name}: found a budget of thoughts and a chat template that has none; expected "
        "thinking: on or off, or the template of a model that thinks"
    )


_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Where conversations hold a reply's thought, apart from what it says."""


def _rendered(
    tokenizer: Any, turns: Messages, options: Mapping[str, Any], *, reply_next: bool
) -> str:
    """The conversation as text; empty where the template refuses it."""
    try:
        return render_chat(tokenizer, turns, reply_next=reply_next, **options)
    except TemplateError:
        return ""


def prompt_opening(
    tokenizer: Any,
    example: Example,
    form: Form,
    name: str,
    shots: Sequence[dict[str, str]] = (),
) -> Opening:
    """What stands before the reply to an example when it is asked. Raises UserError where the chat
    template of the model `name` refuses the conversation."""
    if not form.chat:
        return plain_opening(tokenizer, example, form, shots=shots)
    turns = form.turns(example, shots)
    found = chat_opening(tokenizer, turns, form, name)
    said = unprinted_turn(unshield(tokenizer, found.text), turns) if example.history else None
    if said is not None:
        raise UserError(
            f"model {name}, example {example.id}: the chat template leaves out a turn of the "
            f"conversation: found none that says {said[:60]!r}, expected every turn in its text"
        )
    return found


def plain_opening(
    tokenizer: Any,
    example: Example,
    form: Form,
    line: str | None = None,
    shots: Sequence[dict[str, str]] = (),
) -> Opening:
    """The same of plain text; `line` words an option. White space at its end is the reply's, as
    options have it. Worked examples stand before it as training rows do, a blank line apart.
    Raises `UserError` for an example with a history, which plain text has no place for."""
    if example.history:
        raise UserError(
            "found turns before the question, which plain text has no place for; expected "
            "chat: true, or questions alone"
        )

    def prompt(shown: Example) -> str:
        text = format_prompt(form.prompt, form.task, shield_example(tokenizer, shown), line)
        return join_with_space(text, form.reply_prefix)

    worked = [
        join_with_space(prompt(Example("", shot["question"])), shield(tokenizer, shot["answer"]))
        for shot in shots
    ]
    text = APART.join([*worked, prompt(example)])
    return Opening(text.rstrip(), text[len(text.rstrip()) :])


APART = "\n\n"
"""Between worked examples of plain text."""


def next_example(form: Form) -> str:
    """How a next worked example of plain text begins: where a reply does, it is over. Models that
    were trained on no turns go on with one."""
    head = format_prompt(form.prompt, form.task, Example("", _REPLY_STARTS))
    first = head.partition(_REPLY_STARTS)[0].lstrip().partition("\n")[0]
    return APART + first.rstrip()


def chat_opening(tokenizer: Any, turns: Messages, form: Form, name: str) -> Opening:
    """The same of a conversation."""
    try:
        return opening(tokenizer, shield_turns(tokenizer, turns), form)
    except TemplateError as error:
        raise UserError(
            f"model {name}: its chat template refuses the conversation: {error}. A template "
            "without a system turn needs `system: ''` in the eval."
        ) from None


def text_tokens(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """What opens a text of its own, and its tokens, for continued training and perplexity alike.
    The special tokens that the tokenizer puts in front; where it has none there its
    beginning-of-text token, else its end token, so that the first token is learned and scored too.
    Raises `UserError` where the tokenizer has neither, or the text no token."""
    shielded = shield(tokenizer, text)
    [own], [whole] = (encode_texts(tokenizer, [shielded], special) for special in (False, True))
    count = len(whole) - len(own)
    start = next((i for i in range(count + 1) if whole[i : i + len(own)] == own), None)
    if not own or start is None:
        raise UserError("the tokenizer reads the text otherwise behind its special tokens")
    opener = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    head = whole[:start] or [token for token in opener if token is not None][:1]
    if not head:
        raise UserError("the tokenizer has no token that a text could begin with")
    return head, own


def opening_tokens(
    tokenizer: Any, openings: Sequence[Opening], chat: bool = True
) -> list[list[int]]:
    """Token ids of prompts. Templates print special tokens themselves; plain text is given them."""
    texts = [found.text for found in openings]
    return encode_texts(tokenizer, texts, add_special_tokens=not chat)
