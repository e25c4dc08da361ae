"""GPUs of one machine, shared out between jobs: a device belongs to the process that locks it."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from snaketune.errors import UserError

# Open for the life of the process: the kernel frees the locks when it ends, SIGKILL included.
_held: list[IO[str]] = []


def claim_devices(count: int) -> None:
    """Takes `count` GPUs for this process and hides the others from it. Call it before torch is
    imported.

    Snakemake counts GPUs but does not say which, so each device has a lock file. Under SLURM the
    allocation has decided already, and on a machine without GPUs there is nothing to share out.
    Raises `UserError` when there are fewer free devices than Snakemake granted.
    """
    devices = visible_devices(os.environ)
    if not devices or "SLURM_JOB_ID" in os.environ:
        return
    if count == 0:
        print("no GPU was granted (--resources gpu=0): running on the CPU")
    taken = [device for device in devices if len(_held) < count and _lock(device)]
    if len(taken) < count:
        raise UserError(
            f"{count} GPUs granted by --resources gpu=N, but only {len(taken)} of "
            f"{len(devices)} on this machine ({', '.join(devices)}) are free; give a smaller N "
            "or wait for other work to end"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES allows, else all that the driver lists; empty without a GPU."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [d for d in environment["CUDA_VISIBLE_DEVICES"].split(",") if d.strip()]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()


def _lock(device: str) -> bool:
    folder = Path(tempfile.gettempdir()) / f"snaketune-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = (folder / device.replace("/", "_")).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _held.append(file)
    return True
