"""A start that is handed to the process with the imports done is as any other start."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from warm_start import FOLDER


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of starts that reach a server; it has imported a package that nobody else has."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "only_there.py").write_text("")
    address = folder / "address"
    server = subprocess.Popen(
        [sys.executable, FOLDER / "server.py", address, "only_there", "not_there"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.PIPE,
    )
    while not address.exists():
        assert server.poll() is None
        time.sleep(0.02)
    yield {**os.environ, "WARM_SERVER": str(address), "PYTHONPATH": str(FOLDER)}
    server.communicate()


def script(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / ".snakemake/scripts/job.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return [sys.executable, str(file)]


SEEN = """
import json, os, sys
print(json.dumps({
    "server": "only_there" in sys.modules, "arguments": sys.argv, "path": sys.path,
    "folder": os.getcwd(), "given": os.environ.get("GIVEN"), "name": __name__, "file": __file__,
    "main": sys.modules["__main__"].__dict__ is globals(), "input": sys.stdin.read(),
}))
print("to errors", file=sys.stderr)
sys.exit(7)
"""


def test_it_sees_what_it_would_have_seen(environment: dict[str, str], tmp_path: Path) -> None:
    command = script(tmp_path, SEEN)
    cold = {**environment, "WARM_SERVER": ""}
    seen = []
    for one in (environment, cold):
        done = subprocess.run(
            command, env={**one, "GIVEN": "g"}, cwd=tmp_path, capture_output=True, text=True,
            input="typed",
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (7, "to errors\n")
        seen.append(json.loads(done.stdout))
    warm, cold_seen = seen
    assert warm.pop("server") and not cold_seen.pop("server")
    assert warm == cold_seen


def test_an_exception_is_told_and_ends_with_one(environment: dict[str, str], tmp_path: Path):
    command = script(tmp_path, "def f():\n    raise ValueError('so')\n\nf()\n")
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ValueError: so" in done.stderr


def test_with_another_environment_for_packages_it_starts_itself(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = script(tmp_path, SEEN)
    other = {**environment, "HF_ENDPOINT": "http://localhost:1"}
    done = subprocess.run(command, env=other, input="", capture_output=True, text=True)
    assert not json.loads(done.stdout)["server"]


WAITS = """
import os, signal, sys, time
def end(number, frame):
    os.write(1, f"ended {number}\\n".encode())
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_signal_reaches_it(environment: dict[str, str], tmp_path: Path) -> None:
    command = script(tmp_path, WAITS)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert int(process.stdout.readline()) != process.pid
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == f"ended {int(signal.SIGTERM)}\n"
    assert process.wait() == 3


def test_it_dies_with_who_waits_for_it(environment: dict[str, str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        script(tmp_path, WAITS), env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    child.wait(timeout=10)


def test_a_signal_that_ends_it_is_passed_on(environment: dict[str, str], tmp_path: Path) -> None:
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    done = subprocess.run(script(tmp_path, text), env=environment)
    assert done.returncode == -signal.SIGKILL
