"""Rewards of replies by a reward model: the job, from files to files, then the passes.

Shapes: B rows of a pass, T tokens of the longest one. A pass costs as much as reading B x T
tokens; rows are sorted by length, so little of that is padding.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from snaketune.config.model import ModelSpec
from snaketune.data.example import read_examples
from snaketune.inference.ledger import (
    Ledger,
    Provenance,
    count_records,
    key_fields,
    record_key,
    wanted_by_reply,
)
from snaketune.inference.memory import halving
from snaketune.inference.session import OVERLONG, SCORED, identity_of, run_job
from snaketune.models.content import model_identity
from snaketune.models.describe import context_length
from snaketune.models.finite import require_finite
from snaketune.models.folder import load_tokenizer
from snaketune.models.load import load_reward_model, pick_device
from snaketune.prompts.control_tokens import encode_texts, shield_turns
from snaketune.prompts.conversation import Messages, join_with_space, render_chat, template_hash
from snaketune.runtime.content import file_hash
from snaketune.runtime.files import read_jsonl
from snaketune.runtime.job import Progress
from snaketune.runtime.machine import library_versions, resource_usage

_TOKENS = {"cuda": 16384, "cpu": 2048}  # in one forward pass


def reward_tokens(tokenizer: Any, conversations: Sequence[Messages]) -> list[list[int]]:
    """Token ids of whole conversations, each with exactly one beginning-of-text token where the
    tokenizer has one, whoever prints it, template or tokenizer."""
    shielded = (shield_turns(tokenizer, turns) for turns in conversations)
    rows = encode_texts(
        tokenizer, [render_chat(tokenizer, turns, reply_next=False) for turns in shielded]
    )
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
    pad = _pad_token({end_token, *(row[-1] for row in rows)})
    model.config.get_text_config().pad_token_id = model.config.pad_token_id = pad
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)  # [B, T]
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(width, device=device)[None] < lengths[:, None]

    def read() -> torch.Tensor:
        return model(input_ids=ids, attention_mask=mask.long()).logits[:, 0]  # [B]

    scores = read()
    require_finite(scores, model, read, f"a pass that begins with reply {group[0][0] + 1}")
    return [(i, s) for (i, _), s in zip(group, scores.float().tolist(), strict=True)]


def _pad_token(taken: set[int | None]) -> int:
    """A token id that ends no row. It stands behind the mask, so any other will do."""
    return next(i for i in range(len(taken) + 1) if i not in taken)


def reward(
    spec: ModelSpec,
    reply_prefix: str,
    predictions: Path,
    examples: Path,
    work: Path,
    rewards: Path,
    meta: Path,
    version: int = 0,
) -> None:
    """Writes a line a prediction, in their order: `id`, `sample` where there are several, and
    `reward`; null for an empty reply, which is not scored, and for one that is longer, with its
    prompt, than the reward model's context. What a job before made of the same reply is taken;
    where none is missing, the reward model is not loaded."""
    replies = list(read_jsonl(predictions))
    identity = identity_of(
        spec,
        version,
        model=model_identity(spec),
        reply_prefix=reply_prefix,
        examples=file_hash(examples),
    )
    run_job(
        work,
        identity,
        wanted_by_reply(replies),
        rewards,
        meta,
        make=lambda ledger: _score(spec, replies, examples, reply_prefix, ledger),
        settled=(_record(r, None, "empty") for r in replies if not r["output"].strip()),
        things="replies with their prompts",
    )


def _score(
    spec: ModelSpec, replies: list[dict], examples: Path, reply_prefix: str, ledger: Ledger
) -> Provenance:
    """Appends the rewards that are missing; how all were made."""
    model, tokenizer = load_reward_model(spec, pick_device()), load_tokenizer(spec)
    context = context_length(model.config)
    said = [r for r in replies if r["output"].strip()]
    rows = reward_tokens(tokenizer, _conversations(said, examples, reply_prefix))
    fits = [i for i, row in enumerate(rows) if len(row) <= (context or len(row))]
    for i in set(range(len(said))) - set(fits):
        ledger.settle(_record(said[i], None, OVERLONG))
    missing = [place for place, i in enumerate(fits) if record_key(said[i]) not in ledger.records]
    progress = Progress(len(replies), "rewards", done=len(ledger.records))
    start = time.monotonic()
    found = score_rewards(model, [rows[i] for i in fits], tokenizer.eos_token_id, missing)
    for place, value in found:
        ledger.append(_record(said[fits[place]], value, SCORED))
        progress.advance()
    return {
        "finishes": count_records(ledger.records.values())["finishes"],
        "context_length": context,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(next(model.parameters()).device),
        "template_hash": template_hash(tokenizer),
        "seconds": round(time.monotonic() - start, 3),
        "versions": library_versions(),
        **resource_usage(),
    }


def _conversations(replies: Sequence[dict], examples: Path, prefix: str) -> list[Messages]:
    """Question and reply with its prefix, without a system turn."""
    asked = {e.id: e.prompt for e in read_examples(examples)}
    return [
        [
            {"role": "user", "content": asked[r["id"]]},
            {"role": "assistant", "content": join_with_space(prefix, r["output"])},
        ]
        for r in replies
    ]


def _record(reply: dict, value: float | None, finish: str) -> dict[str, Any]:
    return {**key_fields(reply), "reward": value, "finish": finish}
