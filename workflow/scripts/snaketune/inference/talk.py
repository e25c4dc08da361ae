"""A chat in the terminal with a run and its base, side by side: what is typed is asked as the run
was trained, and both answer, each behind its own replies so far.

One model is loaded, whose adapter is switched on and off; a run that was trained as a whole has its
base beside it. Replies are greedy, as evals ask by default. Without a terminal, lines are read
until there are no more.
"""

import json
import signal
import textwrap
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from snaketune.data.example import HISTORY, Example
from snaketune.inference.backends.transformers import TransformersSession, open_transformers
from snaketune.inference.decode import Finish
from snaketune.inference.generate import spoken
from snaketune.inference.session import LoadableState
from snaketune.prompts.conversation import Messages, format_prompt
from snaketune.prompts.form import Form, next_example, opening_tokens, prompt_opening
from snaketune.runtime.errors import UserError, visible

_LONGEST = 512  # tokens of a reply
_COMMANDS = {
    "/reset": "forget what was said",
    "/base": "the base alone answers",
    "/tuned": "the tuned model alone answers",
    "/both": "both answer",
    "/quit": "end; Ctrl-D ends too",
}
_ENDS = {
    "length": "(cut here: a reply has {longest} tokens at most)",
    "overlong": "(no room for a reply in the model's {context} tokens; /reset makes some)",
}
Told = Callable[[str], None]


class Terminal:
    """Where lines come from and replies go to."""

    def __init__(self, typed: TextIO, shown: TextIO) -> None:
        self.typed, self.shown = typed, shown
        self.live = typed.isatty() and shown.isatty()
        if self.live:
            with suppress(ImportError):
                import readline  # noqa: F401  # `input` edits lines by it

    def line(self) -> str | None:
        """What is typed next; None: no more."""
        if self.live:
            with redirect_stdout(self.shown), suppress(EOFError):
                return input("you> ")
            return None
        line = self.typed.readline()
        if line:
            self.say(f"you> {line.strip()}")
        return line or None

    def say(self, text: str, end: str = "\n") -> None:
        """Shows text of anyone's: what could move the cursor or hide words is made visible."""
        print(visible(text), end=end, file=self.shown, flush=True)


class Stream:
    """Tokens as text, as soon as no later one can change it."""

    def __init__(self, tokenizer: Any, ends: list[int], tell: Told) -> None:
        self.tokenizer, self.ends, self.tell = tokenizer, ends, tell
        self.tokens: list[int] = []
        self.told = ""

    def hear(self, token: int) -> None:
        """One more token."""
        if token not in self.ends:
            self.tokens.append(token)
            text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
            # A character of several tokens shows as this until its last one.
            self.show(text.rstrip("\ufffd"))

    def show(self, text: str) -> None:
        """What of the text was not told yet."""
        if text.startswith(self.told):
            self.tell(text[len(self.told) :])
            self.told = text


@dataclass
class Voice:
    """One of the two, with its conversation."""

    name: str
    session: TransformersSession
    form: Form
    bare: bool = False
    """Whether the session's adapter is switched off for it."""
    turns: Messages = field(default_factory=list)

    def answer(self, typed: str, tell: Told) -> Finish:
        """Tells the reply and, where there is one, remembers it."""
        tokenizer, form = self.session.tokenizer, self.form
        meta = json.dumps({HISTORY: self.turns}) if self.turns and form.chat else "{}"
        example = Example("", typed, meta=meta)
        before = prompt_opening(tokenizer, example, form, self.session.name)
        stream = Stream(tokenizer, self.session.ends, tell)
        # Where a reply in plain text ends is seen behind it.
        self.session.heard = stream.hear if form.chat else None
        [tokens] = opening_tokens(tokenizer, [before], form.chat)
        adapted: Any = self.session.model  # PEFT's, whose methods torch's modules do not have
        with adapted.disable_adapter() if self.bare else nullcontext():
            [reply] = self.session.replies([tokens], _LONGEST, 1)
        whole = tokenizer.decode(reply.tokens, skip_special_tokens=True)
        said = spoken(tokenizer, reply.tokens, before)["output"]
        if not form.chat:
            whole = said = said.partition(next_example(form))[0]
        stream.show(whole)
        if reply.finish != "overlong":
            asked = format_prompt(form.prompt, form.task, Example("", typed))
            self.turns += [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": form.reply_prefix + said},
            ]
        return reply.finish


def talk(run: str, state: LoadableState, form: Form, beside_base: bool, terminal: Terminal) -> None:
    """A conversation until its end. Ctrl-C ends a reply, and at the prompt all."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    terminal.say(f"loading {run} on {state.model.id} …")
    with suppress(KeyboardInterrupt):
        voices = _voices(state, form, beside_base)
        terminal.say(_head(run, state, voices))
        _converse(voices, terminal)
    terminal.say("")


def _voices(state: LoadableState, form: Form, beside_base: bool) -> list[Voice]:
    session = open_transformers(state)
    tuned = Voice("tuned", session, form)
    if not beside_base:
        return [tuned]
    if state.weights == "adapter":
        return [Voice("base", session, form, bare=True), tuned]
    bare = replace(state, weights="none", files=())
    return [Voice("base", open_transformers(bare), form), tuned]


def _head(run: str, state: LoadableState, voices: list[Voice]) -> str:
    held = "in 4 bits (NF4)" if state.quantisation == "nf4" else ""
    about = voices[-1].session.describe()
    where = " ".join(filter(None, [held, f"on {about['device']}"]))
    form = voices[-1].form
    asked = [f"system {form.system!r}"] if form.system else []
    asked += [f"prompt {form.prompt!r}"] if form.prompt not in (None, "{question}") else []
    asked += [f"the reply begins with {form.reply_prefix!r}"] if form.reply_prefix else []
    asked += [] if form.chat else ["plain text: each line by itself"]
    beside = " beside its base" if voices[1:] else ""
    lines = [f"{run}{beside}, {where}; greedy replies of {_LONGEST} tokens at most"]
    lines += [f"asked as it was trained: {', '.join(asked)}"] if asked else []
    lines += [", ".join(f"{name}: {what}" for name, what in _COMMANDS.items())]
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines)


def _converse(voices: list[Voice], terminal: Terminal) -> None:
    answering = voices
    while (line := terminal.line()) is not None:
        typed = line.strip()
        if typed == "/quit":
            return
        if typed == "/reset":
            for voice in voices:
                voice.turns.clear()
            terminal.say("forgotten")
        elif typed in ("/base", "/tuned", "/both"):
            found = [v for v in voices if typed in ("/both", f"/{v.name}")]
            answering = found or answering
            terminal.say(f"{' and '.join(voice.name for voice in answering)} answers")
        elif typed.startswith("/"):
            terminal.say(f"{typed.split()[0]}: unknown; known: {', '.join(_COMMANDS)}")
        elif typed:
            for voice in answering:
                _reply(voice, typed, terminal)


def _reply(voice: Voice, typed: str, terminal: Terminal) -> None:
    terminal.say(f"{voice.name}> {voice.form.reply_prefix}", end="")
    try:
        finish = voice.answer(typed, lambda text: terminal.say(text, end=""))
    except UserError as error:
        terminal.say(f"(error: {error})")
    except KeyboardInterrupt:
        terminal.say(" (stopped; not remembered)")
    else:
        limits = {"longest": _LONGEST, "context": voice.session.context}
        terminal.say(f" {_ENDS[finish].format(**limits)}" if finish in _ENDS else "")
