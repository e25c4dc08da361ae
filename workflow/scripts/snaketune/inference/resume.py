"""What finished records of a job depend on: others are never continued."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec
from snaketune.inference.ledger import Ledger
from snaketune.modeling.load import pick_device, pick_dtype
from snaketune.workfolder import held, work_folder


def identity_of(model: ModelSpec, code: str, /, **settings: Any) -> dict[str, Any]:
    """The job's own settings, and what computes: the hash of the code, and the numbers and kind of
    device that the model gets here."""
    device = pick_device()
    dtype = str(pick_dtype(model.dtype, device)).removeprefix("torch.")
    return {"code": code, "dtype": dtype, "device": device.type, **settings}


@contextmanager
def open_ledger(work: Path, identity: dict[str, Any]) -> Iterator[Ledger]:
    """The finished records of a job of this identity, which no other process has meanwhile; those
    of other identities under `work` are removed. Raises `UserError` where a process has them that
    does not end."""
    with held(work):
        yield Ledger(work_folder(work, identity) / "records.jsonl")
