"""A job that is warned before its end keeps what it has done."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import test_training_run as trainings
import torch
from tiny_chat import questions, save_chat_model

from snaketune.data.example import Example, write_examples
from snaketune.runtime.files import read_jsonl
from snaketune.runtime.job import SIGNALS

files = trainings.files
SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
PATHS = [str(SCRIPTS), str(Path(__file__).parent)]

WORKS = """
import sys, time
from pathlib import Path
from snaketune.inference.ledger import Ledger, wanted_by_key
from snaketune.runtime.job import job
with job(sys.argv[1] + "/log", 0):
    ledger = Ledger(Path(sys.argv[1]), "1of1", wanted_by_key((str(i), 0) for i in range(1000)))
    for i in range(1000):
        ledger.append({"id": str(i)})
        time.sleep(0.01)
"""
TRAINS = """
import sys
sys.path[:0] = {paths}
from pathlib import Path
import test_training_run as trainings
from snaketune.runtime.job import job
trainings.torch.set_num_threads(1)
real = trainings.loop.take_step
def slow(*arguments):
    trainings.time.sleep(0.3)
    return real(*arguments)
trainings.loop.take_step = slow
with job(sys.argv[2] + "/log", 0):
    # So seldom a checkpoint that only the warning can have made one.
    trainings.train(Path(sys.argv[1]), Path(sys.argv[2]), snapshots=3, save_every=3600)
"""


def warned_when(command: list[str], ready, number: signal.Signals) -> tuple[int, str]:
    """Starts a job, sends it the signal once `ready()`, and returns exit code and its errors."""
    child = subprocess.Popen(
        [sys.executable, "-c", *command],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < until and child.poll() is None
        time.sleep(0.01)
    child.send_signal(number)
    return child.wait(60), child.communicate()[1]


@pytest.mark.parametrize("number", SIGNALS)
def test_work_that_keeps_records_ends_at_once_and_says_why(tmp_path: Path, number) -> None:
    records = tmp_path / "1of1/records.jsonl"
    code, said = warned_when(
        [WORKS, str(tmp_path)], lambda: records.is_file() and records.stat().st_size > 50, number
    )
    assert code == 1
    assert f"stopped: {number.name} said that the job is about to be ended" in said
    assert (tmp_path / "log").read_text().rstrip().endswith("it goes on from there.")
    assert records.read_bytes().endswith(b"}\n")
    assert "Traceback" not in said


def test_the_time_that_the_user_grants_ends_a_job(tmp_path: Path) -> None:
    limited = WORKS.replace('"/log", 0)', '"/log", 0, 0.02)')
    code, said = warned_when([limited, str(tmp_path)], lambda: True, signal.SIGCONT)
    assert code == 1
    assert "stopped: the time that `resources: {minutes: N}` grants is over" in said
    kept = (tmp_path / "1of1/records.jsonl").read_bytes()
    assert kept.endswith(b"}\n") and 10 < kept.count(b"\n") < 1000


def test_a_training_saves_its_step_and_goes_on_from_it(files, tmp_path: Path, capsys) -> None:
    torch.set_num_threads(1)
    whole = trainings.train(files, tmp_path / "whole", snapshots=3)
    folder = tmp_path / "warned"
    paths = [str(Path(__file__).parent), str(SCRIPTS)]
    code, said = warned_when(
        [TRAINS.format(paths=paths), str(files), str(folder)],
        # The first snapshot comes after 4 of the 12 steps.
        lambda: any(folder.glob("work/*/snapshots/1of3")),
        signal.SIGTERM,
    )
    assert code == 1
    step = int(said.partition("saved step ")[2].partition(".")[0])
    assert 4 <= step < 12
    assert not (folder / "final").exists()
    resumed = trainings.train(files, folder, snapshots=3)
    assert f"going on from step {step}" in capsys.readouterr().out
    trainings.assert_same_training(resumed, whole)


@pytest.fixture
def start():
    """Starts Python code as a job with its log in the folder that is its first argument."""
    running: list[subprocess.Popen] = []

    def start(body: str, folder: Path, *arguments: object) -> subprocess.Popen:
        folder.mkdir(exist_ok=True)
        lines = [
            "import sys, time",
            "from pathlib import Path",
            "from snaketune.runtime.job import job",
        ]
        lines += ["folder = Path(sys.argv[1])", "with job(str(folder / 'log'), 0):"]
        lines += [f"    {line}" for line in body.strip().splitlines()]
        process = subprocess.Popen(
            [sys.executable, "-c", "\n".join(lines), str(folder), *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(there, process: subprocess.Popen, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, "the job ended before it was warned"
        assert time.monotonic() < until, "the job did not come so far"
        time.sleep(0.01)


def shows(log: Path, text: str):
    return lambda: log.exists() and text in log.read_text()


# SLURM signals every process of a job's step: the script, the shell around it and Snakemake.
SAVES = """
import signal, time
from pathlib import Path
from snaketune.runtime.job import job
from snaketune.runtime.job import preemption_deferred, preemption_signal
with job(snakemake.log[0], 0), preemption_deferred():
    Path("started").touch()
    while not preemption_signal():
        time.sleep(0.05)
    time.sleep(2)
    Path("saved").touch()
