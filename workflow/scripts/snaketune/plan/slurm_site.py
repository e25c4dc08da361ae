"""What jobs ask of a SLURM site, held against what the site has, before the first is submitted.

sbatch refuses one job at a time, in its own words, after others have run; here all faults are told
together, each with what to change.
"""

import getpass
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from snaketune.config.faults import suggest
from snaketune.runtime.errors import UserError

# What Snakemake, its SLURM plugin and, the last, this workflow's own jobs read.
_READ = (
    "mem", "mem_mb", "mem_mib", "mem_mb_per_cpu", "disk", "disk_mb", "disk_mib", "tmpdir",
    "runtime", "gpu", "gpu_model", "gres", "cpus_per_gpu", "cpus_per_task", "constraint", "nodes",
    "tasks", "tasks_per_gpu", "tasks_per_node", "mpi", "qos", "slurm_partition", "slurm_account",
    "slurm_extra", "slurm_cluster", "cluster", "clusters", "threads", "_cores", "_nodes",
    "limit",
)  # fmt: skip
# What else people write, and what it is called here.
_MEANT = {
    "partition": "slurm_partition", "queue": "slurm_partition", "account": "slurm_account",
    "time": "runtime", "walltime": "runtime", "time_min": "runtime", "minutes": "runtime",
    "memory": "mem", "mem_gb": "mem", "memory_gb": "mem", "cpus": "cpus_per_task",
    "cores": "cpus_per_task", "ncpus": "cpus_per_task", "gpus": "gpu", "ngpus": "gpu",
    "extra": "slurm_extra",
}  # fmt: skip
# What sacctmgr says where there is no database of accounts.
_NO_ACCOUNTS = re.compile("accounting_storage", re.IGNORECASE)
_CLUSTERS = ("cluster", "clusters", "slurm_cluster")
# Rules whose names tell what runs leave: a profile serves experiments with and without them.
_SHAPED = re.compile(r"train_(adapter|full)_\d+(_kept)?")
# What the plugin takes for a model of GPU.
_PLAIN = re.compile(r"[A-Za-z0-9_.]+")
_GPUS = re.compile(r"gpu(?::([\w.-]*[A-Za-z][\w.-]*))?(?::(\d+))?(?=[(,]|$)")


@dataclass(frozen=True)
class JobRequest:
    """What the jobs of a rule ask for."""

    rule: str
    resources: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, rule: str, resources: Mapping[str, object]) -> "JobRequest":
        """As Snakemake says it; what is empty is not asked for."""
        named = ((name, str(value)) for name, value in resources.items() if value not in (None, ""))
        return cls(rule, tuple(named))

    @property
    def named(self) -> dict[str, str]:
        """The values by name."""
        return dict(self.resources)


@dataclass(frozen=True)
class Node:
    """A node in one of its partitions."""

    gpus: dict[str, int]
    """By model; one without a name is ''."""
    minutes: float
    """The longest that a job may run."""
    memory_mb: float


@dataclass(frozen=True)
class Profile:
    """The names in a profile, which Snakemake takes as they come."""

    resources: Collection[str] = ()
    """Those that have a limit of their own."""
    scopes: Collection[str] = ()
    set_resources: Collection[str] = ()
    """Rules, and likewise the next."""
    set_threads: Collection[str] = ()


def submitted_jobs(workflow: Any) -> list[JobRequest]:
    """What the jobs of a Snakemake workflow that go to a cluster ask for, each combination once."""
    jobs = (job for job in workflow.dag.needrun_jobs() if not job.is_local)
    requests = (JobRequest.of(job.rule.name, dict(job.resources.items())) for job in jobs)
    return list(dict.fromkeys(requests))


def profile_names(workflow: Any) -> Profile:
    """What the profile of a Snakemake workflow, or its command line, names of its own."""
    settings = workflow.resource_settings
    return Profile(
        resources=[name for name in workflow.global_resources if not name.startswith("_")],
        scopes=list(settings.overwrite_resource_scopes),
        set_resources=list(settings.overwrite_resources),
        set_threads=list(settings.overwrite_threads),
    )


def check_site(
    requests: Iterable[JobRequest], profile: Profile = Profile(), rules: Collection[str] = ()
) -> None:
    """Raises `UserError` with all that this site can't give, or where there is no SLURM; `rules`
    are all that there are."""
    if not shutil.which("sbatch"):
        raise UserError(
            "the profile submits to SLURM, but there is no sbatch here; start Snakemake on a login "
            "node of the cluster, or without `--profile profiles/slurm` to run on this machine"
        )
    jobs = list(requests)
    found = [
        *_unknown(profile, rules),
        *_unread(jobs, profile),
        *_partitions(jobs),
        *_accounts(jobs),
    ]
    faults = dict.fromkeys(found)
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise UserError(f"this SLURM site can't run the jobs; change the profile:\n{lines}")


def _unknown(profile: Profile, rules: Collection[str]) -> Iterator[str]:
    named = {"set-resources": profile.set_resources, "set-threads": profile.set_threads}
    for key, names in named.items():
        for name in names:
            if name not in rules and not _SHAPED.fullmatch(name):
                yield f"{key}: {name}: found no rule of that name{suggest(name, rules)}"


