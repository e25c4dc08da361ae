"""GPUs of one machine: no device for two jobs, and none lost when a job dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from snaketune.runtime import devices
from snaketune.runtime.devices import visible_devices

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
CLAIM = (
    "import os, sys, time\n"
    "from pathlib import Path\n"
    "from snaketune.runtime import devices\n"
    "from snaketune.runtime.errors import UserError\n"
    "devices.FOLDER = Path(sys.argv[2])\n"
    "if 'AS' in os.environ: os.setuid(int(os.environ['AS']))\n"
    "try:\n"
    "    devices.claim_devices(int(sys.argv[1]))\n"
    "except UserError as error:\n"
    "    print('refused:', error, flush=True); sys.exit(1)\n"
    "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def locks():
    """A folder for locks, to be made, where every user may go."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder / "locks"
    shutil.rmtree(folder)


@pytest.fixture
def claim(locks: Path):
    """Starts a process that claims so many of four devices and holds them."""
    running: list[subprocess.Popen] = []

    def start(
        count: int, devices: str | None = "0,1,2,3", **more: str
    ) -> tuple[subprocess.Popen, str]:  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "CUDA"))}
        environment |= {"PYTHONPATH": str(SCRIPTS), **more}
        if devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(count), str(locks)],
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


def test_a_chat_takes_a_spare_device_and_waits_for_none(claim, locks: Path, monkeypatch) -> None:
    monkeypatch.setattr(devices, "FOLDER", locks)
    monkeypatch.setattr(devices, "_held", [])
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert claim(1, devices="0,1")[1] == "0"
    for taken in ("1", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        devices.claim_spare_device(1)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == taken
        monkeypatch.setattr(devices, "_held", [])


def test_no_gpu_granted_means_none_seen(claim) -> None:
    process, first = claim(0)
    assert first.startswith("no GPU was granted")
    assert process.stdout.readline().strip() == ""


def test_slurm_jobs_have_the_devices_that_slurm_gave_them(claim) -> None:
    """Whoever else may use a device, as where a site lets jobs share them, is SLURM's to say."""
    assert claim(1, devices="3", SLURM_JOB_ID="1")[1] == "3"
    assert claim(1, devices="3", SLURM_JOB_ID="2")[1] == "3"


def test_jobs_in_one_allocation_never_share_a_device(claim) -> None:
    taken = [claim(2, SLURM_JOB_ID="7")[1] for _ in range(2)]
    assert taken == ["0,1", "2,3"]
    refused = claim(1, SLURM_JOB_ID="7")[1]
    assert refused.startswith("refused") and "0 of 4 in SLURM job 7" in refused


SMI = """#!/bin/sh
[ "$1" = --query-gpu=index,uuid ] || exit 1
echo '0, GPU-aaaa1111'
echo '1, GPU-bbbb2222'
"""


def test_a_device_is_the_same_by_whatever_name(claim, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text(SMI)
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    assert claim(1, "1", **path)[1] == "1"
    for name in ("GPU-bbbb2222", "GPU-bb", "1"):
        assert claim(1, name, **path)[1].startswith("refused"), name
    assert claim(1, None, TMPDIR=str(tmp_path), **path)[1] == "0"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_users_of_one_machine_see_each_others_locks(claim) -> None:
    assert claim(1, "0,1", AS="65534")[1] == "0"
    assert claim(1, "0,1")[1] == "1"
    assert claim(1, "0,1", AS="65533")[1].startswith("refused")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [("", []), ("2", ["2"]), ("0, 1", ["0", "1"]), ("0,-1,1", ["0"]), ("-1", [])],
)
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
from snaketune.runtime import devices
from snaketune.runtime.job import job

devices.FOLDER = Path("locks").resolve()
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
    environment |= {"PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
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


def _nvml(taken, mute=()):
    """NVML of devices that took so many millijoules; those in `mute` do not tell."""
    names = sorted(taken)

    def handle(name, device):
        device._obj.value = 1 + names.index(name.decode())
        return 0

    def consumed(device, energy):
        name = names[device.value - 1]
        energy._obj.value = taken[name]
        return 3 if name in mute else 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=consumed,
    )


def test_energy_is_that_of_the_claimed_devices_since_the_claim(monkeypatch):
    taken = {"GPU-a": 10_000, "GPU-b": 500}
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: _nvml(taken))
    monkeypatch.setenv("SNAKETUNE_ENERGY", json.dumps({"GPU-a": 4_000, "GPU-b": 0}))
    assert devices.energy_joules() == 6.5
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: _nvml(taken, mute=["GPU-b"]))
    assert devices.energy_joules() is None, "one of them does not tell"
    monkeypatch.delenv("SNAKETUNE_ENERGY")
    assert devices.energy_joules() is None, "none was claimed"


def test_without_the_drivers_library_there_is_no_energy(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(devices.ctypes, "CDLL", missing)
    monkeypatch.setenv("SNAKETUNE_ENERGY", json.dumps({"GPU-a": 1}))
    assert devices.energy_joules() is None
