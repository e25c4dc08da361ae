"""The SLURM profile against a real SLURM with two fake GPUs."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import cluster
import pytest
import yaml
from conftest import OnSlurm, _load, one_run

R = Path("results/demo")
# Seconds in which whatever a test waits for has come, however busy the machine.
LONG = 300


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory):
    """The reduced demo, run on this machine."""
    project = one_run(tmp_path_factory.mktemp("local") / "project")
    project.run()
    return project


@pytest.fixture(scope="module")
def finished(on_slurm) -> OnSlurm:
    """The reduced demo, run through SLURM to the end."""
    project = on_slurm("demo")
    code, output = project.snakemake()
    assert code == 0, output[-6000:]
    return project


def wait_for(ready: Callable[[], object], trouble: str) -> None:
    until = time.monotonic() + LONG
    while not ready():
        assert time.monotonic() < until, trouble
        time.sleep(0.2)


def queued() -> set[str]:
    done = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def stop(running: subprocess.Popen, project: OnSlurm) -> None:
    """Ctrl-C, after which none of the project's jobs is left."""
    running.send_signal(signal.SIGINT)
    assert running.wait(LONG) != 0
    ours = {job.number for job in project.submitted()}
    wait_for(lambda: not ours & queued(), "jobs were left behind")


def resumed_at(log: str) -> int:
    """The step that a training says it goes on from; -1 where it began anew."""
    found = re.search(r"going on from step (\d+)", log)
    return int(found[1]) if found else -1


def change(project: OnSlurm, edit: Callable[[dict], None]) -> None:
    """Edits the project's config."""
    file = project.folder / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    edit(config)
    file.write_text(yaml.safe_dump(config, sort_keys=False))


def test_the_tables_are_those_of_a_local_run(local, finished: OnSlurm) -> None:
    tables = _load("test_interruption").tables
    assert tables(finished) == tables(local)


def test_submissions_say_what_the_rules_ask_for(finished: OnSlurm) -> None:
    jobs = finished.submitted()
    assert {job.rule for job in jobs} == {
        "environment", "tokenize", "train_adapter_0", "generate", "judge",
    }  # fmt: skip
    for job in jobs:
        light = job.rule == "tokenize"
        assert (job.partition, job.gpus) == (("cpu", None) if light else ("gpu", "1")), job.line
        assert "--signal=TERM@120" in job.line
        assert job.nodes == "1", "all GPUs of a job have to be on one node"
    assert len(finished.submitted("train_adapter_0")) == 1
    # What loads a model: 1.1 × (5 GB + 2 bytes a parameter + 16 a trained one), of a million.
    model = (range(5500, 5601), 30)
    expected = {"environment": ([4000], 10), "tokenize": ([8000], 120)}
    for job in jobs:
        memory, minutes = expected.get(job.rule, model)
        assert job.memory in memory and job.minutes == minutes, job.line


def test_jobs_on_one_gpu_do_not_overlap(finished: OnSlurm) -> None:
    ours = {job.number for job in finished.submitted() if job.gpus}
    busy: dict[str, str] = {}
    told: set[str] = set()
    most = 0
    for what, job, _, gpus in sorted(cluster.events(), key=lambda event: event[2]):
        for gpu in gpus if job in ours else ():
            if what == "start":
                assert gpu not in busy, f"GPU {gpu} went to job {job} and {busy[gpu]} at once"
                busy[gpu] = job
            elif what == "end":
                assert busy.pop(gpu) == job
            else:
                assert busy[gpu] == job, f"job {job} was told to use GPU {gpu}, which it has not"
                told.add(job)
        most = max(most, len(busy))
    assert told == ours
    assert most == cluster.GPUS, "both GPUs were in use at once"


def test_a_job_over_its_memory_comes_back_with_more(finished: OnSlurm, on_slurm) -> None:
    project = on_slurm("memory", like=finished)
    # torch and Snakemake take more than the first attempt may have, less than the second.
    change(project, lambda c: c["runs"]["simple"].update(resources={"memory_gb": 0.55}))
    code, output = project.snakemake("--retries", "5", f"{R}/train/simple/train_meta.json")
    assert code == 0, output[-6000:]
    asked = [job.memory for job in project.submitted("train_adapter_0")]
    assert len(asked) > 1 and asked == [550 * n for n in range(1, len(asked) + 1)]


# Holds more memory than the job has once there is a checkpoint, the first time, and stands still:
# SLURM has to end it, and what it ends is a training that could have gone on.
HOG = """
import os, signal, sys, threading, time
from pathlib import Path

def hold():
    while not any(Path("results/demo/.work/train").glob("*/*/checkpoint.pt")):
        time.sleep(0.05)
    Path("held").touch()
    block = b"1" * {size}
    os.kill(os.getpid(), signal.SIGSTOP)

if sys.orig_argv[-1].endswith("train.py") and not Path("held").exists():
    threading.Thread(target=hold, daemon=True).start()
"""


