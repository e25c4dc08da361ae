"""What the work runs on: devices, memory, library versions."""

import os
import platform
from importlib.metadata import version
from typing import Any

import psutil
import torch

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
