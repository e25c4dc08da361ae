"""An inference job: what it is made of, the model that answers it, and the backends that can.

A job has a state that it loads, a shard that it is, and an identity of its records, which are known
by what decides them (`identity_of`). It makes those that no job of the same identity has made, and
loads no model where none is missing (`run_job`). A backend is one file in `backends/`, by whose
name evals ask for it. It is imported when it is asked for; no other one is.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from snaketune.config.model import ModelSpec, Quantisation
from snaketune.inference.backends import OF_EXPORTS
from snaketune.inference.decode import Finish, Reply
from snaketune.inference.ledger import Ledger, Provenance, RecordKey, count_records
from snaketune.inference.pick import Sampling
from snaketune.inference.shards import WHOLE, Shard
from snaketune.models.content import model_identity
from snaketune.models.folder import pinned
from snaketune.models.load import Weights, pick_device, pick_dtype
from snaketune.prompts.conversation import template_hash
from snaketune.prompts.thoughts import ThoughtBudget, ThoughtWatch
from snaketune.runtime.content import content_hashes
from snaketune.runtime.errors import UserError
from snaketune.runtime.machine import library_versions, resource_usage
from snaketune.runtime.workfolder import held, work_folder

SCORED, OVERLONG = "scored", "overlong"
_LISTED = 20


@dataclass(frozen=True)
class LoadableState:
    """A state's weights, wherever they lie."""

    model: ModelSpec
    quantisation: Quantisation
    weights: Weights
    files: Sequence[Path]

    @classmethod
    def from_params(
        cls, params: Mapping[str, Any], pin: str, files: Iterable[str] = ()
    ) -> "LoadableState":
        """From a rule's params (model, quantisation, weights) and its input files: the `pin` of the
        base, and the state's own weights."""
        return cls(
            pinned(params["model"], pin),
            params["quantisation"],
            params["weights"],
            [Path(f) for f in files],
        )

    def answered_by(self, asked: str) -> str:
        """What can answer with these weights: an export has a backend of its own."""
        return OF_EXPORTS if self.weights == "gguf" else asked

    def identity(self) -> dict[str, Any]:
        """Plain values that change with the weights."""
        return {
            "model": model_identity(self.model),
            "quantisation": self.quantisation,
            "weights": [self.weights, *content_hashes(self.files)],
        }


def identity_of(model: ModelSpec, version: int, /, **settings: Any) -> dict[str, Any]:
    """What decides a record: the job's own settings, and what computes: the version of the step,
    and the numbers and kind of device that the model gets here.

    Not which records are wanted: a shard's or a smaller number of samples' are the same ones. That
    holds in 16 bits as far as it does for a job that goes on after a kill: rounding, and with it
    rarely a word, depends on the rows that stood in the batch.
    """
    device = pick_device()
    dtype = str(pick_dtype(model.dtype, device)).removeprefix("torch.")
    return {"version": version, "dtype": dtype, "device": device.type, **settings}


def run_job(
    work: Path,
    identity: dict[str, Any],
    wanted: Mapping[RecordKey, str],
    records: Path,
    meta: Path,
    *,
    make: Callable[[Ledger], Provenance] | None,
    settled: Iterable[dict] = (),
    about: Mapping[str, Any] | None = None,
    things: str = "prompts",
    shard: Shard = WHOLE,
) -> None:
    """A job from opening its records to publishing them.

    `settled` records take no model. `make` appends to the ledger what is missing and returns how
    all were made; it is not called, and so no model loaded, where nothing is missing (None: there
    is nothing that a model could make). `about` goes to the file beside the records, whoever made
    them; `things` names what can be too long for the model, for the message.
    """
    with open_ledger(work, identity, wanted, shard) as ledger:
        for record in settled:
            ledger.settle(record)
        made = (ledger.known or make(ledger)) if make else {}
        report_overlong(ledger.records.values(), made.get("context_length"), things)
        ledger.publish(records, meta, {**made, **(about or {})})


@contextmanager
def open_ledger(
    work: Path, identity: dict[str, Any], wanted: Mapping[RecordKey, str], shard: Shard = WHOLE
) -> Iterator[Ledger]:
    """The finished ones of the `wanted` records of this identity. No other process has this shard's
    part meanwhile; records of other identities under `work` are removed, but for those of shards
    that may be at work now. Raises `UserError` where a process has the part that does not end."""
    with held(work if shard == WHOLE else work.with_name(f"{work.name}.{shard.name}")):
        folder = work_folder(work, identity, shard.beside)
        yield Ledger(folder, shard.name, wanted)


