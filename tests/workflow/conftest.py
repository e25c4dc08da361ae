"""A copy of the project in which the DAG runs for real."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "rules", "workflow", "config", "envs", "profiles", "data")
_HEADS = ("rule ", "localrule ", "checkpoint ", "localcheckpoint ")


@dataclass(frozen=True)
class Project:
    """A copy of the project, and how to run it."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """Two jobs at a time with a core each: most of a small job is one thread's work."""
        return [
            sys.executable, "-m", "snakemake", "--max-threads", "1", "--resources", "gpu=2",
            "--cores", "2", *arguments,
        ]  # fmt: skip

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Output and errors together, as a user sees them."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Runs to the end; the output where it succeeds."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def planned(self, *arguments: str) -> dict[str, list[str]]:
        """What a dry run lists: by rule, the lines about its jobs."""
        jobs: dict[str, list[str]] = {}
        rule = ""
        for line in self.run("-n", *arguments).splitlines():
            if line.startswith(_HEADS):
                rule = line.split()[1].rstrip(":")
                jobs.setdefault(rule, [])
            elif rule and line.startswith("    "):
                jobs[rule].append(line.strip())
            else:
                rule = ""
        return jobs


def copy_project(folder: Path) -> Project:
    """The project's files as they are in the working tree, without results."""
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, folder / part)
    return Project(folder)


# The demo with fewer runs, steps and rows, but whole replies.
REDUCED = """
presets:
  simple: {max_steps: 12}
  medium: {max_steps: 12}
evals:
  math: {sample: {count: 24, seed: 1}}
  safety: {sample: {count: 16, seed: 1}}
datasets:
  problems: {dev: 12}
runs:
  medium: {snapshots: 2}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy without results."""
    return copy_project(tmp_path / "project")


def reduced_project(folder: Path) -> Project:
    """A copy whose default experiment is the reduced demo."""
    import yaml

    project = copy_project(folder)
    file = project.folder / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    keep(config, runs={"simple", "medium"}, evals={"math", "safety"})
    _merge(config, yaml.safe_load(REDUCED))
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return project


def keep(config: dict, runs: set[str], evals: set[str]) -> None:
    """Takes out all other runs and evals, and what only these name."""
    for section, kept in (("runs", runs), ("evals", evals), ("thresholds", runs)):
        config[section] = {k: v for k, v in config[section].items() if k in kept}
    for run in config["runs"].values():
        run["evals"] = {k: v for k, v in run.get("evals", {}).items() if k in evals}
    for run, least in config["thresholds"].items():
        kept = {k: v for k, v in least.items() if k.partition(".")[0] in evals}
        config["thresholds"][run] = kept
    used = {run["preset"] for run in config["runs"].values()}
    config["presets"] = {k: v for k, v in config["presets"].items() if k in used}
    used = {e["dataset"] for e in config["evals"].values()}
    config["datasets"] = {k: v for k, v in config["datasets"].items() if k in used}
    used = {e.get("judge") for e in config["evals"].values()}
    used |= {run["model"] for run in config["runs"].values()}
    config["models"] = {k: v for k, v in config["models"].items() if k in used}


def _merge(config: dict, changes: dict) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            _merge(config[key], value)
        else:
            config[key] = value


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The reduced demo, run to the end. Tests leave it as they found it."""
    project = reduced_project(tmp_path_factory.mktemp("finished") / "project")
    (project.folder / "output.txt").write_text(project.run())
    return project
