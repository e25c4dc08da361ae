"""What this process has taken so far, in the terms in which a job asks for it."""

import resource
import time

import psutil
import torch


def usage(processes: int = 1) -> dict[str, float | int | None]:
    """Main memory at its peak, of this process or the largest that it started, times `processes`,
    where as many like it share the job; the most of a GPU's memory that torch held, None without
    a GPU; seconds since this process began."""
    peaks = (resource.getrusage(who).ru_maxrss for who in _WHO)
    began = psutil.Process().create_time()
    return {
        "main_memory_bytes": processes * max(peaks) * 1024,
        "gpu_memory_bytes": _gpu_memory(),
        "job_seconds": round(time.time() - began, 1),
    }


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _gpu_memory() -> int | None:
    if not torch.cuda.is_available():
        return None
    return max(torch.cuda.max_memory_reserved(i) for i in range(torch.cuda.device_count()))
