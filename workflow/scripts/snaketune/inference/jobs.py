"""What every inference job is made of, whatever it asks of a model: the state that it loads, the
shard that it is, the identity of its records, and the way from opening to publishing them.

Records are known by what decides them (`identity_of`). A job makes those that no job of the same
identity has made, and loads no model where none is missing (`run_job`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec, Quantisation
from snaketune.inference.ledger import Ledger, Provenance, RecordKey
from snaketune.inference.shards import WHOLE, Shard
from snaketune.models.content import model_identity
from snaketune.models.folder import pinned
from snaketune.models.load import Weights, pick_device, pick_dtype
from snaketune.runtime.content import content_hashes
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
