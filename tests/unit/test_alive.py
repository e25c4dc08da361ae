"""Locks that nobody holds are removed at the next start; all others stay."""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from snaketune.runtime import alive
from snaketune.runtime.job import HELD, START, job, process_mark

HERE = f"{socket.gethostname()} here\n"


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that a start on this host has left with its locks."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".snakemake/locks"
    folder.mkdir(parents=True)
    for name in ("0.input.lock", "0.output.lock"):
        (folder / name).write_text("results/report.html\n")
    (tmp_path / ".snakemake/alive").write_text(HERE)
    return folder


def test_after_a_kill_they_are_removed_with_a_word(locks: Path) -> None:
    assert alive.begin_start() == ["the start before was killed; this one goes on where it was"]
    assert not list(locks.iterdir())
    assert (locks.parent / "alive").read_text() == f"{HERE.rstrip()} {process_mark(os.getpid())}\n"


def test_without_any_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert alive.begin_start() == []


@pytest.mark.parametrize("who", ["job", "start"])
def test_while_somebody_works_they_stay(locks: Path, who: str) -> None:
    if who == "start":
        (locks.parent / "alive").unlink()
    call = {
        "job": "from snaketune.runtime.job import job\nwith job('log'): ",
        "start": "from snaketune.runtime.alive import begin_start\nbegin_start(); ",
    }[who]
    code = call + "import sys; print('in', file=sys.__stdout__, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    kept = sorted(locks.iterdir())
    (line,) = alive.begin_start()
    assert f"(process {other.pid})" in line
    assert sorted(locks.iterdir()) == kept
    other.communicate("")
    # What this process has noted by its own start is let go.
    for descriptor in HELD:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    alive.begin_start()
    assert not list(locks.iterdir())


@pytest.mark.parametrize(
    ("left", "words"),
    [("elsewhere here\n", "on elsewhere stay"), (HERE.replace("here", "cluster"), "cluster stay")],
)
def test_what_cannot_be_seen_from_here_stays(locks: Path, left: str, words: str) -> None:
    (locks.parent / "alive").write_text(left)
    (line,) = alive.begin_start()
    assert words in line and "--unlock" in line
    assert len(list(locks.iterdir())) == 2


def test_a_job_without_a_start_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with job("log"):
        pass
    assert not (tmp_path / ".snakemake").exists()


@pytest.fixture
def unheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has begun no start yet."""
    monkeypatch.setattr(alive, "HELD", [])


def test_who_works_beside_is_seen_without_a_trace(locks: Path, unheld: None) -> None:
    held = (locks.parent / "alive").open()
    assert not alive.works_beside()
    fcntl.flock(held, fcntl.LOCK_SH)
    assert alive.works_beside()
    assert alive.begin_dry_run() == ["another start works in this folder, or a job that one left"]
    held.close()
    assert not alive.works_beside()
    (locks.parent / "alive").unlink()
    assert not alive.works_beside() and not (locks.parent / "alive").exists()


def test_a_start_is_not_beside_itself(locks: Path, unheld: None) -> None:
    alive.begin_start()
    assert not alive.works_beside()


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (HERE, "the start before was killed; the next one goes on where it was"),
        ("elsewhere here\n", "the locks of a start on elsewhere stay"),
        (HERE.replace("here", "cluster"), "that submitted jobs to the cluster stay"),
    ],
)
def test_a_dry_run_says_it_and_takes_nothing_away(
    locks: Path, unheld: None, left: str, words: str
) -> None:
    (locks.parent / "alive").write_text(left)
    (line,) = alive.begin_dry_run()
    assert words in line and len(list(locks.iterdir())) == 2
    for lock in locks.iterdir():
        lock.unlink()
    assert alive.begin_dry_run() == []


def test_a_job_that_only_looks_holds_nothing(locks: Path, unheld: None) -> None:
    with job("log", looks=True):
        assert not alive.works_beside()


def test_a_job_ends_with_a_start_that_is_killed_and_the_next_start_waits_for_it(
    locks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = subprocess.Popen(["sleep", "600"])
    mark = process_mark(start.pid)
    assert mark is not None
    alive_file = locks.parent / "alive"
    alive_file.write_text(f"{HERE.rstrip()} {mark}\n")
    code = "import time; from snaketune.runtime.job import job\nwith job('log', 0): "
    code += "print('in', file=__import__('sys').__stdout__, flush=True); time.sleep(600)"
    left = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), START: mark},
    )  # fmt: skip
    assert left.stdout is not None
    assert left.stdout.readline() == "in\n"
    start.kill()
    start.wait()
    (line,) = alive.begin_start()
    assert line == "the start before was killed; this one goes on where it was"
    said = capsys.readouterr().err
    assert f"its jobs save what they have and end first (process {left.pid})" in said
    assert left.wait(30) == 1
    assert "stopped: the start that it belongs to was killed" in Path("log").read_text()
    assert not list(locks.iterdir())


def test_a_process_is_known_by_its_number_and_its_beginning() -> None:
    mark = process_mark(os.getpid())
    assert mark is not None and mark.startswith(f"{os.getpid()}:")
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert process_mark(ended.pid) is None
