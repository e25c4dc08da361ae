"""Training rows: token ids, and a verified mask of what is learned, of a conversation or of plain
text (a prompt, its reply and the end token).

A conversation is rendered once and tokenised once. Which characters are replies is asked of the
template itself: the replies are rendered a second time between marks, and the marks' places are
read off. So no prompt is tokenised apart from its reply, and templates that rewrite or drop parts
of earlier replies cannot shift a mask.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from snaketune.prompts.control_tokens import (
    encode_texts,
    encode_with_offsets,
    shield,
    shield_turns,
    unshield,
)
from snaketune.prompts.conversation import Messages, closing_text, render_chat
from snaketune.prompts.form import Form, Opening, opening
from snaketune.prompts.thoughts import holds_thoughts, opened_thought, split_thoughts

IGNORED = -100
"""Label of a token that carries no loss."""

AS_IT_IS = Form("open_qa")
"""A conversation under the template as it comes."""

_REWRITTEN = "the chat template does not print the reply as it was written"

# Marks are private-use characters: no template trims them, no text should hold them.
_FIRST_MARK, _LAST_MARK = 0xE000, 0xF8FF


class RowError(Exception):
    """Why a conversation makes no training row."""


@dataclass(frozen=True)
class Row:
    """`input_ids` and `labels` of one length; `labels[i]` is `input_ids[i]` or `IGNORED`."""

    input_ids: list[int]
    labels: list[int]
    only_context: int = 0
    """Replies to learn that the template prints otherwise than they were written."""

    @property
    def trained_tokens(self) -> int:
        """Tokens that carry loss."""
        return sum(label != IGNORED for label in self.labels)


def build_row(
    tokenizer: Any,
    messages: Messages,
    form: Form = AS_IT_IS,
    learned: Collection[int] | None = None,
) -> Row:
    """The row of a conversation whose last turn is the assistant's, in this form; its prefix, which
    opens the reply, belongs to the prompt.

    Trained are the replies (those `learned`, by their places), each with the token that ends its
    turn. An earlier reply that the template prints otherwise than it was written (without its
    thoughts, say) is context only. What stands before the last reply are the tokens of the prompt
    that asks for it. Raises `RowError` where a mask cannot be placed or does not decode to the
    reply.
    """
    messages = _shielded(tokenizer, [_stripped(message) for message in messages], form.reply_prefix)
    text, spans = reply_spans(tokenizer, messages, form)
    replies = {i for i, message in enumerate(messages) if message["role"] == "assistant"}
    wanted = replies if learned is None else replies.intersection(learned)
    if not wanted & spans.keys():
        raise RowError(_REWRITTEN if wanted else "no reply is marked to be learned")
    ids, offsets = encode_behind(tokenizer, text, spans[len(messages) - 1][0])
    text = unshield(tokenizer, text)
    labels = [IGNORED] * len(ids)
    ends = set()
    for start, end in (spans[i] for i in sorted(wanted & spans.keys())):
        first, last = _token_span(tokenizer, text, ids, offsets, start, end)
        _verify(tokenizer, text[start : offsets[last][1]], ids[first : last + 1])
        labels[first : last + 1] = ids[first : last + 1]
        ends.add(ids[last])
    if len(ends) != 1:
        more = "; with train_on: last only the last one is learned"
        raise RowError(f"the template ends its replies with different tokens{more}")
    return Row(ids, labels, len(wanted - spans.keys()))


def encode_behind(
    tokenizer: Any, text: str, start: int, special: bool = False
) -> tuple[list[int], list[tuple[int, int]]]:
    """The token ids of a text and the characters of each; those of the prompt, up to `start`, are
    the ids that it has by itself. Where a token would span the join the two are tokenised apart:
    a prompt that is asked ends with whole tokens too."""
    ids, offsets = encode_with_offsets(tokenizer, text, add_special_tokens=special)
    if next((begin for begin, stop in offsets if stop > start), start) >= start:
        head = encode_texts(tokenizer, [text[:start]], special)[0]
        if special or ids[: len(head)] == head:
            return ids, offsets
    head, places = encode_with_offsets(tokenizer, text[:start], add_special_tokens=special)
    if special and head and head[-1] == tokenizer.eos_token_id:
        head, places = head[:-1], places[:-1]
    tail, behind = encode_with_offsets(tokenizer, text[start:])
    moved = [(begin + start, stop + start) for begin, stop in behind]
    return [*head, *tail], [*places, *moved]


def reply_spans(
    tokenizer: Any, messages: Messages, form: Form = AS_IT_IS
) -> tuple[str, dict[int, tuple[int, int]]]:
    """The text of the row and the character ranges of the replies that it prints whole, by place.

    The last range starts where the prompt ends that inference would use, and ends with the reply,
    before the end-of-turn token.
    """
    if messages[-1]["role"] != "assistant":
        raise RowError("the conversation does not end with a reply")
    turns, written = messages[:-1], messages[-1]["content"]
    thoughts = holds_thoughts(written)
    before = opening(tokenizer, turns, form, thoughts=thoughts, strict=True)
    reply, rest = _printed_reply(tokenizer, messages, form, before)
    spans = _earlier_spans(tokenizer, turns, form)
    whole = before.whole + reply
    return whole + rest, {**spans, len(turns): (len(before.text), len(whole))}


def _printed_reply(
    tokenizer: Any, messages: Messages, form: Form, before: Opening
) -> tuple[str, str]:
    """The last reply as the template prints it behind `before`, and what it prints behind that, up
    to the end of the turn."""
    written = messages[-1]["content"]
    text = render_chat(tokenizer, messages, reply_next=False, **form.options)
    places = _mark_places(tokenizer, messages, [len(messages) - 1], text, form)
    start, end = places.get(0), places.get(1)
    if end is None:
        raise RowError(_REWRITTEN)
    if start is not None and _same(text[start:end], written):
        reply = text[start:end]
    elif not holds_thoughts(written):
        raise RowError(_REWRITTEN)
    else:
        reply = _with_thoughts(text[:end], written, before.whole)
    rest = text[end:] if text[end:].strip() else closing_text(tokenizer, form.options)
    reply = reply.removeprefix(opened_thought(before.whole)) if start is not None else reply
    if form.reply_prefix:
        reply = reply.lstrip()
        if not reply.startswith(form.reply_prefix):
            raise RowError("the chat template does not print the reply's prefix as it was written")
        reply = reply[len(form.reply_prefix) :]
    return reply, rest


def _with_thoughts(text: str, written: str, before: str) -> str:
    """A reply whose thoughts the template moves, as it prints it behind the prompt `before`; or as
    it was written, where it prints replies without their thoughts."""
    opened = opened_thought(before)
    if text.startswith(before) and _same(opened + text[len(before) :], written):
        return text[len(before) :]
    answer = split_thoughts(written)[1] or ""
    if not answer or not text.rstrip().endswith(answer.strip()):
        raise RowError(_REWRITTEN)
    return written.removeprefix(opened.strip()).lstrip() if opened else written


def _earlier_spans(tokenizer: Any, turns: Messages, form: Form) -> dict[int, tuple[int, int]]:
    """Where the prompt prints earlier replies whole."""
    replies = [i for i, m in enumerate(turns) if m["role"] == "assistant"]
    if not replies:
        return {}
    text = render_chat(tokenizer, turns, reply_next=True, **form.options)
    places = _mark_places(tokenizer, turns, replies, text, form, reply_next=True)
    spans = {}
    for order, index in enumerate(replies):
        start, end = places.get(2 * order), places.get(2 * order + 1)
        if start is None or end is None:
            continue
        if _same(text[start:end], turns[index]["content"]):
            # Blanks before a reply are read with its first word.
            spans[index] = len(text[:start].rstrip(" \t")), end
    return spans


def _stripped(message: dict[str, str]) -> dict[str, str]:
    """Most templates trim replies; white space around one carries nothing."""
    if message["role"] != "assistant":
        return message
    content = message["content"].strip()
    if not content:
        raise RowError("an empty reply")
    return {**message, "content": content}


def _shielded(tokenizer: Any, messages: Messages, prefix: str) -> Messages:
    """The contents with control tokens shielded, but not those of the config's prefix: inference
    puts it behind the rendered prompt as it is."""
    shielded = shield_turns(tokenizer, messages)
    last = messages[-1]["content"]
    if prefix and last.startswith(prefix):
        shielded[-1]["content"] = prefix + shield(tokenizer, last[len(prefix) :])
    return shielded


def _mark_places(
    tokenizer: Any,
    messages: Messages,
    replies: list[int],
    text: str,
    form: Form,
    reply_next: bool = False,
) -> dict[int, int]:
    """Places in `text` of mark 2k (start of the k-th reply) and 2k + 1 (its end), where found."""
    if 2 * len(replies) > _LAST_MARK - _FIRST_MARK:
        raise RowError(f"{len(replies)} replies in one conversation")
    marked = [dict(m) for m in messages]
    for order, index in enumerate(replies):
        start, end = chr(_FIRST_MARK + 2 * order), chr(_FIRST_MARK + 2 * order + 1)
        marked[index]["content"] = f"{start}{marked[index]['content']}{end}"
    out = render_chat(tokenizer, marked, reply_next=reply_next, **form.options)
    is_mark = [_FIRST_MARK <= ord(c) <= _LAST_MARK for c in out]
    if "".join(c for c, mark in zip(out, is_mark, strict=True) if not mark) != text:
        raise RowError("the chat template prints other text when a reply changes")
    before = accumulate(is_mark, initial=0)
    return {
        ord(c) - _FIRST_MARK: place - marks
        for place, (c, mark, marks) in enumerate(zip(out, is_mark, before, strict=False))
        if mark
    }


def _token_span(
    tokenizer: Any, text: str, ids: list[int], offsets: list[tuple[int, int]], start: int, end: int
) -> tuple[int, int]:
    """Indices of the first reply token and of the end-of-turn token behind the reply."""
    first = next((i for i, (_, stop) in enumerate(offsets) if stop > start), None)
    if first is None or offsets[first][0] < start:
        raise RowError("the reply starts inside a token")
    last = next((i for i, (begin, _) in enumerate(offsets) if begin >= end), None)
    # Some templates print a line end between the reply and the end of the turn.
    while last is not None and not text[slice(*offsets[last])].strip():
        last = last + 1 if last + 1 < len(ids) else None
    if last is None or ids[last] not in _end_tokens(tokenizer):
        raise RowError("no end-of-turn token follows the reply")
    return first, last


def _end_tokens(tokenizer: Any) -> set[int]:
    """Ids that may end a turn: special tokens, but not the one that opens a text."""
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    ends = {*tokenizer.all_special_ids, *added}
    if tokenizer.bos_token_id != tokenizer.eos_token_id:
        ends.discard(tokenizer.bos_token_id)
    return ends


def _verify(tokenizer: Any, printed: str, ids: list[int]) -> None:
    """Decodes what the loss will see and holds it against the text."""
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    if not _same(decoded, printed):
        raise RowError(f"the trained tokens decode to {decoded[:80]!r}, not {printed[:80]!r}")


def _same(one: str, other: str) -> bool:
    """Equal but for white space, which templates and decoders may add or take."""
    return one == other or "".join(one.split()) == "".join(other.split())


def build_plain_row(tokenizer: Any, prompt: str, reply: str) -> Row:
    """The row of `prompt`, a space (or the white space that the prompt ends with) and `reply`, both
    with control tokens shielded.

    Text is tokenised once, with the tokenizer's special tokens, as options are when they are
    scored. Trained are the reply, with the space before it, and the end token. Raises `RowError`
    where the reply does not decode to itself.
    """
    start, reply = prompt.rstrip(), reply.strip()
    if not reply:
        raise RowError("an empty reply")
    text = f"{start}{prompt[len(start) :] or ' '}{reply}"
    ids, offsets = encode_behind(tokenizer, text, len(start), special=True)
    reply = unshield(tokenizer, reply)
    end = tokenizer.eos_token_id
    if end is None:
        raise RowError("the tokenizer has no end token")
    last = len(ids) - (ids[-1] == end)
    first = next((i for i, (_, stop) in enumerate(offsets) if stop > len(start)), last)
    if first == last or offsets[first][0] < len(start):
        raise RowError("the reply starts inside a token")
    decoded = tokenizer.decode(ids[first:last])
    if "".join(decoded.split()) != "".join(reply.split()):
        raise RowError(f"the trained tokens decode to {decoded[:80]!r}, not {reply[:80]!r}")
    ids = [*ids[:last], end]
    return Row(ids, [IGNORED] * first + ids[first:])
