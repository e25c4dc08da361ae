"""SIGKILL in the middle of a rule, and every way to end a start at random moments, then the same
command: the tables and the weights are the same. In every rule, and the random moments, are for
`make test-faults`."""

import csv
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import psutil
import pytest
from conftest import Project, reduced_project

# The rule of each script, in the order of the DAG; each is killed once.
RULES = {
    "prepare": "prepare", "pin_model": "pin_model", "check_model": "model",
    "tokenize_rows": "tokenize", "train": "train", "generate": "generate", "judge": "judge",
    "measure": "measure", "choose": "choose", "aggregate": "aggregate", "report": "report",
}  # fmt: skip
# These keep what they have done in a work folder; they are killed once it is there. The others
# are short, and may be done by the time that an earlier kill stops the rest: they are made anew.
RESUMABLE = ("train", "generate", "judge")


def started(project: Project, out: TextIO, *arguments: str) -> subprocess.Popen:
    """The command, as the leader of a group of its own, as a terminal starts it."""
    return subprocess.Popen(
        project.command(*arguments),
        cwd=project.folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def kill_in(project: Project, script: str, whole: bool = False) -> int:
    """Runs until `script` has worked for a while, kills its process, or with `whole` the start and
    all that it has begun as a power cut would, and returns the exit code."""
    with (project.folder / "killed.log").open("a") as log:
        process = started(
            project,
            log,
            *([] if script in RESUMABLE else ["--forcerun", RULES[script]]),
            # One job at a time, so that the work that is waited for is the victim's.
            *("--resources", "gpu=1"),
        )
        victim = wait_for(process, f".{script}.py")
        if script in RESUMABLE:
            wait_for_work(victim, project.folder / "results/demo/.work" / script)
        if whole:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            victim.kill()
        return process.wait(timeout=300)


# Who gets which signal. A terminal sends its signals to all of its group.
ENDS = (
    ("all", signal.SIGKILL), ("start", signal.SIGKILL), ("job", signal.SIGKILL),
    ("start", signal.SIGTERM), ("all", signal.SIGINT), ("all", signal.SIGHUP),
)  # fmt: skip


def ended_at(project: Project, jobs: int, wait: float, who: str, number: signal.Signals) -> None:
    """Starts the command, and sends the signal `wait` seconds after so many jobs have begun."""
    with (project.folder / "killed.log").open("a") as log:
        process = started(project, log)
        while len(begun(project)) < jobs and process.poll() is None:
            time.sleep(0.05)
        time.sleep(wait)
        victim = wait_for(process, ".py") if who == "job" else None
        assert process.poll() is None, f"the start had ended before job {jobs}"
        if victim:
            victim.send_signal(number)
        elif who == "all":
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(timeout=600) != 0
    # Of those that a lone SIGKILL orphans, the next start has to take care. Jobs that were begun
    # from elsewhere, as a test's are, see within seconds that their start is gone.
    if (who, number) == ("all", signal.SIGKILL):
        until = time.monotonic() + 60
        while alive_in(project.folder) and time.monotonic() < until:
            time.sleep(0.2)
    if (who, number) != ("start", signal.SIGKILL):
        assert not alive_in(project.folder)


def begun(project: Project) -> list[Path]:
    """The logs of all jobs that began."""
    return list((project.folder / "results/demo/logs").rglob("*.log"))


def alive_in(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def weights(project: Project) -> dict[str, bytes]:
    folder = project.folder / "results/demo/train"
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.safetensors")}


def wait_for(process: subprocess.Popen, ending: str) -> psutil.Process:
    """The first descendant that runs a script whose name has this ending."""
    while process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                # The script by itself, not the shell's whole line that ends with it.
                if any(p.endswith(ending) and " " not in p for p in child.cmdline()):
                    return child
            except psutil.Error:
                continue
        time.sleep(0.02)
    raise AssertionError(f"no process ran {ending}")


def wait_for_work(victim: psutil.Process, folder: Path) -> None:
    # A job holds a lock while it works; what jobs before it have kept lies there too.
    while not any(folder.rglob(".*.lock")):
        assert victim.is_running(), f"{folder}: the job ended without having worked there"
        time.sleep(0.02)


def tables(project: Project) -> dict[str, object]:
    """What the tables say, without how long things took."""
    folder = project.folder / "results/demo/tables"
    found: dict[str, object] = {
        name: (folder / name).read_text()
        for name in ("final_metrics.csv", "metrics.csv", "comparisons.csv")
    }
    final = json.loads((folder / "final_metrics.json").read_text())
    # The hashes are of files with times in them, too.
    found["final_metrics.json"] = {k: v for k, v in final.items() if k != "as_made"}
    for name in ("summary.csv", "checkpoint_scores.csv"):
        found[name] = [_timeless(row) for row in _rows(folder / name)]
    return found


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


def _timeless(row: dict[str, str]) -> dict[str, str]:
    measured = ("seconds", "tokens_per_second", "memory")
    return {k: v for k, v in row.items() if not any(word in k for word in measured)}


def killed_in(project: Project, scripts: Iterable[str]) -> Project:
    """The reduced demo, at its end after a kill in each of these scripts."""
    for number, script in enumerate(scripts):
        # The first time all of it: Snakemake's locks stay.
        assert kill_in(project, script, whole=number == 0) != 0, (
            f"{script} had finished before it was killed"
        )
    project.run()
    return project


def test_kills_change_nothing(finished: Project, tmp_path: Path) -> None:
    """In what goes on where it was, in a rule that begins anew, and of the whole start."""
    project = killed_in(reduced_project(tmp_path / "project"), [*RESUMABLE, "measure"])
    assert tables(project) == tables(finished)


@pytest.mark.long
def test_a_kill_in_every_rule_changes_nothing(finished: Project, tmp_path: Path) -> None:
    project = killed_in(reduced_project(tmp_path / "project"), RULES)
    assert tables(project) == tables(finished)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_five_ends_at_random_moments_change_nothing(
    finished: Project, tmp_path: Path, seed: int
) -> None:
    draw, project = random.Random(seed), reduced_project(tmp_path / "project")
    for n in range(5):
        jobs = round(len(begun(finished)) * (n + draw.random()) / 5.5)
        ended_at(project, jobs, draw.uniform(0, 3), *ENDS[(5 * seed + n) % len(ENDS)])
    project.run()
    assert tables(project) == tables(finished)
    assert weights(project) == weights(finished)


@pytest.mark.long
def test_ctrl_c_saves_and_says_so_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """Every process of a terminal gets it."""
    project = reduced_project(tmp_path / "project")
    # So long that it is still at it when it is stopped.
    target = ("--config", "presets={simple: {epochs: 9, max_steps: 100}}", "--")
    target += ("results/demo/train/simple/train_meta.json",)
    with (tmp_path / "out.txt").open("w") as out:
        process = started(project, out, *target)
        log = project.folder / "results/demo/logs/train/simple.log"
        while not (log.is_file() and " steps/s" in log.read_text()):
            assert process.poll() is None, (tmp_path / "out.txt").read_text()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=120) == 1
    said = (tmp_path / "out.txt").read_text()
    assert said.splitlines()[-1] == "stopped by you; the same command goes on from here"
    assert "Traceback" not in said and "failed" not in said and "Error" not in said
    assert "SIGINT said that the job is about to be ended; saved step" in log.read_text()
    project.run(*target)
    assert "going on from step" in log.read_text()
