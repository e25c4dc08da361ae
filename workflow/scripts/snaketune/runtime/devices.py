"""GPUs of one machine, shared out between jobs: a device belongs to the process that locks it; and
what energy the devices took since, where their driver tells.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import subprocess
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from snaketune.runtime.errors import UserError

# One place for all users and whatever TMPDIR a job has: the devices are the machine's.
FOLDER = Path("/tmp/snaketune-gpus")

# Open for the life of the process: the kernel frees the locks when it ends, SIGKILL included.
_held: list[int] = []


def claim_devices(count: int) -> None:
    """Takes `count` GPUs for this process and hides the others from it. Call it before torch is
    imported.

    Snakemake counts GPUs but does not say which, so each device has a lock file. In a SLURM job
    the locks are the job's own: several of our jobs may share an allocation, and whom else a
    device belongs to is SLURM's to say. Without GPUs there is nothing to share out.
    Raises `UserError` when there are fewer free devices than Snakemake granted.
    """
    devices = visible_devices(os.environ)
    if not devices:
        return
    if count == 0:
        print("no GPU was granted (--resources gpu=0): running on the CPU")
    # The order in which the driver lists them, and not the fastest first.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    scope = os.environ.get("SLURM_JOB_ID", "")
    uuids = _uuids()
    taken = [d for d in devices if len(_held) < count and _lock(f"{scope}@{_full(d, uuids)}")]
    if len(taken) < count:
        where = f"in SLURM job {scope}" if scope else "on this machine"
        raise UserError(
            f"{count} GPUs granted by --resources gpu=N, but only {len(taken)} of "
            f"{len(devices)} {where} ({', '.join(devices)}) are free; give a smaller N "
            "or wait for other work to end"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    # For the processes that this one starts, too.
    if taken and (read := _energies([_full(d, uuids) for d in taken])):
        os.environ[_ENERGY] = json.dumps(read)


def claim_spare_device(count: int) -> None:
    """One GPU, where `count` is 1 and one is free; else none: what runs is not waited for."""
    try:
        claim_devices(count)
    except UserError:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


_ENERGY = "SNAKETUNE_ENERGY"  # millijoules at the claim, by the device's unique name


def energy_joules() -> float | None:
    """What the claimed devices took since the claim, all of them together; None where none was
    claimed, or one does not tell (parts of a GPU, and those before Volta)."""
    before = json.loads(os.environ.get(_ENERGY, "{}"))
    now = _energies(list(before)) if before else None
    return None if not now else sum(now[name] - before[name] for name in before) / 1000


def _energies(uuids: list[str]) -> dict[str, int] | None:
    """The millijoules that each device took since its driver was loaded, by NVML."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return None
        return {uuid: _energy(nvml, uuid) for uuid in uuids}
    except (OSError, AttributeError, ValueError):
        return None


def _energy(nvml: ctypes.CDLL, uuid: str) -> int:
    device, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
    if nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device)):
        raise ValueError(f"no device {uuid}")
    if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy)):
        raise ValueError(f"{uuid} does not tell")
    return energy.value


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES allows, else all that the driver lists; empty without a GPU."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        named = (d.strip() for d in environment["CUDA_VISIBLE_DEVICES"].split(","))
        # As CUDA reads it: from the first entry that is no device on, nothing counts.
        return list(takewhile(lambda d: d and not d.startswith("-"), named))
    return list(_uuids())


def _uuids() -> dict[str, str]:
    """Unique names by index, as the driver lists them."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.partition(",") for line in listed.stdout.splitlines())
    return {index.strip(): uuid.strip() for index, _, uuid in pairs if uuid}


def _full(device: str, uuids: Mapping[str, str]) -> str:
    """The device's unique name, where it is given by index or by the start of that name."""
    named = [uuid for uuid in uuids.values() if uuid.startswith(device)]
    return uuids.get(device) or (named[0] if len(named) == 1 else device)


def _lock(name: str) -> bool:
    file = _opened(FOLDER / name.replace("/", "_"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    _held.append(file)
    return True


def _opened(path: Path) -> int:
    """The file, made if need be. Everybody may read it, which is all that a lock needs: in a folder
    that all may write to, the system lets nobody open another's file for writing."""
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir()
        path.parent.chmod(0o1777)
    with contextlib.suppress(FileExistsError):
        made = os.open(path, os.O_CREAT | os.O_EXCL)
        os.fchmod(made, 0o644)
        os.close(made)
    return os.open(path, os.O_RDONLY)
