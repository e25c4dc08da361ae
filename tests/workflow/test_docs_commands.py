"""Every command in the code blocks of README.md, CONTRIBUTING.md and docs/ is run here, as it is or
as a dry run, or stands below with the reason why it can't be.

A block without a language holds commands, a line each (`\\` goes on in the next); of a `console`
block those behind `$ `, with what they say, which is compared in words: times, counts and scores
depend on the machine.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from project_copy import ROOT, Project, copy_project
from warm_start import warm

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = "--configfile config/experiments/my.yaml"
MINE = "--configfile config/experiments/mine.yaml"

# In this order, in one copy of the project; `dry`: with -n behind it, as a dry run.
RUN = {
    "make new DATA=my.csv MODEL=path/to/model": "",
    ". .venv/bin/activate": "",
    f"snakemake check {OPTION}": "dry",
    f"snakemake preview {OPTION}": "dry",
    f"snakemake --resources gpu=1 {OPTION} --config smoke=true": "dry",
    f"snakemake --resources gpu=1 {OPTION}": "dry",
    f"snakemake download --cores 4 {MINE}": "dry",
    f"snakemake merge_all --resources gpu=1 {MINE}": "dry",
    f"snakemake push_all {MINE}": "dry",
    "export HF_HUB_OFFLINE=1": "",
    "export WANDB_MODE=offline": "",
    "make steps": "",
}
_SERVER = "another program, which is not installed here"
_CHANGES = "changes what is known of the code in this checkout; tests/unit/test_steps.py holds it"
_ITSELF = "these tests are part of it"
NOT_RUN = {
    "make demo": "minutes; tests/workflow/test_demo.py runs the demo",
    "make test": _ITSELF,
    "make lint": "part of `make test`",
    "make docs": "writes into the checkout; tests hold the pages against what it would write",
    "make dependencies": "writes into the checkout; a test holds the lists against the pins",
    'make steps SAME="train judge"': _CHANGES,
    'make steps NEW="train"': _CHANGES,
    f"snakemake talk {OPTION}": "needs a finished run; the tutorial's is run",
    f"snakemake -n --profile profiles/slurm {MINE}": "needs the plugin; `make test-slurm` has it",
    f"snakemake --profile profiles/slurm {MINE}": "needs a cluster; `make test-slurm` makes one",
    "pip install -c envs/constraints.txt -r envs/requirements-slurm.txt": "installs packages",
    "PYTHONPATH=workflow/scripts python docs/simulate.py": "minutes of simulation",
    "apptainer": "needs apptainer and an image",
    "docker": "needs docker and an image",
    "vllm": _SERVER,
    "curl": "asks a server that does not run here",
    "llama-server": _SERVER,
    "llama-cli": _SERVER,
    "ollama": _SERVER,
}
"""A whole command, or the program that it begins with."""


IN_TEXT = re.compile(r"`((?:snakemake |--?)\w?[^`]*)`")
"""Commands and options that docs/controls.md names within its lines."""
NOT_IN_TEXT = {
    "--configfile config/experiments/mine.yaml over.yaml": "needs a second file",
    "--sdm conda": "makes environments",
    "--config leave_out=safety": "the README's experiment has no such eval",
    "--configfile config/experiments/mine.yaml": "stands for what the commands below it have",
    "--resources gpu=1": "likewise",
    "snakemake talk --configfile … --config talk=first": "needs a finished run; see the tutorial",
    "snakemake --report report.zip …": "needs results; tests/workflow/test_demo.py makes one",
}


@dataclass(frozen=True)
class Command:
    """One of a page, with what the page says that it prints."""

    page: str
    text: str
    said: tuple[str, ...] = ()


def commands() -> list[Command]:
    """In the pages' order."""
    found = []
    for page in PAGES:
        for language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
            lines = re.sub(r"\s*\\\n\s*", " ", body).splitlines()
            if language == "console":
                found += _with_output(page.name, lines)
            elif not language:
                found += [Command(page.name, _bare(line)) for line in lines if line.strip()]
    return found


def _with_output(page: str, lines: list[str]) -> list[Command]:
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    ends = [*starts[1:], len(lines)]
    return [
        Command(page, _bare(lines[i][2:]), tuple(filter(str.strip, lines[i + 1 : end])))
        for i, end in zip(starts, ends, strict=True)
    ]


def _bare(line: str) -> str:
    """Without a remark behind it."""
    return re.sub(r"\s+# .*$", "", line).strip()


def listed(command: str) -> str | None:
    """Why a command is not run, by itself or by its program."""
    return next((key for key in (command, command.split()[0]) if key in NOT_RUN), None)


def test_every_command_is_run_or_has_a_reason() -> None:
    found = commands()
    assert len(found) > 30
    run = {*RUN, *(command.text for command in found if command.page == "tutorial.md")}
    lost = [c for c in found if c.text not in run and listed(c.text) is None]
    assert not lost, "neither run nor listed: see RUN and NOT_RUN"
    both = [c.text for c in found if c.text in RUN and listed(c.text)]
    assert not both, "run, and listed as not"


