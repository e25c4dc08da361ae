"""Replies of one state under one protocol, from files to files."""

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from snaketune.config.base import thinking_mode
from snaketune.config.evaluation import TaskName
from snaketune.data.example import Example, read_sample
from snaketune.inference.ledger import Ledger, Provenance, wanted_by_key
from snaketune.inference.pick import Sampling
from snaketune.inference.session import LoadableState, Session, identity_of, open_session, run_job
from snaketune.inference.shards import WHOLE, Shard
from snaketune.prompts.control_tokens import encode_texts
from snaketune.prompts.conversation import read_worked
from snaketune.prompts.form import (
    Form,
    Opening,
    next_example,
    opening_tokens,
    prompt_opening,
    template_thought_end,
)
from snaketune.prompts.thoughts import (
    ThoughtBudget,
    ThoughtWatch,
    answer_apart,
    opened_thought,
)
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
    thinking: str | dict[str, int] | None = None
    """`on`, `off` or `{budget: N}`."""

    @property
    def budget(self) -> int | None:
        """Tokens of a thought at most; `max_new_tokens` are then the answer's alone."""
        return self.thinking["budget"] if isinstance(self.thinking, dict) else None

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
            thinking_mode(self.thinking),
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
    shots = read_worked(few_shot, protocol.few_shot)
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
    session = open_session(state, state.answered_by(protocol.backend))
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
        _budgets(session, protocol, [openings[i] for i in missing]),
    )
    places = list(missing)
    for text in texts:
        at = places[text.index]
        about = {"prompt_tokens": len(prompts[at]), "new_tokens": text.new_tokens}
        sample = {"sample": text.sample} if protocol.temperature else {}
        said = spoken(session.tokenizer, text.tokens, openings[at], text.thought)
        ended: dict[str, Any] = {"finish": text.finish}
        if shots and not protocol.chat:
            ended |= until_next(said, next_example(protocol.form))
        ledger.append({"id": asked[at].id, **sample, **said, **about, **ended})
        progress.advance()
    example = session.tokenizer.decode(prompts[0]) if prompts else None
    return session.meta(ledger.records.values()) | {"example_prompt": example}


def _budgets(
    session: Session, protocol: GenerationProtocol, openings: list[Opening]
) -> list[ThoughtBudget] | None:
    """Of the thoughts of each reply; None where they are as long as they are."""
    if protocol.budget is None:
        return None
    tokenizer = session.tokenizer
    end = template_thought_end(tokenizer, protocol.form, session.name)
    [closing] = encode_texts(tokenizer, [end])
    decode = partial(tokenizer.decode, skip_special_tokens=False)
    return [
        ThoughtBudget(
            protocol.budget,
            protocol.max_new_tokens,
            closing,
            bool(opened_thought(before.whole)),
            decode,
        )
        for before in openings
    ]


def _missing(asked: list[Example], samples: int, ledger: Ledger) -> dict[int, list[int]]:
    """Place of an example → the samples of it that aren't there yet; none without one."""
    wanted = {
        i: [s for s in range(samples) if (e.id, s) not in ledger.records]
        for i, e in enumerate(asked)
    }
    return {i: numbers for i, numbers in wanted.items() if numbers}


def spoken(
    tokenizer: Any, tokens: list[int], before: Opening, thought: ThoughtWatch | None = None
) -> dict[str, Any]:
    """The answer of a reply as `output`, and where it has thoughts these and their length: they
    are no part of what is scored. Thoughts that do not end leave no answer; those that a budget
    ended are marked."""
    if thought and thought.cut_at is not None:
        said = _cut(tokenizer, tokens, thought.cut_at, thought.answer_at)
        return {**said, "thoughts_over_budget": thought.over}
    whole = tokenizer.decode(tokens, skip_special_tokens=False)
    said = answer_apart(whole, opened=bool(opened_thought(before.whole)))
    if "thoughts" not in said:
        return {"output": tokenizer.decode(tokens, skip_special_tokens=True)}
    count = len(tokenizer(said["thoughts"], add_special_tokens=False)["input_ids"])
    answer = _without_specials(tokenizer, said["output"])
    within = {"thoughts_over_budget": False} if thought else {}
    return {**said, "output": answer, "thought_tokens": count, **within}


def until_next(said: dict[str, Any], beginning: str) -> dict[str, Any]:
    """What changes of a reply that goes on with a next example, which begins so: it ends there.
    What came behind is kept as `beyond`."""
    output, found, behind = said["output"].partition(beginning)
    return {"output": output, "beyond": found + behind, "finish": "stop"} if found else {}


def _cut(tokenizer: Any, tokens: list[int], cut: int, answer: int | None) -> dict[str, Any]:
    """A reply whose thought was closed by force at `cut`. What the model thinks on behind that is
    no answer either."""
    said = tokenizer.decode(tokens[answer:], skip_special_tokens=True) if answer else ""
    return {
        "output": said.lstrip("\n"),
        "thoughts": tokenizer.decode(tokens[:cut], skip_special_tokens=False),
        "thoughts_ended": answer is not None,
        "thought_tokens": cut,
    }


def _without_specials(tokenizer: Any, text: str) -> str:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer.decode(ids, skip_special_tokens=True)
