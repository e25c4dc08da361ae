"""A copy of the project in which the DAG runs for real."""

import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from project_copy import Project, copy_project

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
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """The reduced demo, run to the end. Tests leave it as they found it. It is run once: of several
    processes that run tests each has a copy."""
    base = tmp_path_factory.getbasetemp()
    made = (base if worker_id == "master" else base.parent) / "finished_demo"
    with FileLock(made.with_suffix(".lock")):
        if not (made / "output.txt").is_file():
            assert not made.exists(), "another process could not finish it"
            (made / "output.txt").write_text(reduced_project(made).run())
    own = tmp_path_factory.mktemp("finished") / "project"
    # Unlike `shutil`, it keeps hard links.
    subprocess.run(["cp", "-a", made, own], check=True)
    return Project(own)
