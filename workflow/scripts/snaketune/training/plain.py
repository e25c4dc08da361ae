"""Training rows in plain text: a prompt, its reply and the end token, without a chat template."""

from typing import Any

from snaketune.control_tokens import encode_with_offsets, unshield
from snaketune.training.rows import IGNORED, Row, RowError


def build_plain_row(tokenizer: Any, prompt: str, reply: str) -> Row:
    """The row of `prompt`, a space (or the white space that the prompt ends with) and `reply`, both
    with control tokens shielded.

    Text is tokenised once, with the tokenizer's special tokens, as options are when they are
    scored. Trained are the reply, with the space before it, and the end token. Raises `RowError`
    where the reply starts inside a token or does not decode to itself.
    """
    start, reply = prompt.rstrip(), reply.strip()
    if not reply:
        raise RowError("an empty reply")
    text = f"{start}{prompt[len(start) :] or ' '}{reply}"
    ids, offsets = encode_with_offsets(tokenizer, text, add_special_tokens=True)
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
