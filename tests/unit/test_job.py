"""A script's frame: where its output goes and how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


def run(
    body: str, log: Path, gpu: int | None = None, **environment: str
) -> subprocess.CompletedProcess:
    code = (
        "from snaketune.runtime.job import job\nfrom snaketune.runtime.errors import UserError\n"
        f"with job({str(log)!r}, {gpu}):\n    {body}\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SCRIPTS), **environment}, capture_output=True, text=True,
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


def test_where_the_start_shows_lines_of_its_own_jobs_are_quiet(tmp_path: Path) -> None:
    done = run("print('120/320 rows')", tmp_path / "log", 0, SNAKETUNE_LISTING="lines")
    assert "120/320 rows" in (tmp_path / "log").read_text() and done.stderr == ""


@pytest.mark.parametrize(
    ("body", "said", "to_do", "traced"),
    [
        ("raise UserError('x: no')", "error: x: no", "mend what this names", False),
        ("raise MemoryError", "error: out of memory", "make room in one of these ways", False),
        ("raise OSError(28, 'No space', 'f')", "disk or a quota", "free room there", False),
        ("import no_such_package", "ModuleNotFoundError", "install the environment again", True),
        ("1 / 0", "ZeroDivisionError", "report it with this log", True),
    ],
)
def test_what_to_do_fits_the_fault(
    tmp_path: Path, body: str, said: str, to_do: str, traced: bool
) -> None:
    run(body, tmp_path / "log")
    text = (tmp_path / "log").read_text()
    assert said in text and text.count("What to do:") == 1
    assert to_do in text.rstrip().splitlines()[-1]
    assert ("Traceback" in text) == traced


@pytest.mark.parametrize("gpu", [None, 0])
def test_ctrl_c_ends_a_job_with_what_it_has(tmp_path: Path, gpu: int | None) -> None:
    body = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)"
    done = run(body, tmp_path / "log", gpu)
    text = (tmp_path / "log").read_text()
    assert done.returncode == 1 and text.startswith("stopped") and "Traceback" not in text
    assert "What was done is kept" in text
