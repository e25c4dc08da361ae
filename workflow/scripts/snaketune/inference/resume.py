"""What finished records of a job depend on: others are never continued."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec
from snaketune.inference.ledger import Ledger
from snaketune.inference.part import Key
from snaketune.inference.shards import WHOLE, Shard
from snaketune.models.load import pick_device, pick_dtype
from snaketune.runtime.workfolder import held, work_folder


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


@contextmanager
def open_ledger(
    work: Path, identity: dict[str, Any], wanted: Mapping[Key, str], shard: Shard = WHOLE
) -> Iterator[Ledger]:
    """The finished ones of the `wanted` records of this identity. No other process has this shard's
    part meanwhile; records of other identities under `work` are removed, but for those of shards
    that may be at work now. Raises `UserError` where a process has the part that does not end."""
    with held(work if shard == WHOLE else work.with_name(f"{work.name}.{shard.name}")):
        folder = work_folder(work, identity, shard.beside)
        yield Ledger(folder, shard.name, wanted)
