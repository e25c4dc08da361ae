"""The machine that a job runs on: what it is, the main memory that is left there, and what this job
has used of it.

Imports torch: where GPUs are to be claimed, that comes first (`runtime.devices`).
"""

import os
import platform
import resource
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from snaketune.runtime.devices import energy_joules

_LIBRARIES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "pyarrow",
    "pandas", "snakemake",
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    return {name: version(name) for name in _LIBRARIES}


def describe_machine() -> dict[str, Any]:
    """Python, libraries, processor cores, main memory in bytes, and the GPUs this job may use."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [_gpu(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "libraries": library_versions(),
    }


def _gpu(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
    }


_GROUPS, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def free_main_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its control groups, by which
    SLURM and containers set a limit."""
    return min([psutil.virtual_memory().available, *_left_by_groups(_GROUPS, _MOUNT)])


def _left_by_groups(groups: Path, mount: Path) -> Iterator[int]:
    """What each limit leaves, of the process's own group and of those around it."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:  # version 2
            root, files = mount, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, files = mount / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = root / name.lstrip("/")
        # A container may see its own group as the root: folders that aren't there say nothing.
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                yield from _left(folder, *files)


def _left(folder: Path, limit: str, used: str) -> Iterator[int]:
    try:
        most = (folder / limit).read_text().strip()
        taken = int((folder / used).read_text()) - _cached_files(folder)
    except (OSError, ValueError):
        return
    if most.isdigit():
        yield max(int(most) - taken, 0)


def _cached_files(folder: Path) -> int:
    """Bytes of files that the kernel keeps as long as nothing else needs the room: they count as
    used, and a model that was just read is mostly that."""
    lines = (folder / "memory.stat").read_text().splitlines()
    found = dict(line.split(" ", 1) for line in lines)
    # Version 1 counts the groups within apart; its totals hold them.
    return sum(
        int(found.get(f"total_{name}", found.get(name, 0)))
        for name in ("inactive_file", "active_file")
    )


def resource_usage(processes: int = 1) -> dict[str, float | int | None]:
    """Main memory at its peak, of this process or the largest that it started, times `processes`,
    where as many like it share the job; the most of a GPU's memory that torch held, None without
    a GPU; seconds since this process began; what energy its GPUs took, where they tell."""
    peaks = (resource.getrusage(who).ru_maxrss for who in _WHO)
    began = psutil.Process().create_time()
    return {
        "main_memory_bytes": processes * max(peaks) * 1024,
        "gpu_memory_bytes": _gpu_memory(),
        "job_seconds": round(time.time() - began, 1),
        "energy_joules": energy_joules(),
    }


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _gpu_memory() -> int | None:
    if not torch.cuda.is_available():
        return None
    return max(torch.cuda.max_memory_reserved(i) for i in range(torch.cuda.device_count()))
