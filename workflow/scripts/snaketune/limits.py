"""What a start of the workflow allows, held against what the config asks for."""

from collections.abc import Iterator
from pathlib import Path

from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, report
from snaketune.errors import UserError


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
