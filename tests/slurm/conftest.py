"""The test cluster, and copies of the project whose jobs go through it."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cluster
import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Seconds for a whole run; a fraction of it does where nothing else runs.
LONGEST = 1800


def _load(name: str):
    """A module of tests/workflow; as `conftest` it would be this file."""
    file = ROOT / "tests/workflow" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"workflow_{name}", file)
    module = importlib.util.module_from_spec(spec)
    # Known by its name before it runs: dataclasses look themselves up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


projects = _load("conftest")
# Modules of tests/workflow import these from the `conftest` beside them.
Project, reduced_project = projects.Project, projects.reduced_project


def one_run(folder: Path):
    """A copy of the project whose default experiment is the reduced demo with a single run."""
    project = projects.reduced_project(folder)
    file = project.folder / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    config["runs"] = {"simple": config["runs"]["simple"]}
    for section in ("thresholds", "totals"):
        config[section] = {k: v for k, v in config.get(section, {}).items() if k == "simple"}
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return project


# Notes each submission with its number, and hands it on to the real sbatch.
NOTING_SBATCH = """#!/bin/sh
answer=$({sbatch} "$@") || exit $?
# In one piece: Snakemake submits two jobs at a time.
printf '%s\\n' "$(echo "${{answer%%;*}} $*" | tr '\\n' ' ')" >> {notes}
echo "$answer"
"""
# What the plugin waits for by default is meant for clusters with many users.
# `--latency-wait` stands last: it takes one value, so that what follows is a target.
QUICK = [
    "--resources", f"gpu={cluster.GPUS}", "--set-threads", "generate=1", "judge=1",
    "train_adapter_0=1", "--slurm-init-seconds-before-status-checks", "2",
    "--seconds-between-status-checks", "2", "--latency-wait", "5",
]  # fmt: skip

_started: list[subprocess.Popen] = []


@dataclass(frozen=True)
class Submission:
    """A job as it was handed to sbatch, which is what the site's SLURM goes by."""

    number: str
    line: str

    @property
    def rule(self) -> str:
        return re.search(r"--comment '?rule_([a-z_0-9]+?)(?:_wildcards_\S+)?[' ]", self.line)[1]

    @property
    def memory(self) -> int:
        return int(re.search(r"--mem (\d+)", self.line)[1])

    @property
    def minutes(self) -> int:
        return int(re.search(r" -t (\d+)", self.line)[1])

    @property
    def partition(self) -> str:
        return re.search(r" -p (\S+)", self.line)[1]

    @property
    def nodes(self) -> str | None:
        found = re.search(r"--nodes=(\S+)", self.line)
        return found[1] if found else None

    @property
    def gpus(self) -> str | None:
        found = re.search(r"--gpus=(\S+)", self.line)
        return found[1] if found else None


@dataclass(frozen=True)
class OnSlurm:
    """A copy of the project whose `snakemake` submits."""

    folder: Path
    bin: Path

    def command(self, *arguments: str) -> list[str]:
        profile = ["--profile", "profiles/slurm", *QUICK]
        return [sys.executable, "-m", "snakemake", *profile, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return {
            **os.environ,
            "PATH": path,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "SNAKETUNE_LISTING": "snakemake",
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Snakemake in the background, its output in `out.txt`. It hears Ctrl-C even where these
        tests were started in the background themselves, whose children are made deaf to it."""
        with (self.folder / "out.txt").open("w") as out:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder, env=self.environment | environment,
                stdout=out, stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip
        _started.append(process)
        return process

    def snakemake(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Exit code, and output and errors together."""
        code = self.start(*arguments, **environment).wait(LONGEST)
        return code, self.output

    @property
    def output(self) -> str:
        return (self.folder / "out.txt").read_text()

    def attempt(self, job: Submission) -> str:
        """What a job that runs or failed printed. SLURM keeps it for each attempt, while a rule's
        log is that of the last."""
        logs = (self.folder / ".snakemake/slurm_logs").rglob(f"{job.number}.log")
        return "".join(log.read_text() for log in logs)

    def submitted(self, rule: str = "") -> list[Submission]:
        """What was handed to sbatch so far, in order."""
        notes = self.bin / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        found = [Submission(*line.split(" ", 1)) for line in lines]
        return [job for job in found if job.rule.startswith(rule)]


@pytest.fixture(scope="session")
def slurm() -> Iterator[None]:
    """The test cluster, for as long as the tests run."""
    if trouble := cluster.why_not() or cluster.install():
        pytest.skip(f"no SLURM to test with: {trouble}")
    with cluster.alone():
        cluster.start()
        try:
            yield
        finally:
            for process in _started:
                process.kill()
            cluster.stop()


@pytest.fixture(scope="session")
def on_slurm(slurm: None, tmp_path_factory: pytest.TempPathFactory):
    """Makes copies of the project with one run, whose jobs go to the test cluster."""

    def make(name: str, like: OnSlurm | None = None) -> OnSlurm:
        folder = tmp_path_factory.mktemp(name)
        if like:
            # All but the training is there already.
            shutil.copytree(like.folder, folder / "project", symlinks=True)
            shutil.rmtree(folder / "project/results/demo/train")
        else:
            one_run(folder / "project")
        (folder / "bin").mkdir()
        script = folder / "bin/sbatch"
        notes = folder / "bin/notes"
        script.write_text(NOTING_SBATCH.format(sbatch=shutil.which("sbatch"), notes=notes))
        script.chmod(0o755)
        return OnSlurm(folder / "project", folder / "bin")

    return make
