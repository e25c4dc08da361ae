"""What a start of the workflow grants its jobs: GPUs at once, and the threads that go with them.

What a start of the workflow allows, held against what the config asks for.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, report
from snaketune.runtime.errors import UserError

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


def check_gpus(experiment: Experiment, limit: int | None, configs: list[Path]) -> None:
    """Raises `UserError` where a run asks for more GPUs than `limit` grants at once.

    Snakemake would clip the request without a word. 0 grants none on purpose: all runs on the CPU;
    None is no limit.
    """
    if limit and (faults := list(_faults(experiment, limit))):
        raise UserError(report(faults, configs))


def _faults(experiment: Experiment, limit: int) -> Iterator[Fault]:
    for name, run in experiment.runs.items():
        if run.gpu and run.gpu > limit:
            yield Fault(
                ("runs", name, "gpu"),
                f"found {run.gpu}, but at most {limit} are granted at once; expected "
                f"--resources gpu={run.gpu} (or so in the profile), or a smaller number here",
            )
