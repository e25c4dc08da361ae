"""Rewards of predictions, from files to files."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snaketune.chat import Messages, template_hash
from snaketune.config.model import ModelSpec
from snaketune.data.example import read_examples
from snaketune.identity import file_hash
from snaketune.inference.ledger import Ledger, key
from snaketune.inference.rewards import reward_tokens, score_rewards
from snaketune.jsonl import read_jsonl, write_json
from snaketune.machine import library_versions
from snaketune.modeling.describe import context_length
from snaketune.modeling.load import load_reward_model, load_tokenizer, pick_device
from snaketune.progress import Progress
from snaketune.tasks.conversation import opened
from snaketune.usage import usage
from snaketune.workfolder import finish, work_folder


def reward(
    spec: ModelSpec,
    content: str,
    reply_prefix: str,
    predictions: Path,
    examples: Path,
    work: Path,
    rewards: Path,
    meta: Path,
) -> None:
    """Writes a line a prediction, in their order: `id`, `sample` where there are several, and
    `reward`; null for an empty reply, which is not scored. Goes on after a kill."""
    replies = list(read_jsonl(predictions))
    identity = {
        "model": spec.model_dump(mode="json"),
        "content": content,
        "reply_prefix": reply_prefix,
        "inputs": [file_hash(f) for f in (predictions, examples)],
    }
    folder = work_folder(work, identity)
    ledger = Ledger(folder / "rewards.jsonl")
    resumed = len(ledger.records)
    for reply in replies:
        if key(reply) not in ledger.records and not reply["output"].strip():
            ledger.append(_record(reply, None))
    missing = [r for r in replies if key(r) not in ledger.records]
    model, tokenizer = load_reward_model(spec, pick_device()), load_tokenizer(spec)
    rows = reward_tokens(tokenizer, _conversations(missing, examples, reply_prefix))
    progress = Progress(len(replies), "rewards", done=len(ledger.records))
    start = time.monotonic()
    found = score_rewards(model, rows, tokenizer.eos_token_id, context_length(model.config))
    for place, value in found:
        ledger.append(_record(missing[place], value))
        progress.advance()
    about = {
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(next(model.parameters()).device),
        "template_hash": template_hash(tokenizer),
        "seconds": round(time.monotonic() - start, 3),
        "resumed_records": resumed,
        "versions": library_versions(),
        **usage(),
    }
    write_json(meta, about)
    ledger.publish(rewards, [key(r) for r in replies])
    finish(folder)


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


def _record(reply: dict, value: float | None) -> dict[str, Any]:
    sample = {"sample": reply["sample"]} if "sample" in reply else {}
    return {"id": reply["id"], **sample, "reward": value}
