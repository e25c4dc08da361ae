"""Replies of one state under one protocol, from files to files."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from snaketune.config.base import Thinking
from snaketune.config.evaluation import TaskName
from snaketune.data.example import Example, read_sample
from snaketune.inference.ledger import Ledger, Provenance, wanted_by_key
from snaketune.inference.pick import Sampling
from snaketune.inference.session import LoadableState, identity_of, open_session, run_job
from snaketune.inference.shards import WHOLE, Shard
from snaketune.prompts.form import Form, Opening, opened_thought, opening_tokens, prompt_opening
from snaketune.prompts.thoughts import answer_apart
from snaketune.runtime.content import file_hash
from snaketune.runtime.errors import UserError
from snaketune.runtime.job import Progress


@dataclass(frozen=True)
class GenerationProtocol:
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
    backend: str = "transformers"
    prompt: str | None = None
    """The user turn, with `{question}`; None: the task's own."""
    reply_prefix: str = ""
    """Opens the reply, as part of the prompt."""
    chat: bool = True
    """Under the chat template; else plain text."""
    template_args: dict[str, Any] = field(default_factory=dict)
    thinking: Thinking | None = None

    @property
    def form(self) -> Form:
        """How examples are put."""
        return Form(
            self.task,
            self.system,
            self.prompt,
            self.chat,
            self.reply_prefix,
            self.template_args,
            self.thinking,
        )

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
    state: LoadableState,
    protocol: GenerationProtocol,
    examples: Path,
    few_shot: Path | None,
    work: Path,
    predictions: Path,
    meta: Path,
    shard: Shard = WHOLE,
    version: int = 0,
) -> None:
    """Writes a line a reply, in the order of the sampled examples, and how they were made.

    Replies that a job before made are taken, one that was killed or is done, if nothing that
    decides a reply has changed, the step's version included; where none is missing, no model is
    loaded. Of an eval in shards only the examples of `shard` are asked.
    """
    sampling = protocol.sampling()
    asked = shard.of(read_sample(examples, protocol.sample))
    shots = _shots(few_shot, protocol.few_shot)
    identity = identity_of(
        state.model,
        version,
        state=state.identity(),
        protocol={k: v for k, v in asdict(protocol).items() if k != "samples"},
        examples=file_hash(examples),
        shots=shots,
    )
    run_job(
        work,
        identity,
        wanted_by_key((e.id, s) for e in asked for s in range(protocol.samples)),
        predictions,
        meta,
        make=lambda ledger: _ask(state, protocol, sampling, asked, shots, ledger),
        about={"quantisation": state.quantisation, "protocol": asdict(protocol)},
        shard=shard,
    )


def _ask(
    state: LoadableState,
    protocol: GenerationProtocol,
    sampling: Sampling | None,
    asked: list[Example],
    shots: list[dict[str, str]],
    ledger: Ledger,
) -> Provenance:
    """Appends the replies that are missing; how all were made."""
    session = open_session(state, protocol.backend)
    openings = [
        prompt_opening(session.tokenizer, example, protocol.form, session.name, shots)
        for example in asked
    ]
    prompts = opening_tokens(session.tokenizer, openings, protocol.chat)
    missing = _missing(asked, protocol.samples, ledger)
    progress = Progress(len(asked) * protocol.samples, "replies", done=ledger.resumed)
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
        about = {"prompt_tokens": len(prompts[at]), "new_tokens": text.new_tokens}
        sample = {"sample": text.sample} if protocol.temperature else {}
        said = spoken(session.tokenizer, text.tokens, openings[at])
        ledger.append({"id": asked[at].id, **sample, **said, **about, "finish": text.finish})
        progress.advance()
    example = session.tokenizer.decode(prompts[0]) if prompts else None
    return session.meta(ledger.records.values()) | {"example_prompt": example}


def _shots(path: Path | None, count: int) -> list[dict[str, str]]:
    """The first `count` examples of the few-shot file."""
    if not count or path is None:
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


def spoken(tokenizer: Any, tokens: list[int], before: Opening) -> dict[str, Any]:
    """The answer of a reply as `output`, and where it has thoughts these and their length: they
    are no part of what is scored. Thoughts that do not end leave no answer."""
    whole = tokenizer.decode(tokens, skip_special_tokens=False)
    said = answer_apart(whole, opened=bool(opened_thought(before.whole)))
    if "thoughts" not in said:
        return {"output": tokenizer.decode(tokens, skip_special_tokens=True)}
    count = len(tokenizer(said["thoughts"], add_special_tokens=False)["input_ids"])
    answer = _without_specials(tokenizer, said["output"])
    return {**said, "output": answer, "thought_tokens": count}


def _without_specials(tokenizer: Any, text: str) -> str:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer.decode(ids, skip_special_tokens=True)
