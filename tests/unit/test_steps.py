"""Versions of steps: this project's own agree with its code, and `make steps` keeps them so."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from snaketune.runtime.errors import UserError
from snaketune.steps import versions
from snaketune.steps.versions import open_changes, unexplained

ROOT = Path(__file__).parents[2]
LIBRARY = "workflow/scripts/snaketune"
NEEDED = ("__init__.py", "runtime", "config", "data", "tasks", "inference", "steps")


def test_every_steps_code_is_what_its_version_stands_for() -> None:
    told = open_changes()
    assert not told, told


def test_every_version_above_one_is_explained() -> None:
    assert not unexplained(versions.read_versions())


def test_the_file_has_its_format() -> None:
    lines = versions.read_versions()
    assert versions.FILE.read_text() == versions.versions_text(lines)
    assert all(line["version"] >= 1 for line in lines.values())


def test_a_record_holds_step_version_and_code() -> None:
    line = versions.read_versions()["train"]
    assert versions.made_by("train") == {"step": "train", **line}
    assert versions.step_version("train") == line["version"]


@pytest.mark.parametrize("ask", [versions.step_version, versions.code_of_step, versions.made_by])
def test_an_unknown_step_is_a_fault(ask) -> None:
    with pytest.raises(UserError, match=r"trian.*known: aggregate"):
        ask("trian")


def test_what_other_code_made_is_outdated() -> None:
    now, other = versions.made_by("train"), versions.made_by("judge") | {"step": "train"}
    records = [now, other, now | {"version": 0}, now | {"step": "gone"}, {"step": "gone"}, {}, None]
    files = [Path(str(n)) for n in range(len(records))]
    assert versions.outdated(zip(files, records, strict=True)) == [files[1], *files[3:]]


@dataclass(frozen=True)
class Project:
    """Three steps of no use, with the project's Makefile and its code for steps."""

    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        cache = {"SNAKETUNE_CACHE": str(self.folder / "cache")}
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | cache | {"PYTHONPATH": "workflow/scripts"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def make(self, *arguments: str) -> tuple[int, str]:
        """Without an installation of its own."""
        place = f"BIN={Path(sys.executable).parent}"
        done = self.run("make", "-s", "steps", "-o", ".venv/.installed", place, *arguments)
        return done.returncode, done.stdout

    def steps(self, *arguments: str) -> tuple[int, str]:
        done = self.run(sys.executable, "-m", "snaketune.steps.versions", *arguments)
        return done.returncode, done.stdout

    def git(self, *arguments: str) -> None:
        me = ("-c", "user.name=me", "-c", "user.email=me@localhost")
        done = self.run("git", *me, *arguments)
        assert done.returncode == 0, done.stdout

    def versions(self) -> dict[str, int]:
        lines = json.loads((self.folder / "workflow/steps.json").read_text())
        return {step: line["version"] for step, line in lines.items()}

    def edit(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in NEEDED:
        place = tmp_path / LIBRARY / name
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / LIBRARY / name).is_dir() else shutil.copy
        copy(ROOT / LIBRARY / name, place)
    project = Project(tmp_path)
    for step in ("train", "judge", "measure"):
        project.edit(f"workflow/scripts/{step}.py", "from snaketune.shared import x\n")
    project.edit(f"{LIBRARY}/shared.py", "x = 1\n")
    project.edit("CHANGELOG.md", "")
    project.edit("workflow/steps.json", "{}")
    assert project.steps("--same", "all")[0] == 0
    return project


def test_where_nothing_changed_nothing_is_asked(project: Project) -> None:
    project.edit(f"{LIBRARY}/shared.py", '"""A docstring."""\n\nx = 1  # a comment\n')
    code, told = project.make()
    assert (code, project.steps()[0]) == (0, 0)
    assert "the code of all steps is what workflow/steps.json says" in told
    assert project.steps("--same", "all") == (0, "no step's code changed\n")


def test_changed_steps_are_listed_with_both_answers(project: Project) -> None:
    project.edit(f"{LIBRARY}/shared.py", "x = 2\n")
    code, told = project.make()
    assert code == 2  # make's own, for a command that ended with another than 0
    assert project.steps()[0] == 1
    assert [line.split() for line in told.splitlines()[1:4]] == [
        ["judge", "changed"],
        ["measure", "changed"],
        ["train", "changed"],
    ]
    assert 'make steps SAME="judge measure train"' in told
    assert 'make steps NEW="judge measure train"' in told


def test_same_and_new_at_once(project: Project) -> None:
    project.edit(f"{LIBRARY}/shared.py", "x = 2\n")
    project.edit("CHANGELOG.md", "- `train 20`, `train 2.1`, `retrain 2`\n")
    code, told = project.make("SAME=judge measure", "NEW=train")
    assert code == 0
    assert "train: is version 2 now" in told
    assert "judge: stays at version 1" in told
    assert "CHANGELOG.md must say why in a line that names `train 2`" in told
    assert project.versions() == {"judge": 1, "measure": 1, "train": 2}
    assert project.steps()[0] == 0


def test_all_are_all_that_is_not_named_new(project: Project) -> None:
    project.edit(f"{LIBRARY}/shared.py", "x = 2\n")
    project.edit("CHANGELOG.md", "- Another optimiser: train 2.\n")
    code, told = project.make("SAME=all", "NEW=train train")
    assert (code, project.versions()) == (0, {"judge": 1, "measure": 1, "train": 2})
    assert "CHANGELOG" not in told


def test_what_is_left_is_told(project: Project) -> None:
    project.edit(f"{LIBRARY}/shared.py", "x = 2\n")
    assert "not settled yet: measure, train" in project.make("SAME=judge")[1]
    assert project.steps()[0] == 1


def test_steps_that_did_not_change_are_told(project: Project) -> None:
    code, told = project.steps("--same", "judge", "--new", "train")
    assert code == 0
    assert "judge: its code did not change; nothing to renew" in told
    assert "train: is version 2 now, though its code did not change" in told
    assert project.versions() == {"judge": 1, "measure": 1, "train": 2}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--same", "trian"), "found trian, which is no step; did you mean train?"),
        (("--same", "judge", "--new", "judge"), "found judge under SAME and under NEW"),
        (("--new", "all"), "found all, which is no step"),
        (("--old", "train"), "unrecognized arguments"),
    ],
)
def test_names_that_can_not_be_taken_change_nothing(
    project: Project, arguments: tuple[str, ...], told: str
) -> None:
    project.edit(f"{LIBRARY}/shared.py", "x = 2\n")
    before = (project.folder / "workflow/steps.json").read_text()
    code, said = project.steps(*arguments)
    assert code == 2 and told in said and "Traceback" not in said
    assert (project.folder / "workflow/steps.json").read_text() == before


