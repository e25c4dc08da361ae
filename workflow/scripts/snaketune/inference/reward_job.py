"""Rewards of predictions, from files to files."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec
from snaketune.data.example import read_examples
from snaketune.inference.ledger import Ledger, of_replies
from snaketune.inference.made import Made, counts
from snaketune.inference.overlong import OVERLONG, SCORED, report_overlong
from snaketune.inference.part import key
from snaketune.inference.resume import identity_of, open_ledger
from snaketune.inference.rewards import reward_tokens, score_rewards
from snaketune.models.content import model_identity
from snaketune.models.describe import context_length
from snaketune.models.folder import load_tokenizer
from snaketune.models.load import load_reward_model, pick_device
from snaketune.prompts.conversation import Messages, opened, template_hash
from snaketune.runtime.content import file_hash
from snaketune.runtime.files import read_jsonl
from snaketune.runtime.machine import library_versions
from snaketune.runtime.memory import usage
from snaketune.runtime.progress import Progress


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
    with open_ledger(work, identity, of_replies(replies)) as ledger:
        for reply in replies:
            if not reply["output"].strip():
                ledger.settle(_record(reply, None, "empty"))
        made = ledger.known or _score(spec, replies, examples, reply_prefix, ledger)
        what = "replies with their prompts"
        report_overlong(ledger.records.values(), made["context_length"], what)
        ledger.publish(rewards, meta, made)


def _score(
    spec: ModelSpec, replies: list[dict], examples: Path, reply_prefix: str, ledger: Ledger
) -> Made:
    """Appends the rewards that are missing; how all were made."""
    model, tokenizer = load_reward_model(spec, pick_device()), load_tokenizer(spec)
    context = context_length(model.config)
    said = [r for r in replies if r["output"].strip()]
    rows = reward_tokens(tokenizer, _conversations(said, examples, reply_prefix))
    fits = [i for i, row in enumerate(rows) if len(row) <= (context or len(row))]
    for i in set(range(len(said))) - set(fits):
        ledger.settle(_record(said[i], None, OVERLONG))
    missing = [place for place, i in enumerate(fits) if key(said[i]) not in ledger.records]
    progress = Progress(len(replies), "rewards", done=len(ledger.records))
    start = time.monotonic()
    found = score_rewards(model, [rows[i] for i in fits], tokenizer.eos_token_id, missing)
    for place, value in found:
        ledger.append(_record(said[fits[place]], value, SCORED))
        progress.advance()
    return {
        "finishes": counts(ledger.records.values())["finishes"],
        "context_length": context,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(next(model.parameters()).device),
        "template_hash": template_hash(tokenizer),
        "seconds": round(time.monotonic() - start, 3),
        "versions": library_versions(),
        **usage(),
    }


def _conversations(replies: Sequence[dict], examples: Path, prefix: str) -> list[Messages]:
    """Question and reply with its prefix, without a system turn."""
    asked = {e.id: e.prompt for e in read_examples(examples)}
    return [
        [
            {"role": "user", "content": asked[r["id"]]},
            {"role": "assistant", "content": opened(prefix, r["output"])},
        ]
        for r in replies
    ]


def _record(reply: dict, value: float | None, finish: str) -> dict[str, Any]:
    sample = {"sample": reply["sample"]} if "sample" in reply else {}
    return {"id": reply["id"], **sample, "reward": value, "finish": finish}
