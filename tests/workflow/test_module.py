"""The workflow used from elsewhere: as a module of another one, and from another folder."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import Project, copy_project

OUTER = """
configfile: "outer.yaml"


module snaketune:
    snakefile:
        gitfile("{clone}", path="{path}", ref="main")
    config:
        config["tuning"]


use rule * from snaketune{names}
"""
GIT = [
    "git",
    "-c",
    "user.name=tests",
    "-c",
    "user.email=tests@localhost",
    "-c",
    "init.defaultBranch=main",
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a git repository."""
    folder = copy_project(tmp_path_factory.mktemp("module") / "clone").folder
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*GIT, *command], cwd=folder, check=True)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits are checked out below Snakemake's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def outer(folder: Path, clone: Path, path: str = "Snakefile", names: str = "") -> Project:
    """Another workflow, whose config has the experiment as a section."""
    folder.mkdir()
    (folder / "Snakefile").write_text(OUTER.format(clone=clone, path=path, names=names))
    experiment = yaml.safe_load((clone / "config/config.yaml").read_text())
    whole = {"other": True, "tuning": experiment | {"experiment": "inner"}}
    (folder / "outer.yaml").write_text(yaml.safe_dump(whole))
    return Project(folder)


def test_a_module_from_git_plans_and_runs(tmp_path: Path, clone: Path) -> None:
    project = outer(tmp_path / "outer", clone)
    planned = project.planned()
    assert {"prepare", "tokenize", "generate", "judge", "measure", "report"} <= planned.keys()
    target = "results/inner/data/quiz/manifest.json"
    project.run("--", target)
    assert json.loads((project.folder / target).read_text())["splits"]


@pytest.mark.parametrize("path", ["Snakefile", "workflow/Snakefile"])
def test_its_rules_may_have_other_names(tmp_path: Path, clone: Path, path: str) -> None:
    project = outer(tmp_path / "outer", clone, path, " as tuning_*")
    assert "tuning_manifest" in project.planned("--", "results/inner/data/quiz/manifest.json")


def test_a_rehearsal_runs_in_another_folder(tmp_path: Path, clone: Path) -> None:
    elsewhere = Project(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    where = ("-s", str(clone / "Snakefile"), "--directory", str(elsewhere.folder))
    smoke = (*where, "--config", "smoke=demo", "--")
    assert "report" in elsewhere.planned(*smoke[:-1])
    # The judge's model and the demo's data are the workflow's own.
    data, model = (
        "results/demo-smoke_demo/data/prompts/test.parquet",
        "results/demo-smoke_demo/models/judge.json",
    )
    elsewhere.run(*smoke, data, model)
    assert (elsewhere.folder / data).is_file() and (elsewhere.folder / model).is_file()
    assert not list(clone.glob("results/*"))
