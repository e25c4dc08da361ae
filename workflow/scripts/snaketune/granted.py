"""What a start of the workflow grants its jobs: GPUs at once, and the threads that go with them."""

import os

_GPUS = "SNAKETUNE_GPUS"
MOST_THREADS = 8


def gpus_at_once(limit: int | None, is_main: bool) -> int | None:
    """`--resources gpu=N` as the first process was given it; None: no limit.

    A job parses the workflow again and must ask for what was submitted for it, but SLURM's plugin
    hands no limit on: the job finds it in its environment.
    """
    if not is_main:
        found = os.environ.get(_GPUS, "")
        return int(found) if found.isdigit() else limit
    os.environ.pop(_GPUS, None)
    if limit is not None:
        os.environ[_GPUS] = str(limit)
    return limit


def threads_for(gpu: int, cores: int | None, gpus: int | None) -> int:
    """Threads of a job that takes `gpu` GPUs, where so many are granted at once, so that jobs for
    all of them fit on the cores. `cores` is None where jobs run elsewhere."""
    if not cores or not gpus:
        return MOST_THREADS
    return max(1, min(MOST_THREADS, cores // gpus * max(1, gpu)))
