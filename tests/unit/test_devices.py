"""GPUs of one machine: no device for two jobs, and none lost when a job dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from snaketune.devices import visible_devices

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
CLAIM = (
    "import os, sys, time\n"
    "from snaketune.devices import claim_devices\n"
    "from snaketune.errors import UserError\n"
    "try:\n"
    "    claim_devices(int(sys.argv[1]))\n"
    "except UserError as error:\n"
    "    print('refused:', error, flush=True); sys.exit(1)\n"
    "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def claim(tmp_path: Path):
    """Starts a process that claims so many of four devices and holds them."""
    running: list[subprocess.Popen] = []

    def start(count: int, devices: str = "0,1,2,3", **more: str) -> tuple[subprocess.Popen, str]:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SLURM")},
            "PYTHONPATH": str(SCRIPTS),
            "TMPDIR": str(tmp_path),
            "CUDA_VISIBLE_DEVICES": devices,
            **more,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(count)],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_four_jobs_take_four_devices_and_a_fifth_is_refused(claim) -> None:
    taken = [claim(1)[1] for _ in range(4)]
    assert sorted(taken) == ["0", "1", "2", "3"]
    assert claim(1)[1].startswith("refused: 1 GPUs granted")


def test_a_killed_job_frees_its_devices(claim) -> None:
    process, taken = claim(3)
    assert taken == "0,1,2"
    assert claim(2)[1].startswith("refused")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert claim(3)[1] == "0,1,2"


def test_no_gpu_granted_means_none_seen(claim) -> None:
    process, first = claim(0)
    assert first.startswith("no GPU was granted")
    assert process.stdout.readline().strip() == ""


def test_under_slurm_the_allocation_is_trusted(claim) -> None:
    assert claim(1, devices="3", SLURM_JOB_ID="1")[1] == "3"
    assert claim(1, devices="3", SLURM_JOB_ID="2")[1] == "3"


@pytest.mark.parametrize(("shown", "expected"), [("", []), ("2", ["2"]), ("0,1", ["0", "1"])])
def test_what_the_environment_allows_is_all_there_is(shown: str, expected: list[str]) -> None:
    assert visible_devices({"CUDA_VISIBLE_DEVICES": shown}) == expected


SNAKEFILE = """
rule all:
    input: expand("{job}.txt", job=range(8))
rule one:
    output: "{job}.txt"
    log: "{job}.log"
    resources: gpu=1
    script: "one.py"
"""
# Each job notes its device and the time from when to when it had it; job 0 dies the hard way.
JOB = """
import os, signal, time
from pathlib import Path
from snaketune.job import job

with job(snakemake.log[0], gpu=snakemake.resources.gpu):
    start = time.time()
    time.sleep(1)
    with open("held.txt", "a") as file:
        file.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {start} {time.time()}\\n")
    first = Path("killed")
    if snakemake.wildcards.job == "0" and not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    Path(snakemake.output[0]).touch()
"""


def test_four_jobs_at_once_under_snakemake_never_share_a_device(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "one.py").write_text(JOB)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    environment |= {
        "PYTHONPATH": str(SCRIPTS), "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "0,1,2,3",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "8", "--resources", "gpu=4",
         "--retries", "1"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    held = [line.split() for line in (tmp_path / "held.txt").read_text().splitlines()]
    times = [(device, float(start), float(end)) for device, start, end in held]
    assert len(times) == 9, "eight jobs, of which one was killed and came back"
    assert {device for device, *_ in times} == {"0", "1", "2", "3"}
    for i, (device, start, end) in enumerate(times):
        for other, from_, to in times[:i]:
            assert device != other or end <= from_ or to <= start