def report_overlong(records: Iterable[dict], context: int | None, what: str) -> None:
    """Prints how many records are overlong, and their ids; nothing where none is."""
    names = [_name(record) for record in records if record.get("finish") == OVERLONG]
    if names:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        print(
            f"{len(names)} {what} are longer than the model's context of {context} tokens: they "
            f"are not cut but counted as overlong, without a result: "
            f"{', '.join(names[:_LISTED])}{more}"
        )


def _name(record: dict) -> str:
    return f"{record['id']} (sample {record['sample']})" if "sample" in record else record["id"]


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt and the samples wanted of it."""

    index: int
    """Its place in the caller's list."""
    id: str
    """Its example; sampled replies follow from it."""
    tokens: list[int]
    max_new: int
    samples: list[int]
    budget: ThoughtBudget | None = None
    """Of thoughts; only for a session that keeps to it."""


@dataclass(frozen=True)
class Completion:
    """One reply. `tokens` are without the end token; `new_tokens` counts it."""

    index: int
    sample: int
    tokens: list[int]
    new_tokens: int
    finish: Finish
    thought: ThoughtWatch | None = None
    """Where its thought ends, if there is a budget of them."""


@dataclass
class Session(ABC):
    """A model with its tokenizer and end tokens, and what it did so far."""

    keeps_budgets: ClassVar[bool] = False
    """Whether `generate` closes thoughts that use up their budget."""
    name: str
    tokenizer: Any
    ends: list[int]
    context: int | None
    """Tokens of prompt and reply together; None: no limit."""
    new_tokens: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)

    @abstractmethod
    def generate(
        self, requests: list[GenerationRequest], batch_size: int | str, sampling: Sampling | None
    ) -> Iterator[Reply]:
        """Replies as they are finished, in no fixed order; greedy without `sampling`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What ran the model, and how."""

    def replies(
        self,
        prompts: Sequence[list[int]],
        max_new: int,
        batch_size: int | str,
        sampling: Sampling | None = None,
        samples: Sequence[list[int]] | None = None,
        ids: Sequence[str] | None = None,
        budgets: Sequence[ThoughtBudget] | None = None,
    ) -> Iterator[Completion]:
        """Replies to every prompt as they are finished, in no fixed order.

        `samples[i]` are the sample numbers wanted of prompt i (unset: 0); `budgets[i]`, where there
        are any, is of its thoughts, which then come before `max_new` tokens of answer. A prompt
        that leaves the context no room for a reply is `overlong` and gets none.
        """
        if budgets and not self.keeps_budgets:
            raise UserError(
                f"model {self.name}: found a budget of thoughts, expected a backend that closes "
                "thoughts by force: transformers"
            )
        start = time.monotonic()
        requests = []
        for i, tokens in enumerate(prompts):
            numbers = samples[i] if samples else [0]
            budget = budgets[i] if budgets else None
            most = budget.longest if budget else max_new
            room = most if self.context is None else self.context - len(tokens)
            if room > 0:
                name = ids[i] if ids else ""
                most = min(most, room)
                requests.append(GenerationRequest(i, name, tokens, most, numbers, budget))
            else:
                yield from (self._count(Completion(i, n, [], 0, "overlong")) for n in numbers)
        for reply in self.generate(requests, batch_size, sampling):
            self.seconds = time.monotonic() - start
            count = len(reply.tokens)
            shown = reply.tokens[:-1] if reply.finish == "stop" else reply.tokens
            said = Completion(reply.index, reply.sample, shown, count, reply.finish, reply.thought)
            yield self._count(said)

    def _count(self, text: Completion) -> Completion:
        self.new_tokens += text.new_tokens
        return text

    def meta(self, records: Collection[dict]) -> dict[str, Any]:
        """How `records` were made, for the file beside them. Seconds and rate are of the last
        start of a job that was killed, all else is of the whole."""
        return self.describe() | {
            **count_records(records),
            "end_tokens": self.ends,
            "context_length": self.context,
            "template_hash": template_hash(self.tokenizer),
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.new_tokens / max(self.seconds, 1e-9), 1),
            "versions": library_versions(),
            **resource_usage(),
        }


Opener = Callable[[LoadableState], Session]
OpenerT = TypeVar("OpenerT", bound=Opener)
_OPENERS: dict[str, Opener] = {}


def backend(opener: OpenerT) -> OpenerT:
    """Makes a function, which loads a state, the backend that its file is named for."""
    _OPENERS[opener.__module__.rpartition(".")[2]] = opener
    return opener


def open_session(state: LoadableState, name: str = "transformers") -> Session:
    """Loads a state's model and the base model's tokenizer on the backend `name`."""
    import_module(f"snaketune.inference.backends.{name}")
    return _OPENERS[name](state)