def test_steps_come_and_go(project: Project) -> None:
    (project.folder / "workflow/scripts/judge.py").rename(
        project.folder / "workflow/scripts/verdict.py"
    )
    code, told = project.steps()
    assert code == 1
    assert [line.split() for line in told.splitlines()[1:3]] == [
        ["judge", "gone"],
        ["verdict", "new"],
    ]
    assert 'NEW="verdict"' in told
    assert "its script is gone" in project.steps("--new", "judge")[1]
    assert project.steps("--same", "judge", "--new", "verdict")[0] == 0
    assert project.versions() == {"measure": 1, "train": 1, "verdict": 1}


def test_git_tells_the_files_behind(project: Project) -> None:
    project.git("init", "-q")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "all")
    project.edit(f"{LIBRARY}/shared.py", "x = 2\n")
    project.edit("workflow/scripts/judge.py", "from snaketune import more, shared\n")
    project.edit("workflow/scripts/measure.py", "# as it was\nfrom snaketune.shared import x\n")
    project.edit(f"{LIBRARY}/more.py", "y = 1\n")
    _, told = project.steps()
    assert [line.split(maxsplit=1)[1] for line in told.splitlines()[1:4]] == [
        "changed: judge.py, snaketune/more.py, snaketune/shared.py",
        "changed: snaketune/shared.py",
        "changed: snaketune/shared.py",
    ]


def test_a_merge_conflict_is_told(project: Project) -> None:
    project.edit("workflow/steps.json", "{\n<<<<<<< ours\n}\n")
    code, told = project.steps()
    assert code == 2 and "steps.json, line 2" in told and "Traceback" not in told
