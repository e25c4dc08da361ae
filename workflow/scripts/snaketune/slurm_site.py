"""What jobs ask of a SLURM site, held against what the site has, before the first is submitted.

sbatch refuses one job at a time, in its own words, after others have run; here all faults are told
together, each with what to change.
"""

import getpass
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from snaketune.config.faults import suggest
from snaketune.errors import UserError

# What Snakemake and its SLURM plugin read.
_READ = (
    "mem", "mem_mb", "mem_mib", "mem_mb_per_cpu", "disk", "disk_mb", "disk_mib", "tmpdir",
    "runtime", "gpu", "gpu_model", "gres", "cpus_per_gpu", "cpus_per_task", "constraint", "nodes",
    "tasks", "tasks_per_gpu", "tasks_per_node", "mpi", "qos", "slurm_partition", "slurm_account",
    "slurm_extra", "slurm_cluster", "cluster", "clusters", "threads", "_cores", "_nodes",
)  # fmt: skip
_GPUS = re.compile(r"gpu(?::([\w.-]*[A-Za-z][\w.-]*))?(?::(\d+))?(?=[(,]|$)")


@dataclass(frozen=True)
class Asked:
    """What the jobs of a rule ask for."""

    rule: str
    resources: tuple[tuple[str, str], ...]

    @property
    def named(self) -> dict[str, str]:
        """The values by name."""
        return dict(self.resources)


def check_site(asked: Iterable[Asked]) -> None:
    """Raises `UserError` with all that this site can't give, or where there is no SLURM."""
    if not shutil.which("sbatch"):
        raise UserError(
            "the profile submits to SLURM, but there is no sbatch here; start Snakemake on a login "
            "node of the cluster, or without `--profile profiles/slurm` to run on this machine"
        )
    jobs = list(asked)
    faults = dict.fromkeys([*_unread(jobs), *_partitions_and_gpus(jobs), *_accounts(jobs)])
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise UserError(f"this SLURM site can't run the jobs; change the profile:\n{lines}")


def _unread(jobs: list[Asked]) -> Iterator[str]:
    """Misspelt names; others may be a user's own, with a limit of their own."""
    for name in dict.fromkeys(name for job in jobs for name in job.named):
        if name not in _READ and (close := get_close_matches(name, _READ, 1, 0.8)):
            yield f"{name}: no resource that anything reads; did you mean {close[0]}?"


def _partitions_and_gpus(jobs: list[Asked]) -> Iterator[str]:
    site = _site()
    if not site:
        return
    for job in jobs:
        wanted = job.named.get("slurm_partition")
        names = wanted.split(",") if wanted else list(site)
        for name in set(names) - set(site):
            found = f"found {name}, which this site does not have"
            yield f"slurm_partition: {found}{suggest(name, site)}"
        count = int(job.named.get("gpu") or 0)
        nodes = [gpus for name in names for gpus in site.get(name, [])]
        if count and nodes:
            yield from _gpu_faults(job, count, nodes, wanted)


def _gpu_faults(
    job: Asked, count: int, nodes: list[dict[str, int]], partition: str | None
) -> Iterator[str]:
    """Of a job whose GPUs must lie in one of the nodes, each given by its GPUs of each model."""
    where = f"partition {partition} has" if partition else "this site has"
    model = job.named.get("gpu_model")
    models = {name for node in nodes for name in node if name}
    if model and model not in models:
        yield f"gpu_model: found {model}, which {where} not{suggest(model, models)}"
        return
    most = max(node.get(model, 0) if model else sum(node.values()) for node in nodes)
    if count > most:
        yield (
            f"rule {job.rule}: found gpu {count}, but {where} at most {most} on a node; lower "
            "`gpu` of the run, or name another slurm_partition"
        )


def _accounts(jobs: list[Asked]) -> Iterator[str]:
    wanted = dict.fromkeys(a for j in jobs if (a := j.named.get("slurm_account")))
    if not wanted:
        return
    listed, trouble = _answer("sacctmgr", "-nP", "list", "assoc", f"user={getpass.getuser()}",
                              "format=account")  # fmt: skip
    known = set(listed.split())
    for name in wanted:
        if trouble:
            yield (
                f"slurm_account: found {name}, but this site keeps no accounts "
                f"({trouble}); leave slurm_account out"
            )
        elif known and name not in known:
            found = f"found {name}, which is no account of {getpass.getuser()} here"
            yield f"slurm_account: {found}{suggest(name, known)}"


def _site() -> dict[str, list[dict[str, int]]]:
    """By partition, of each node the number of GPUs by model; a model without a name is ''."""
    listed, trouble = _answer("sinfo", "-hN", "-o", "%R|%G")
    if trouble:
        raise UserError(f"SLURM does not answer: {trouble}; start again once `sinfo` does")
    site: dict[str, list[dict[str, int]]] = {}
    for line in listed.splitlines():
        partition, _, gres = line.partition("|")
        site.setdefault(partition.strip(), []).append(gpus_of(gres.strip()))
    return site


def gpus_of(gres: str) -> dict[str, int]:
    """`gpu:a100:4(S:0-1),gpu:2` → {"a100": 4, "": 2}"""
    gpus: dict[str, int] = {}
    for model, count in _GPUS.findall(gres):
        gpus[model] = gpus.get(model, 0) + int(count or 1)
    return gpus


def _answer(*command: str) -> tuple[str, str]:
    """What the tool says, and its trouble in a line where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return "", f"{command[0]}: {error}"
    said = (done.stderr or done.stdout).strip().splitlines()
    return done.stdout, (said[0] if said else f"{command[0]} failed") if done.returncode else ""