def test_a_job_killed_for_memory_goes_on_from_its_checkpoint(
    finished: OnSlurm, on_slurm, tmp_path: Path
) -> None:
    project = on_slurm("hog", like=finished)
    (tmp_path / "sitecustomize.py").write_text(HOG.format(size=3 * 10**9))

    def early(config: dict) -> None:
        config["runs"]["simple"]["resources"] = {"memory_gb": 2}
        # Weights that are a candidate for the best are saved with a checkpoint: with the first of
        # a few steps.
        config["presets"]["simple"] |= {"best": "loss", "eval_per_epoch": 125, "epochs": 1}

    change(project, early)
    target = f"{R}/train/simple/train_meta.json"
    code, output = project.snakemake(target, PYTHONPATH=str(tmp_path))
    assert code == 0, output[-6000:]
    first, second = project.submitted("train_adapter_0")
    assert [first.memory, second.memory] == [2000, 4000]
    assert (project.folder / "held").exists()
    assert resumed_at((project.folder / R / "logs/train/simple.log").read_text()) > 0


# SLURM moves the end of a job that runs; it looks at ends and warnings twice a minute.
@pytest.mark.parametrize(
    ("extra", "until_end"),
    [("", 2), ("--signal=TERM@120", 125)],
    ids=["at its limit", "warned before"],
)
def test_a_job_over_its_time_goes_on_from_its_checkpoint(
    finished: OnSlurm, on_slurm, extra: str, until_end: int
) -> None:
    project = on_slurm("time", like=finished)

    def endless(config: dict) -> None:
        config["runs"]["simple"]["resources"] = {"minutes": 5}
        config["presets"]["simple"] |= {"max_steps": 10**6, "epochs": 10**5, "eval_per_epoch": 0}

    change(project, endless)
    options = ["--set-resources", f"train_adapter_0:slurm_extra={extra}", "--"]
    running = project.start(*options, f"{R}/train/simple/train_meta.json")
    wait_for(lambda: project.submitted("train_adapter_0"), "nothing was submitted")
    [first] = project.submitted("train_adapter_0")
    wait_for(lambda: "steps/s" in project.attempt(first), "no step was done")
    end = datetime.now() + timedelta(seconds=until_end)
    moved = ["scontrol", "update", f"JobId={first.number}", f"EndTime={end:%Y-%m-%dT%H:%M:%S}"]
    subprocess.run(moved, check=True)

    wait_for(lambda: len(project.submitted("train_adapter_0")) > 1, "it was not tried again")
    saved = int(re.search(r"saved step (\d+)", project.attempt(first))[1])
    second = project.submitted("train_adapter_0")[1]
    assert [first.minutes, second.minutes] == [5, 10]
    wait_for(lambda: "steps/s" in project.attempt(second), "the second attempt did no step")
    assert resumed_at(project.attempt(second)) == saved > 0
    stop(running, project)


def test_a_job_cancelled_from_outside_is_seen_and_tried_again(on_slurm) -> None:
    project = on_slurm("cancelled")
    running = project.start(f"{R}/environment.json")
    wait_for(lambda: project.submitted("environment"), "nothing was submitted")
    first = project.submitted("environment")[0].number
    subprocess.run(["scancel", first], check=True)
    assert running.wait(LONG) == 0, project.output[-4000:]
    assert [job.minutes for job in project.submitted("environment")] == [10, 20]
    assert "Trying to restart job" in project.output


def test_ctrl_c_leaves_no_job_behind(on_slurm) -> None:
    project = on_slurm("stopped")
    running = project.start(f"{R}/environment.json")
    wait_for(lambda: project.submitted(), "nothing was submitted")
    assert {job.number for job in project.submitted()} & queued()
    stop(running, project)


def test_a_job_asks_for_what_was_submitted_for_it(finished: OnSlurm, on_slurm) -> None:
    project = on_slurm("granted", like=finished)
    change(project, lambda c: c["runs"]["simple"].update(gpu=2))
    code, output = project.snakemake(f"{R}/train/simple/train_meta.json")
    assert code == 0, output[-6000:]
    [job] = project.submitted("train_adapter_0")
    assert job.gpus == "2"
    # No GPU at all: the job itself must not ask for one either.
    (project.folder / R / "environment.json").unlink()
    code, output = project.snakemake(
        "--retries", "0", "--resources", "gpu=0", "--", f"{R}/environment.json"
    )
    assert code == 0, output[-6000:]
    assert project.submitted("environment")[-1].gpus is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["slurm_partition=gpuu"], "slurm_partition: found gpuu, which this site does not have"),
        (["slurm_acount=me"], "slurm_acount: no resource that anything reads; did you mean slurm"),
        (["partition=gpu"], "partition: no resource that anything reads; did you mean slurm"),
        (["--set-resources", "tokenise:mem=9GB"], "tokenise: found no rule of that name; did you"),
        (["--resources", "gpus=2"], "gpus: no job asks for that; did you mean gpu?"),
        (["--set-threads", "trian=3"], "set-threads: trian: found no rule of that name"),
        (["--set-resources", "tokenize:mem=99GB"], "at most 64000 MB"),
    ],
)
def test_a_fault_in_the_profile_is_told_before_anything_runs(
    on_slurm, arguments: list[str], expected: str
) -> None:
    project = on_slurm("fault")
    code, output = project.snakemake("--default-resources", *arguments)
    assert code != 0
    assert expected in output, output[-3000:]
    assert "Traceback" not in output
    assert not project.submitted() and not (project.folder / R / "data").exists()


def test_more_gpus_than_the_site_has(on_slurm) -> None:
    project = on_slurm("gpus")
    change(project, lambda c: c["runs"]["simple"].update(gpu=7))
    code, output = project.snakemake("--resources", "gpu=8")
    assert code != 0
    assert "found gpu 7" in output and "2 on a node" in output, output[-3000:]
    assert not project.submitted()
