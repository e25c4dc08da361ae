"""Replies of one state under one protocol, from files to files."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snaketune.config.evaluation import TaskName
from snaketune.data.example import Example
from snaketune.data.sampling import read_asked
from snaketune.errors import UserError
from snaketune.identity import file_hash
from snaketune.inference.backends import Backend, open_session
from snaketune.inference.ledger import Ledger
from snaketune.inference.overlong import report_overlong
from snaketune.inference.pick import Sampling
from snaketune.inference.prompts import prompt_tokens
from snaketune.inference.resume import identity_of, open_ledger
from snaketune.inference.session import Session, Text
from snaketune.inference.shards import WHOLE, Shard
from snaketune.inference.state import State
from snaketune.jsonl import write_json
from snaketune.progress import Progress
from snaketune.tasks.conversation import messages


@dataclass(frozen=True)
class Protocol:
    """What it is asked."""

    task: TaskName
    system: str | None
    few_shot: int
    sample: dict[str, Any] | None
    max_new_tokens: int
    batch_size: int | str
    samples: int = 1
    """Replies to each example; more than one needs a temperature."""
    temperature: float | None = None
    """None: greedy."""
    top_p: float = 1.0
    seed: int = 0
    backend: Backend = "transformers"
    prompt: str | None = None
    """The user turn, with `{question}`; None: the task's own."""
    reply_prefix: str = ""
    """Opens the reply, as part of the prompt."""

    def sampling(self) -> Sampling | None:
        """How replies are drawn; None: greedy."""
        if self.temperature:
            return Sampling(self.temperature, self.top_p, self.seed)
        if self.samples > 1:
            raise UserError(
                f"protocol: found samples: {self.samples} without a temperature above 0, which "
                "would give the same reply every time"
            )
        return None


def generate(
    state: State,
    protocol: Protocol,
    examples: Path,
    few_shot: Path | None,
    work: Path,
    predictions: Path,
    meta: Path,
    shard: Shard = WHOLE,
    code: str = "",
) -> None:
    """Writes a line a reply, in the order of the sampled examples, and how they were made.

    A job that was killed goes on with the replies that are missing, if nothing has changed, the
    code (its hash) included. Of an eval in shards only the
    examples of `shard` are asked.
    """
    sampling = protocol.sampling()
    asked = shard.of(read_asked(examples, protocol.sample))
    shots = _shots(few_shot, protocol.few_shot)
    identity = identity_of(
        state.model,
        code,
        state=state.identity(),
        protocol=asdict(protocol),
        examples=file_hash(examples),
        shots=shots,
        shard=asdict(shard),
    )
    with open_ledger(work, identity) as ledger:
        session = open_session(state, protocol.backend)
        words = {"task": protocol.task, "system": protocol.system, "prompt": protocol.prompt}
        turns = [messages(e, shots=shots, **words) for e in asked]
        prompts = prompt_tokens(session.tokenizer, turns, session.name, protocol.reply_prefix)
        keys = [(e.id, s) for e in asked for s in range(protocol.samples)]
        missing = _missing(asked, protocol.samples, ledger)
        progress = Progress(len(keys), "replies", done=ledger.resumed)
        texts = session.replies(
            [prompts[i] for i in missing],
            protocol.max_new_tokens,
            protocol.batch_size,
            sampling,
            list(missing.values()),
            [asked[i].id for i in missing],
        )
        places = list(missing)
        for text in texts:
            at = places[text.index]
            ledger.append(_record(asked[at].id, text, len(prompts[at]), session, protocol))
            progress.advance()
        records = ledger.records.values()
        report_overlong(records, session.context, "prompts")
        write_json(
            meta,
            session.meta(records)
            | {
                "quantisation": state.quantisation,
                "protocol": asdict(protocol),
                "resumed_records": ledger.resumed,
                "example_prompt": session.tokenizer.decode(prompts[0]) if prompts else None,
            },
        )
        ledger.publish(predictions, keys)


def _shots(path: Path | None, count: int) -> list[dict[str, str]]:
    """The first `count` examples of the few-shot file."""
    if not count:
        return []
    shots = json.loads(path.read_text(encoding="utf-8"))[:count]
    if len(shots) < count:
        raise UserError(f"{path}: found {len(shots)} few-shot examples, expected {count}")
    return [{"question": s["question"], "answer": s["answer"]} for s in shots]


def _missing(asked: list[Example], samples: int, ledger: Ledger) -> dict[int, list[int]]:
    """Place of an example → the samples of it that aren't there yet; none without one."""
    wanted = {
        i: [s for s in range(samples) if (e.id, s) not in ledger.records]
        for i, e in enumerate(asked)
    }
    return {i: numbers for i, numbers in wanted.items() if numbers}


def _record(
    identifier: str, text: Text, prompt_tokens: int, session: Session, protocol: Protocol
) -> dict[str, Any]:
    return {
        "id": identifier,
        **({"sample": text.sample} if protocol.samples > 1 else {}),
        "output": session.tokenizer.decode(text.tokens, skip_special_tokens=True),
        "prompt_tokens": prompt_tokens,
        "new_tokens": text.new_tokens,
        "finish": text.finish,
    }