def _unread(jobs: list[JobRequest], profile: Profile) -> Iterator[str]:
    """Misspelt names. One of the user's own has a limit, and a job that asks for it."""
    requested = dict.fromkeys(name for job in jobs for name in job.named)
    for name in requested:
        if name not in _READ and name not in profile.resources:
            yield (
                f"{name}: no resource that anything reads{_meant(name)}; one of your own has a "
                f"limit beside it (resources: [{name}=N])"
            )
    limits = {"resources": profile.resources, "set-resource-scopes": profile.scopes}
    for key, names in limits.items():
        for name in names:
            # Without one that is meant: those that asked for it may be done.
            if name not in _READ and name not in requested and (meant := _meant(name)):
                yield f"{key}: {name}: no job asks for that{meant}"


def _meant(name: str) -> str:
    close = [_MEANT[name]] if name in _MEANT else get_close_matches(name, _READ, 1, 0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _partitions(jobs: list[JobRequest]) -> Iterator[str]:
    site = _site()
    if not site:
        return
    for job in jobs:
        if any(job.named.get(name) for name in _CLUSTERS):
            continue  # sinfo tells of this one
        wanted = job.named.get("slurm_partition")
        names = wanted.split(",") if wanted else list(site)
        for name in set(names) - set(site):
            found = f"found {name}, which this site does not have"
            yield f"slurm_partition: {found}{suggest(name, site)}"
        nodes = [node for name in names for node in site.get(name, [])]
        if nodes:
            yield from _limit_faults(job, nodes, wanted)
            if count := int(job.named.get("gpu") or 0):
                yield from _gpu_faults(job, count, [node.gpus for node in nodes], wanted)


def _limit_faults(job: JobRequest, nodes: list[Node], partition: str | None) -> Iterator[str]:
    """Of a first attempt that is longer or larger than any of the nodes allows."""
    where = f"partition {partition} allows" if partition else "this site allows"
    limits = {
        "runtime": (max(node.minutes for node in nodes), "minutes", "minutes"),
        "mem_mb": (max(node.memory_mb for node in nodes), "MB", "memory_gb"),
    }
    for name, (most, unit, key) in limits.items():
        found = job.named.get(name, "")
        if found.isdigit() and int(found) > most:
            yield (
                f"rule {job.rule}: found {name} {found}, but {where} at most {most:.0f} {unit}; "
                f"name another slurm_partition, or the most that a job may ask for "
                f"(resources: [{name}={most:.0f}]), or set the config's `resources: {{{key}: N}}`"
            )


def _gpu_faults(
    job: JobRequest, count: int, nodes: list[dict[str, int]], partition: str | None
) -> Iterator[str]:
    """Of a job whose GPUs must lie in one of the nodes, each given by its GPUs of each model."""
    where = f"partition {partition} has" if partition else "this site has"
    model = job.named.get("gpu_model")
    models = {name for node in nodes for name in node if name}
    if model in models and not _PLAIN.fullmatch(model):
        yield (
            f"gpu_model: found {model}, whose characters the plugin takes for no name; leave it "
            "out, and name a feature of the nodes instead (constraint: NAME; `sinfo -o %f`)"
        )
        return
    if model and model not in models:
        yield f"gpu_model: found {model}, which {where} not{suggest(model, models)}"
        return
    most = max(node.get(model, 0) if model else sum(node.values()) for node in nodes)
    if count > most:
        yield (
            f"rule {job.rule}: found gpu {count}, but {where} at most {most} on a node; lower "
            "`gpu` of the run, or name another slurm_partition"
        )


def _accounts(jobs: list[JobRequest]) -> Iterator[str]:
    # As the plugin reads it: several may be named.
    named = " ".join(job.named.get("slurm_account", "") for job in jobs)
    wanted = dict.fromkeys(named.replace(",", " ").split())
    if not wanted:
        return
    listed, trouble = _answer("sacctmgr", "-nP", "list", "assoc", f"user={getpass.getuser()}",
                              "format=account")  # fmt: skip
    if trouble and not _NO_ACCOUNTS.search(trouble):
        print(f"warning: slurm_account was not checked: {trouble}", file=sys.stderr)
        return
    # SLURM keeps them in small letters, and takes them in any.
    known = {name.lower() for name in listed.split()}
    for name in wanted:
        if trouble:
            yield (
                f"slurm_account: found {name}, but this site keeps no accounts "
                f"({trouble}); leave slurm_account out"
            )
        elif known and name.lower() not in known:
            found = f"found {name}, which is no account of {getpass.getuser()} here"
            yield f"slurm_account: {found}{suggest(name, known)}"


def _site() -> dict[str, list[Node]]:
    """The nodes of each partition."""
    listed, trouble = _answer("sinfo", "-haN", "-o", "%R|%G|%l|%m")
    if trouble:
        raise UserError(f"SLURM does not answer: {trouble}; start again once `sinfo` does")
    site: dict[str, list[Node]] = {}
    for line in listed.splitlines():
        partition, gres, limit, memory = (part.strip() for part in line.split("|"))
        node = Node(gpus_of(gres), minutes_of(limit), float(memory.rstrip("+")))
        site.setdefault(partition, []).append(node)
    return site


def minutes_of(limit: str) -> float:
    """`1-12:00:00` → 2160; `30:00` → 30. What is no time, such as `infinite`, is no limit."""
    days, _, clock = limit.rpartition("-")
    parts = [days or "0", *["0"] * (2 - clock.count(":")), *clock.split(":")]
    if not all(part.isdigit() for part in parts):
        return math.inf
    day, hour, minute, second = map(int, parts)
    return day * 1440 + hour * 60 + minute + second / 60


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