raise SystemExit(1)
"""
ONE_RULE = """
import signal
{lines}
rule one:
    output: "one.txt"
    log: "one.log"
    script: "one.py"
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_shell_and_the_snakemake_around_a_script_wait_until_it_has_saved(
    tmp_path: Path, number
) -> None:
    head = SCRIPTS.parents[1].joinpath("Snakefile").read_text()
    lines = re.search(r"^shell\.prefix.*?SIG_IGN\)$", head, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "Snakefile").write_text(ONE_RULE.format(lines=lines))
    (tmp_path / "one.py").write_text(SAVES)
    command = ["-m", "snakemake", "one.txt", "--cores", "1", "--mode", "remote"]
    command += ["--target-jobs", "one:", "--force", "--nolock", "--allowed-rules", "one"]
    running = subprocess.Popen(
        [sys.executable, *command, "--target-files-omit-workdir-adjustment"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until((tmp_path / "started").exists, running)
    processes = psutil.Process(running.pid).children(recursive=True)
    assert any(process.name() == "bash" for process in processes), "the shell stays as a parent"
    for process in (psutil.Process(running.pid), *processes):
        process.send_signal(number)
    assert running.wait(60) == 1, running.stderr.read()
    assert (tmp_path / "saved").exists()


INTERRUPTED = """
import sys
sys.path.append("{scripts}")
from snaketune.runtime.alive import begin_start, stop_jobs_too
begin_start()
{lines}
rule one:
    output: "one.txt"
    log: "one.log"
    script: "one.py"
onstart:
    stop_jobs_too()
"""


@pytest.fixture
def interrupted(tmp_path: Path):
    """A start whose job works, in a session of its own."""
    head = SCRIPTS.parents[1].joinpath("Snakefile").read_text()
    lines = re.search(r"^shell\.prefix.*?$", head, re.MULTILINE)[0]
    (tmp_path / "Snakefile").write_text(INTERRUPTED.format(lines=lines, scripts=SCRIPTS))
    (tmp_path / "one.py").write_text(SAVES)
    running = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "one.txt", "--cores", "1"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until((tmp_path / "started").exists, running)
    yield running
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_start_that_is_stopped_waits_until_its_jobs_have_saved(
    interrupted: subprocess.Popen, tmp_path: Path, number: signal.Signals
) -> None:
    below = psutil.Process(interrupted.pid).children(recursive=True)
    interrupted.send_signal(number)
    assert interrupted.wait(60) == 1
    assert (tmp_path / "saved").exists()
    said = interrupted.communicate()[1]
    assert said.count("stopping: ") == 1 and "Traceback" not in said
    assert not psutil.wait_procs(below, timeout=5)[1]


def test_a_second_interrupt_ends_all_at_once(interrupted: subprocess.Popen, tmp_path: Path) -> None:
    below = psutil.Process(interrupted.pid).children(recursive=True)
    interrupted.send_signal(signal.SIGINT)
    while "stopping: " not in interrupted.stderr.readline():
        pass
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(10) == 130
    assert not psutil.wait_procs(below, timeout=5)[1]
    assert not (tmp_path / "saved").exists()
    # And the locks that it left don't stop the next one.
    (tmp_path / "one.py").write_text("open(snakemake.output[0], 'w').close()")
    again = subprocess.run(interrupted.args, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr


LOST = """
import os, signal
from snaketune.inference.ledger import Ledger, wanted_by_key
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
ledger = Ledger(folder, "1of1", wanted_by_key([("a", 0), ("b", 0)]))
last = Last()
del last
ledger.append({"id": "a"})
ledger.append({"id": "b"})
"""


def test_a_warning_that_a_destructor_swallowed_ends_the_job_after_the_next_record(
    start, tmp_path
) -> None:
    assert start(LOST, tmp_path).wait(30) == 1
    assert "stopped: SIGTERM" in (tmp_path / "log").read_text()
    assert [r["id"] for r in read_jsonl(tmp_path / "1of1/records.jsonl")] == ["a"]


PARALLEL = """
import test_training_launch as tests
preset = {preset!r}
if __name__ == "__main__":
    tests.launch_processes(2, *tests.job(Path(sys.argv[2]), folder, preset))
"""


def test_warned_processes_of_one_training_save_together(start, files, tmp_path) -> None:
    """SLURM signals every process of a step; a person signals perhaps only the first."""
    endless = trainings.PLAIN | {"epochs": 10_000, "eval_per_epoch": 0}
    folder, saved = tmp_path / "job", []
    for number, to_all in ((signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGUSR1, True)):
        process = start(PARALLEL.format(preset=endless), folder, files)
        wait_until(shows(folder / "log", "steps/s"), process)
        processes = _family(process.pid)
        assert len(processes) >= 4, "the job, torch's launcher and two processes"
        for pid in processes if to_all else processes[:1]:
            os.kill(pid, number)
        assert process.wait(60) == 1
        assert not any(psutil.pid_exists(pid) for pid in processes[1:]), "none is left behind"
        log = (folder / "log").read_text()
        (folder / "log").unlink()
        saved.append(int(re.search(r"saved step (\d+)", log)[1]))
    assert f"going on from step {saved[1]}" in log
    assert saved[2] > saved[1] > saved[0]


def _family(pid: int) -> list[int]:
    """A process and all that it started."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


GENERATION = """
from snaketune.config.model import ModelSpec
from snaketune.inference import generate as module
from snaketune.inference.session import LoadableState
from snaketune.inference.ledger import Ledger
append = Ledger.append
def slow(ledger, record):
    append(ledger, record)
    (folder / "count").write_text(str(len(ledger.records)))
    time.sleep(0.05)
Ledger.append = slow
module.generate(
    LoadableState(ModelSpec(id=sys.argv[2]), "none", "none", []),
    module.GenerationProtocol("math", "add", 0, None, 12, 4),
    folder / "examples.parquet", None, folder / "work",
    folder / "replies.jsonl", folder / "meta.json",
)
"""


def test_a_warned_generation_keeps_its_replies_and_goes_on(start, tmp_path) -> None:
    model = save_chat_model(tmp_path / "model")
    folders = [tmp_path / "whole", tmp_path / "warned"]
    for folder in folders:
        folder.mkdir()
        examples = [Example(f"e{i}", q) for i, q in enumerate(questions(40))]
        write_examples(folder / "examples.parquet", examples)
    whole = start(GENERATION, folders[0], model)
    process = start(GENERATION, folders[1], model)
    count = folders[1] / "count"
    wait_until(lambda: count.exists() and int(count.read_text() or 0) >= 6, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 1
    kept = int(count.read_text())
    assert 6 <= kept < 40 and not (folders[1] / "replies.jsonl").exists()
    assert start(GENERATION, folders[1], model).wait(60) == 0 == whole.wait(60)
    assert '"resumed_records": 0' not in (folders[1] / "meta.json").read_text()
    assert (folders[1] / "replies.jsonl").read_bytes() == (
        folders[0] / "replies.jsonl"
    ).read_bytes()
