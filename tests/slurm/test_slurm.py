"""The SLURM profile against a real SLURM with two fake GPUs."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cluster
import pandas as pd
import pytest
import yaml
from conftest import OnSlurm, _load, one_run

R = Path("results/demo")


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


def wait_for(ready: Callable[[], object], trouble: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, trouble
        time.sleep(0.2)


def queued() -> set[str]:
    done = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


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
    train = finished.submitted("train_adapter_0")
    assert len(train) == 1
    # 1.1 × (5 GB + 2 bytes a parameter + 16 a trained one), of a million parameters.
    assert 5500 <= train[0].memory <= 5600
    assert train[0].minutes == 30


def test_jobs_on_one_gpu_do_not_overlap(finished: OnSlurm) -> None:
    ours = {job.number for job in finished.submitted() if job.gpus}
    busy: dict[str, str] = {}
    most = 0
    for what, job, _, gpus in sorted(cluster.events(), key=lambda event: event[2]):
        for gpu in gpus if job in ours else ():
            if what == "start":
                assert gpu not in busy, f"GPU {gpu} went to job {job} and {busy[gpu]} at once"
                busy[gpu] = job
            else:
                assert busy.pop(gpu) == job
        most = max(most, len(busy))
    assert most == cluster.GPUS, "both GPUs were in use at once"


def test_a_job_over_its_memory_comes_back_with_more(finished: OnSlurm, on_slurm) -> None:
    project = on_slurm("memory", like=finished)
    # torch and Snakemake take more than the first attempt may have, less than the second.
    change(project, lambda c: c["runs"]["simple"].update(resources={"memory_gb": 0.55}))
    code, output = project.snakemake("--retries", "5", f"{R}/train/simple/train_meta.json")
    assert code == 0, output[-6000:]
    asked = [job.memory for job in project.submitted("train_adapter_0")]
    assert len(asked) > 1 and asked == [550 * n for n in range(1, len(asked) + 1)]


def test_a_job_over_its_time_goes_on_from_its_checkpoint(
    local, finished: OnSlurm, on_slurm
) -> None:
    project = on_slurm("time", like=finished)
    taken = pd.read_parquet(local.folder / R / "train/simple/train_log.parquet")
    # More than any first attempt can do: SLURM ends jobs up to half a minute late.
    steps = int(120 / taken["seconds"].min())

    def slow(config: dict) -> None:
        config["runs"]["simple"]["resources"] = {"minutes": 1}
        config["presets"]["simple"] |= {"max_steps": steps, "epochs": 10_000, "eval_per_epoch": 0}

    change(project, slow)
    # Without the early warning, which would come at once here: the one at the end must do.
    extra = ["--set-resources", "train_adapter_0:slurm_extra=", "--"]
    code, output = project.snakemake(*extra, f"{R}/train/simple/train_meta.json")
    assert code == 0, output[-6000:]
    asked = [job.minutes for job in project.submitted("train_adapter_0")]
    assert len(asked) > 1 and asked == list(range(1, len(asked) + 1))
    log = (project.folder / R / "logs/train/simple.log").read_text()
    step = int(log.partition("going on from step ")[2].split()[0])
    assert 0 < step < steps
    done = json.loads((project.folder / R / "train/simple/train_meta.json").read_text())
    assert done["steps"] == steps


def test_a_job_cancelled_from_outside_is_seen_and_tried_again(on_slurm) -> None:
    project = on_slurm("cancelled")
    running = project.start(f"{R}/environment.json")
    wait_for(lambda: project.submitted("environment"), "nothing was submitted")
    first = project.submitted("environment")[0].number
    subprocess.run(["scancel", first], check=True)
    assert running.wait(120) == 0, project.output[-4000:]
    assert [job.minutes for job in project.submitted("environment")] == [10, 10]
    assert "Trying to restart job" in project.output


def test_ctrl_c_leaves_no_job_behind(on_slurm) -> None:
    project = on_slurm("stopped")
    running = project.start(f"{R}/environment.json")
    wait_for(lambda: project.submitted(), "nothing was submitted")
    assert {job.number for job in project.submitted()} & queued()
    running.send_signal(signal.SIGINT)
    assert running.wait(120) != 0
    ours = {job.number for job in project.submitted()}
    wait_for(lambda: not ours & queued(), "jobs were left behind", 60)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["slurm_partition=gpuu"], "slurm_partition: found gpuu, which this site does not have"),
        (["slurm_acount=me"], "slurm_acount: no resource that anything reads; did you mean slurm"),
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
