"""One training on one process, or on several through torch's own launcher.

    the job ─ torchrun ─┬─ process 0 (leads: writes and prints)
                        └─ process 1 …

None of them outlives the job. A job that is killed has no time to end what it started, and
processes that train on would write beside those of the next attempt. So the kernel is asked to kill
each with the one above it.

This file is what both kinds of process run. Nothing heavy is imported at its head: until torchrun's
process ignores SIGUSR1 (below), a warning would end it.
"""

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snaketune.runtime.errors import UserError
from snaketune.runtime.job import Preempted, end_on_preemption

if TYPE_CHECKING:
    from snaketune.training.assemble import TrainingPlan
    from snaketune.training.run import TrainingOutputs
    from snaketune.training.tracking import Tracking

# Seconds that warned processes have to end their step and save, before they are killed. (Whoever
# warned the job has a limit of its own. So long too the others wait where one was killed.)
_TO_SAVE = 600
_LIBRARY = Path(__file__).resolve().parents[2]
_MODULE = "snaketune.training.launch"
_TRAIN = "train"
_PARENT = "SNAKETUNE_PARENT"
_PR_SET_PDEATHSIG = 1


def launch_training(
    plan: "TrainingPlan",
    train_rows: Path,
    dev_rows: Path,
    out: "TrainingOutputs",
    work: Path,
    threads: int,
    gpus: int,
    tracking: "Tracking | None" = None,
    save_every: float = 60.0,
) -> None:
    """`run_training` on as many GPUs as were granted and are there; in this process, if it is one
    or none."""
    import torch

    from snaketune.training.run import run_training
    from snaketune.training.tracking import Tracking, require_trackers

    tracking = tracking or Tracking()
    require_trackers(tracking.names)
    # Under SLURM others of the allocation may be visible, too.
    processes = min(gpus, torch.cuda.device_count())
    if processes < 2:
        run_training(plan, train_rows, dev_rows, out, work, threads, save_every, tracking)
    else:
        launch_processes(
            processes, plan, train_rows, dev_rows, out, work, threads, tracking, save_every
        )


def launch_processes(
    processes: int,
    plan: "TrainingPlan",
    train_rows: Path,
    dev_rows: Path,
    out: "TrainingOutputs",
    work: Path,
    threads: int,
    tracking: "Tracking | None" = None,
    save_every: float = 60.0,
) -> None:
    """`run_training` on so many processes, which share each step's rows. `threads` is for all of
    them together. Their output becomes this process's."""
    from snaketune.training.tracking import Tracking

    job = {
        "plan": dataclasses.asdict(plan)
        | {
            "model": plan.model.model_dump(mode="json"),
            "preset": plan.preset.model_dump(mode="json"),
        },
        "out": dataclasses.asdict(out),
        "paths": [train_rows, dev_rows, work],
        "threads": max(1, threads // processes),
        "tracking": dataclasses.asdict(tracking or Tracking()),
        "save_every": save_every,
    }
    command = [sys.executable, "-m", _MODULE, "--standalone"]
    command += ["--nproc-per-node", str(processes), "--shutdown-timeout", str(_TO_SAVE)]
    command += ["-m", _MODULE, _TRAIN, json.dumps(job, default=str)]
    paths = [str(_LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment = under_me(environment)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        try:
            for line in child.stdout or ():
                print(line, end="", file=sys.stderr)
        except Preempted:
            # The launcher hands it on to the processes, which save and end.
            child.terminate()
            print(child.communicate()[0], end="", file=sys.stderr)
            raise
    if child.returncode:
        raise UserError(f"{processes} training processes ended with {child.returncode}; see above")


def _train(text: str) -> None:
    """What each process does with the job that it is handed."""
    from snaketune.config.model import ModelSpec, Preset
    from snaketune.training.assemble import TrainingPlan
    from snaketune.training.run import TrainingOutputs, run_training
    from snaketune.training.tracking import Tracking

    end_on_preemption()
    job = json.loads(text)
    plan, out = job["plan"], job["out"]
    plan["model"] = ModelSpec.model_validate(plan["model"])
    plan["preset"] = Preset.model_validate(plan["preset"])
    paths: dict[str, Any] = {
        name: [Path(p) for p in value] if isinstance(value, list) else Path(value)
        for name, value in out.items()
    }
    try:
        train_rows, dev_rows, work = map(Path, job["paths"])
        run_training(
            TrainingPlan(**plan),
            train_rows,
            dev_rows,
            TrainingOutputs(**paths),
            work,
            job["threads"],
            job["save_every"],
            Tracking(**job["tracking"]),
        )
    except Preempted as warning:
        print(f"stopped: {warning}", file=sys.stderr)
        raise SystemExit(1) from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        end_all()
    except Exception:
        traceback.print_exc()
        end_all()


def _run_torchrun() -> None:
    """Runs `torchrun` with this process's arguments."""
    # A warning before the job's end may come to every process of it, and torchrun hears only
    # SIGTERM: of this one it would die, and its processes with it, before they have saved.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    from torch.distributed.run import main as torchrun

    os.environ.update(under_me({}))
    torchrun()


def under_me(environment: dict[str, str]) -> dict[str, str]:
    """The environment for a process that calls `end_with_parent`."""
    return environment | {_PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """From here on this process is killed when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before it was asked.
    if os.getppid() != int(os.environ[_PARENT]):
        raise SystemExit(1)


def end_all() -> None:
    """Ends the launcher, and so every process under it, this one included. A process that fails
    would leave the others waiting for it in a collective operation, where no signal reaches them
    but this one."""
    sys.stderr.flush()
    sys.stdout.flush()
    os.kill(int(os.environ[_PARENT]), signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    if sys.argv[1] == _TRAIN:
        _train(sys.argv[2])
    else:
        _run_torchrun()