def test_nothing_is_listed_that_no_page_says() -> None:
    found = [command.text for command in commands()]
    assert not [command for command in RUN if command not in found]
    reasons = {listed(command) for command in found}
    assert not [key for key in NOT_RUN if key not in reasons]


def test_blocks_are_told_apart() -> None:
    text = "```\na b   # remark\nc \\\n  d\n```\n```text\nx\n```\n```console\n$ e\nf 1\n$ g\n```\n"
    blocks = BLOCK.findall(text)
    assert [language for language, _ in blocks] == ["", "text", "console"]
    assert _bare("a b   # remark") == "a b"
    assert _with_output("p", ["$ e", "f 1", "$ g"]) == [
        Command("p", "e", ("f 1",)), Command("p", "g"),
    ]  # fmt: skip


def in_text() -> list[str]:
    """What of docs/controls.md stands within lines, each once."""
    page = (ROOT / "docs/controls.md").read_text(encoding="utf-8")
    return list(dict.fromkeys(IN_TEXT.findall(page)))


def test_what_is_left_out_of_controls_stands_there() -> None:
    assert set(NOT_IN_TEXT) <= set(in_text()) and len(in_text()) > 20


def test_every_make_target_that_a_page_names_is_one() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    named = {t: name for name, text in pages.items() for t in re.findall(r"`make ([\w-]+)", text)}
    assert len(named) > 10 and not {t: name for t, name in named.items() if t not in targets}


def test_every_link_to_a_file_leads_to_one() -> None:
    links = [
        (page, link)
        for page in [*PAGES, ROOT / "config/README.md"]
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 20 and not [x for x in links if not (x[0].parent / x[1]).exists()]


def started(folder: Path) -> Project:
    """A copy in which commands run as a user types them, with this process's environment."""
    project = copy_project(folder)
    for name in ("Makefile", "tests", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    home = folder / ".venv"
    home.mkdir()
    (home / "bin").symlink_to(Path(sys.executable).parent)
    (home / ".installed").touch()  # newer than what is to be installed
    return project


def typed(project: Project, command: str, more: str = "") -> str:
    """What a command prints, as a user sees it."""
    path = f"{project.folder / '.venv/bin'}:{os.environ['PATH']}"
    env = {**warm(), "PATH": path, "SNAKETUNE_LISTING": "", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        ["bash", "-c", f"{command}{more}"], cwd=project.folder, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"$ {command}\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.mark.long
def test_commands_do_what_they_are_said_to(tmp_path: Path) -> None:
    project = started(tmp_path / "project")
    (project.folder / "path/to").mkdir(parents=True)
    (project.folder / "path/to/model").symlink_to(project.folder / "data/demo/model")
    rows = [f"how many apples are {n} and {n}?,{2 * n}" for n in range(60)]
    (project.folder / "my.csv").write_text("\n".join(["question,answer", *rows]))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = next(body for language, body in BLOCK.findall(readme) if language == "yaml")
    mine = yaml.safe_load(shown)
    mine["runs"]["first"]["push"] = "me/first"
    mine["gate"] = {"not_worse": {"gsm8k.accuracy": 0.02}}
    (project.folder / "config/experiments/mine.yaml").write_text(yaml.safe_dump(mine))
    for command, how in RUN.items():
        typed(project, command, " -n" if how == "dry" else "")
    for part in in_text():
        if part not in NOT_IN_TEXT:
            # An option belongs to the plain command.
            command = part if part.startswith("snakemake") else f"snakemake {part} …"
            shown = command if "…" in command else f"{command} …"
            shown = shown.replace("--configfile …", "…").replace("…", f"{MINE} --resources gpu=1")
            typed(project, f"{shown} -n")


def in_words(line: str) -> str:
    """Without what depends on the machine: times, counts, scores, how wide columns are."""
    line = re.sub(r"\b\d+ (?:s|min|h)\b(?: \d+ (?:s|min)\b)?", "TIME", line)
    return " ".join(re.sub(r"[-+]?\d[\d.,]*", "N", line).split())


@pytest.mark.long
def test_the_tutorial_says_what_its_commands_say(tmp_path: Path) -> None:
    """Each line of it but those with `…`, and what a model replies."""
    project = started(tmp_path / "project")
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    script = next(body for language, body in BLOCK.findall(page) if language == "python")
    (project.folder / "make_tickets.py").write_text(script)
    told = [command for command in commands() if command.page == "tutorial.md"]
    assert len(told) >= 7
    for command in told:
        found = typed(project, command.text)
        printed = {in_words(line) for line in found.splitlines()}
        lost = [
            line
            for line in command.said
            if "…" not in line and not line.startswith(("base>", "tuned>"))
            if in_words(line) not in printed
        ]
        assert not lost, f"$ {command.text}\n{found[-6000:]}"
