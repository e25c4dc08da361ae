"""A script's frame: where its output goes and how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


def run(body: str, log: Path, gpu: int | None = None) -> subprocess.CompletedProcess:
    code = (
        "from snaketune.runtime.job import job\nfrom snaketune.runtime.errors import UserError\n"
        f"with job({str(log)!r}, {gpu}):\n    {body}\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True,
    )  # fmt: skip


def test_a_users_fault_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    done = run("raise UserError('data/x.jsonl:3: no answer')", tmp_path / "log")
    text = (tmp_path / "log").read_text()
    assert done.returncode == 1
    assert text.startswith("error: data/x.jsonl:3: no answer\n")
    assert text.rstrip().splitlines()[-1].startswith("What to do:")
    assert "Traceback" not in text + done.stderr


def test_our_fault_leaves_the_traceback_in_the_log_and_says_what_to_do(tmp_path: Path) -> None:
    done = run("1 / 0", tmp_path / "log")
    text = (tmp_path / "log").read_text()
    assert done.returncode == 1
    assert "ZeroDivisionError" in text
    assert text.rstrip().splitlines()[-1].startswith("What to do:")


@pytest.mark.parametrize("body", ["import torch; torch.empty(1 << 60)", "raise MemoryError"])
def test_memory_that_runs_out_outside_of_a_batch_is_one_message(tmp_path: Path, body: str) -> None:
    done = run(body, tmp_path / "log")
    text = (tmp_path / "log").read_text()
    assert done.returncode == 1
    assert text.startswith("error: out of memory where nothing can be done in smaller parts")
    assert "memory_gb" in text and "Traceback" not in text


@pytest.mark.parametrize(("gpu", "shown"), [(None, False), (0, True)])
def test_only_gpu_jobs_talk_to_the_terminal(tmp_path: Path, gpu: int | None, shown: bool) -> None:
    done = run("print('120/320 rows')", tmp_path / "deep/log", gpu)
    assert done.returncode == 0
    assert "120/320 rows" in (tmp_path / "deep/log").read_text()
    assert ("120/320 rows" in done.stderr) == shown


def test_a_library_may_ask_for_the_descriptor_of_the_output(tmp_path: Path) -> None:
    done = run("import os, sys; os.write(sys.stdout.fileno(), b'straight')", tmp_path / "log", 0)
    assert done.returncode == 0 and "straight" in done.stderr
