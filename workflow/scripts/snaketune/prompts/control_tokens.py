"""Control tokens that are typed in a text stay text, for training and inference alike.

Turn markers and their like give a conversation its structure; a question or a reply that spells
one (`<|im_end|>`) must not end a turn with it, least of all before a judge. So contents are
shielded before a template prints them: each typed control token gives way to a stand-in of the
same length, made of code points that Unicode sets aside as no characters. `encode_texts`
puts it back, and tokenises the whole text with a twin of the tokenizer that knows the control
tokens which the template printed by other names, and no control token by the name that was typed.
Text that types none goes to the tokenizer itself.

Tags of thoughts (`<think>`) are no control tokens here: templates look for them in contents, and
replies are trained to write them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import Encoding, Tokenizer

from snaketune.data.example import Example
from snaketune.prompts.conversation import Messages, render_chat
from snaketune.runtime.errors import UserError

_TYPED, _PRINTED, _FILLER = "\ufdd0", "\ufdee", "\ufdef"
_DIGITS = [chr(0xFDD1 + n) for n in range(16)]
_NO_CHARACTERS = re.compile("[\ufdd0-\ufdef]")
_STAND_IN = re.compile(f"({_TYPED}[{_DIGITS[0]}-{_DIGITS[-1]}]*{_FILLER}*)")
_THOUGHT = re.compile("think|thought", re.IGNORECASE)
_PROBE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def shield(tokenizer: Any, text: str) -> str:
    """The text with its control tokens shielded; for `encode_texts`, straight or within other text.
    What looks like a stand-in, though it is no character, becomes U+FFFD."""
    clean = _NO_CHARACTERS.sub("\ufffd", text)
    control = _control(tokenizer)
    return control.pattern.sub(lambda found: control.stand_ins[found[0]], clean)


def shield_turns(tokenizer: Any, turns: Messages) -> Messages:
    """The conversation with its contents shielded."""
    return [turn | {"content": shield(tokenizer, turn["content"])} for turn in turns]


def shield_example(tokenizer: Any, example: Example) -> Example:
    """The example with its texts shielded, where they go into plain text: a wording of the config's
    may hold control tokens that are meant."""

    def shielded(text: str | None) -> str | None:
        return None if text is None else shield(tokenizer, text)

    return replace(
        example,
        question=shield(tokenizer, example.question),
        context=shielded(example.context),
        choices=example.choices and [shield(tokenizer, choice) for choice in example.choices],
        answer=shielded(example.answer),
    )


def unshield(tokenizer: Any, text: str) -> str:
    """The text as it reads; all characters keep their places."""
    return "".join(_parts(tokenizer, text))


def encode_texts(
    tokenizer: Any, texts: Sequence[str], add_special_tokens: bool = False
) -> list[list[int]]:
    """The token ids of each text. Raises UserError where the tokenizer can't tell typed control
    tokens from real ones."""
    if not texts:
        return []
    if not any(_TYPED in text for text in texts):
        return tokenizer(list(texts), add_special_tokens=add_special_tokens)["input_ids"]
    return [encode_with_offsets(tokenizer, text, add_special_tokens)[0] for text in texts]


def encode_with_offsets(
    tokenizer: Any, text: str, add_special_tokens: bool = False
) -> tuple[list[int], list[tuple[int, int]]]:
    """The token ids of a text, and the range of characters of each, as `unshield` reads it."""
    if _TYPED not in text:
        how = {"add_special_tokens": add_special_tokens, "return_offsets_mapping": True}
        found = tokenizer(text, **how)
        return list(found["input_ids"]), list(found["offset_mapping"])
    twin, parts = _twin(tokenizer), _parts(tokenizer, text)
    named = [twin.named(part) if i % 2 == 0 else part for i, part in enumerate(parts)]
    found = twin.tokenizer.encode("".join(named), add_special_tokens=add_special_tokens)
    twin.require_text(found, named[::2], parts)
    return twin.real_ids(found), list(found.offsets)


def _parts(tokenizer: Any, text: str) -> list[str]:
    """What the template printed and what was typed, in turn."""
    parts = _STAND_IN.split(text)
    if len(parts) > 1:
        typed = _control(tokenizer).typed
        parts[1::2] = [typed[part] for part in parts[1::2]]
    return parts


@dataclass(frozen=True)
class _Control:
    """A tokenizer's control tokens."""

    pattern: re.Pattern
    stand_ins: dict[str, str]

    @property
    def typed(self) -> dict[str, str]:
        return {stand_in: token for token, stand_in in self.stand_ins.items()}


