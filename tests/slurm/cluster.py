"""A SLURM of one node with fake GPUs, on loopback: started and stopped in a second or two.

python tests/slurm/cluster.py start | stop
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path("/run/snaketune-slurm")
ETC = Path("/etc/slurm")
MARK = "# Written by snaketune's tests."
PACKAGES = ("munge", "slurm-wlm")
GPUS, CORES, MEMORY_MB = 2, 16, 64_000

SETTINGS = """{mark}
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2,bf_resolution=1,bf_min_age_reserve=86400
ReturnToService=2
MinJobAge=3600
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=DEFAULT Nodes={host} DefMemPerCPU=500 DefaultTime=60 State=UP
Prolog={folder}/start
Epilog={folder}/end
TaskProlog={folder}/task
PartitionName=cpu Default=YES
PartitionName=gpu
"""
# SLURM itself runs these around each job: they say which job had which GPU, and when; the last, as
# part of each task, which it was told to use.
NOTE = """#!/bin/sh
echo "{event} $SLURM_JOB_ID $(date +%s.%N) {gpus}" >> {folder}/events
"""
NOTES = {"start": "$SLURM_JOB_GPUS", "end": "$SLURM_JOB_GPUS", "task": "$CUDA_VISIBLE_DEVICES"}


def why_not() -> str | None:
    """What keeps this machine from running the test cluster; None where nothing does."""
    if os.geteuid() != 0:
        return "the test cluster is started as root"
    settings = ETC / "slurm.conf"
    if settings.is_file() and MARK not in settings.read_text():
        return f"this machine has a SLURM of its own ({settings})"
    if not shutil.which("slurmctld") and not shutil.which("apt-get"):
        return f"there is no apt-get to install {' and '.join(PACKAGES)} with"
    return None


def install() -> str | None:
    """Installs SLURM where it is missing; a message where that does not work."""
    if all(shutil.which(name) for name in ("munged", "slurmctld", "slurmd", "sbatch")):
        return None
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            return f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-300:]}"
    return None


@contextmanager
def alone() -> Iterator[None]:
    """Waits for other tests of this kind to end: a machine has one SLURM."""
    with Path("/run/snaketune-slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start() -> None:
    """Brings the cluster up and waits until the node takes jobs."""
    stop()
    for name in ("state", "spool"):
        (FOLDER / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    devices = [FOLDER / f"gpu{i}" for i in range(GPUS)]
    for device in devices:
        # A device node is needed, a fake one does: this one is /dev/null.
        os.mknod(device, 0o20666, os.makedev(1, 3))
    ETC.mkdir(exist_ok=True)
    (ETC / "slurm.conf").write_text(
        SETTINGS.format(
            mark=MARK, host=host, folder=FOLDER, cores=CORES, memory=MEMORY_MB, gpus=GPUS
        )
    )
    lines = [f"NodeName={host} Name=gpu File={device}" for device in devices]
    (ETC / "gres.conf").write_text("\n".join([MARK, *lines, ""]))
    for event, gpus in NOTES.items():
        script = FOLDER / event
        script.write_text(NOTE.format(event=event, gpus=gpus, folder=FOLDER))
        script.chmod(0o755)
    _start_munge()
    _daemon("slurmctld")
    _daemon("slurmd")
    _wait(_node_is_up, "the node did not come up")


def events() -> list[tuple[str, str, float, list[str]]]:
    """Starts, tasks and ends of jobs: event, job, time, GPUs."""
    lines = [line.split() for line in (FOLDER / "events").read_text().splitlines()]
    return [(what, job, float(at), gpus[0].split(",") if gpus else [])
            for what, job, at, *gpus in lines]  # fmt: skip


def stop() -> None:
    """Stops the cluster's daemons, by the ids that they left, and removes its files."""
    pids = {name: _pid(FOLDER / f"{name}.pid") for name in ("slurmd", "slurmctld", "munged")}
    for name, pid in pids.items():
        if pid and _is(pid, name):
            os.kill(pid, signal.SIGTERM)
            _wait(lambda pid=pid, name=name: not _is(pid, name), f"{name} did not stop")
    for name in ("slurm.conf", "gres.conf"):
        file = ETC / name
        if file.is_file() and MARK in file.read_text():
            file.unlink()
    shutil.rmtree(FOLDER, ignore_errors=True)


def _start_munge() -> None:
    """A munge daemon, unless one runs already: it is shared by whatever needs one."""
    if _is(_pid(Path("/run/munge/munged.pid")), "munged"):
        return
    folder = Path("/run/munge")
    folder.mkdir(exist_ok=True)
    shutil.chown(folder, "munge", "munge")
    folder.chmod(0o755)
    subprocess.run(
        ["munged", f"--pid-file={folder}/munged.pid"], user="munge", group="munge", check=True
    )
    _wait(Path("/run/munge/munge.socket.2").exists, "munged did not start")
    # Its own file is the one that `stop` looks for.
    shutil.copy(folder / "munged.pid", FOLDER / "munged.pid")


def _daemon(name: str) -> None:
    subprocess.run([name], check=True)
    _wait((FOLDER / f"{name}.pid").exists, f"{name} did not start, see {FOLDER}/{name}.log")


def _node_is_up() -> bool:
    done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
    return done.returncode == 0 and set(done.stdout.split()) <= {"idle", "mixed", "allocated"}


def _pid(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


def _is(pid: int, name: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return f"({name})" in stat and ") Z" not in stat


def _wait(ready, trouble: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise RuntimeError(trouble)
        time.sleep(0.1)


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]]()
