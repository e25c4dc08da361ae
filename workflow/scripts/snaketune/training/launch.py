"""One training on several processes, through torch's own launcher."""

import dataclasses
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import torch

from snaketune.config.model import ModelSpec
from snaketune.config.preset import Preset
from snaketune.runtime.errors import UserError
from snaketune.runtime.preemption import Preempted, end_on_preemption
from snaketune.training import launcher
from snaketune.training.assemble import TrainingPlan
from snaketune.training.run import TrainingOutputs, run_training
from snaketune.training.tracking import Tracking, require_trackers

# Seconds that warned processes have to end their step and save, before they are killed. (Whoever
# warned the job has a limit of its own. So long too the others wait where one was killed.)
_TO_SAVE = 600
_LIBRARY = Path(__file__).resolve().parents[2]


def launch_training(
    plan: TrainingPlan,
    train_rows: Path,
    dev_rows: Path,
    out: TrainingOutputs,
    work: Path,
    threads: int,
    gpus: int,
    tracking: Tracking | None = None,
) -> None:
    """`run_training` on as many GPUs as were granted and are there; in this process, if it is one
    or none."""
    tracking = tracking or Tracking()
    require_trackers(tracking.names)
    # Under SLURM others of the allocation may be visible, too.
    processes = min(gpus, torch.cuda.device_count())
    if processes < 2:
        run_training(plan, train_rows, dev_rows, out, work, threads, tracking=tracking)
    else:
        launch_processes(processes, plan, train_rows, dev_rows, out, work, threads, tracking)


def launch_processes(
    processes: int,
    plan: TrainingPlan,
    train_rows: Path,
    dev_rows: Path,
    out: TrainingOutputs,
    work: Path,
    threads: int,
    tracking: Tracking | None = None,
) -> None:
    """`run_training` on so many processes, which share each step's rows. `threads` is for all of
    them together. Their output becomes this process's."""
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
    }
    command = [sys.executable, "-m", launcher.__name__, "--standalone"]
    command += ["--nproc-per-node", str(processes), "--shutdown-timeout", str(_TO_SAVE)]
    command += ["-m", __name__, json.dumps(job, default=str)]
    paths = [str(_LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment = launcher.under_me(environment)
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


def _work(text: str) -> None:
    """What each process does with the job that it is handed."""
    launcher.end_with_parent()
    end_on_preemption()
    job = json.loads(text)
    plan, out = job["plan"], job["out"]
    plan["model"] = ModelSpec.model_validate(plan["model"])
    plan["preset"] = Preset.model_validate(plan["preset"])
    paths = {
        name: [Path(p) for p in value] if isinstance(value, list) else Path(value)
        for name, value in out.items()
    }
    try:
        run_training(TrainingPlan(**plan), *map(Path, job["paths"][:2]), TrainingOutputs(**paths),
                     Path(job["paths"][2]), job["threads"],
                     tracking=Tracking(**job["tracking"]))  # fmt: skip
    except Preempted as warning:
        print(f"stopped: {warning}", file=sys.stderr)
        raise SystemExit(1) from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        launcher.end_all()
    except Exception:
        traceback.print_exc()
        launcher.end_all()


if __name__ == "__main__":
    _work(sys.argv[1])
