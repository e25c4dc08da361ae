"""Scores of replies by a reward model."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch

from snaketune.inference.memory import halving
from snaketune.prompts.control_tokens import encode, shield_turns
from snaketune.prompts.conversation import Messages, render

_TOKENS = {"cuda": 16384, "cpu": 2048}  # in one forward pass


def reward_tokens(tokenizer: Any, conversations: Sequence[Messages]) -> list[list[int]]:
    """Token ids of whole conversations, each with exactly one beginning-of-text token where the
    tokenizer has one, whoever prints it, template or tokenizer."""
    shielded = (shield_turns(tokenizer, turns) for turns in conversations)
    rows = encode(tokenizer, [render(tokenizer, turns, reply_next=False) for turns in shielded])
    start = tokenizer.bos_token_id
    opens = start is not None and tokenizer("")["input_ids"][:1] == [start]
    return [_one_start(row, start, opens) for row in rows]


def _one_start(row: list[int], start: int | None, opens: bool) -> list[int]:
    """`opens`: the tokenizer itself puts `start` before a text."""
    if start is None or not (opens or row[:1] == [start]):
        return row
    count = next((i for i, token in enumerate(row) if token != start), len(row))
    return [start, *row[count:]]


def score_rewards(
    model: Any,
    rows: Sequence[list[int]],
    end_token: int | None,
    wanted: Collection[int] | None = None,
) -> Iterator[tuple[int, float]]:
    """(place, reward) of the `wanted` rows (unset: of all), longest first. Whatever is wanted, rows
    share their passes with the same others. The score does not depend on the batch but for
    rounding: it is within 1e-4 of a row's score by itself in float32, and coarser in 16 bits."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    wanted = set(order if wanted is None else wanted)
    device = next(model.parameters()).device

    def score(group: list[int]) -> list[tuple[int, float]]:
        return _score_group(model, [(i, rows[i]) for i in group], end_token, device)

    for group in _groups(order, rows, _TOKENS[device.type]):
        if wanted.intersection(group):
            yield from (found for found in halving(score, group) if found[0] in wanted)


def _groups(order: list[int], rows: Sequence[list[int]], tokens: int) -> Iterator[list[int]]:
    """Rows of like length that hold at most `tokens` tokens, padding included."""
    group: list[int] = []
    for i in order:
        if group and (len(group) + 1) * len(rows[group[0]]) > tokens:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


@torch.inference_mode()
def _score_group(
    model: Any, group: list[tuple[int, list[int]]], end_token: int | None, device: torch.device
) -> list[tuple[int, float]]:
    """One pass over rows padded on the right. The model takes its score at the last token that is
    not the pad token, so that token must be no row's last one, and not the end token."""
    rows = [row for _, row in group]
    width = max(map(len, rows))
    pad = _pad_token({row[-1] for row in rows} | {end_token})
    model.config.get_text_config().pad_token_id = model.config.pad_token_id = pad
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(width, device=device)[None] < lengths[:, None]
    scores = model(input_ids=ids, attention_mask=mask.long()).logits[:, 0]
    return [(i, s) for (i, _), s in zip(group, scores.float().tolist(), strict=True)]


def _pad_token(taken: set[int | None]) -> int:
    """A token id that ends no row. It stands behind the mask, so any other will do."""
    return next(i for i in range(len(taken) + 1) if i not in taken)