@lru_cache(maxsize=8)
def _control(tokenizer: Any) -> _Control:
    tokens = sorted(_control_tokens(tokenizer), key=lambda token: (len(token), token))
    # Of two that begin alike the longer one is meant.
    either = "|".join(re.escape(token) for token in reversed(tokens)) or "(?!)"
    return _Control(
        re.compile(either),
        {token: _named(_TYPED, i, len(token)) for i, token in enumerate(tokens)},
    )


def _control_tokens(tokenizer: Any) -> set[str]:
    """Special tokens, and those that the template prints around turns whatever they are called."""
    added = tokenizer.added_tokens_decoder.values()
    found = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    printed = _around_turns(tokenizer)
    found |= {t.content for t in added if len(t.content.strip()) > 2 and t.content in printed}
    return {token for token in found if token.strip() and not _THOUGHT.search(token)}


def _around_turns(tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        return ""
    try:
        asked = render_chat(tokenizer, _PROBE[:1], reply_next=True)
        return asked + render_chat(tokenizer, _PROBE, reply_next=False)
    except TemplateError:
        return ""


def _named(start: str, number: int, length: int) -> str:
    """A name of `length` code points for the token of this number."""
    digits = "".join(_DIGITS[int(digit, 16)] for digit in f"{number:x}")
    if len(digits) >= length and number:
        raise UserError(f"tokenizer: found more short control tokens than can be told: {number}")
    return (start + digits)[:length].ljust(length, _FILLER)


@dataclass(frozen=True)
class _Twin:
    """The tokenizer, with other names for its control tokens."""

    tokenizer: Tokenizer
    control: _Control
    names: dict[str, str]
    ids: dict[int | None, int]
    """Of added tokens, the twin's id → the real one."""
    controls: frozenset[int]
    """Real ids of the control tokens."""

    def named(self, printed: str) -> str:
        """Printed text with the twin's names."""
        return self.control.pattern.sub(lambda found: self.names[found[0]], printed)

    def real_ids(self, found: Encoding) -> list[int]:
        """What the tokenizer adds around a text has its real id already."""
        pairs = zip(found.ids, found.special_tokens_mask, strict=True)
        return [i if added else self.ids.get(i, i) for i, added in pairs]

    def require_text(self, found: Encoding, printed: Sequence[str], parts: Sequence[str]) -> None:
        """Holds the control tokens against those that were printed; `parts` are what was printed
        and what was typed, in turn, as they read."""
        pairs = zip(self.real_ids(found), found.special_tokens_mask, strict=True)
        count = sum(i in self.controls for i, added in pairs if not added)
        if count != sum(part.count(_PRINTED) for part in printed):
            raise UserError(
                f"tokenizer: found {parts[1]!r} typed in a text ({_excerpt(parts)!r}), which this "
                "tokenizer cannot tell from the control token itself; expected text without it"
            )


def _excerpt(parts: Sequence[str]) -> str:
    """What stands around the first typed token, to find the record by."""
    before, typed, after = parts[:3]
    return before[-40:] + typed + after[:40]


@lru_cache(maxsize=2)
def _twin(tokenizer: Any) -> _Twin:
    if not tokenizer.is_fast:
        raise UserError(
            "tokenizer: found a control token typed in a text and a tokenizer in Python, which "
            "cannot tell it from a real one; expected a fast tokenizer"
        )
    control = _control(tokenizer)
    names = {token: _PRINTED + name[1:] for token, name in control.stand_ins.items()}
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    real = {}
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
        real[token["content"]] = token["id"]
    twin = Tokenizer.from_str(json.dumps(state))
    twin.no_truncation()
    twin.no_padding()
    ids = {twin.token_to_id(content): number for content, number in real.items()}
    controls = frozenset(real[name] for name in names.values() if name in real)
    return _Twin(twin, control, names, ids, controls)
