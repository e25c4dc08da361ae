"""`make` takes any Python from 3.11 up that is there."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A Python of some version, which notes that an environment was made with it.
FAKE = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo {name} > "$3/made-with" ;;
-c*) exit {too_old} ;;
esac
"""


def make(folder: Path, pythons: dict[str, int], *more: str) -> subprocess.CompletedProcess:
    """`make` in a folder of its own, where there are only these, by name with their minor
    versions."""
    (folder / "envs").mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    there = folder / "there"
    there.mkdir()
    for tool in ("mkdir", "cp", "touch"):
        (there / tool).symlink_to(shutil.which(tool) or "")
    for name, minor in pythons.items():
        (there / name).write_text(FAKE.format(name=name, too_old=int(minor < 11)))
        (there / name).chmod(0o755)
    return subprocess.run(
        [shutil.which("make") or "make", ".venv/.installed", *more],
        cwd=folder, env={"PATH": str(there)}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": 13, "python3.11": 11}, "python3"),
        ({"python3": 11}, "python3"),
        ({"python3": 10, "python3.12": 12, "python3.11": 11}, "python3.12"),
        ({"python3": 9, "python3.11": 11}, "python3.11"),
        ({"python3.14": 14, "python3.13": 13}, "python3.14"),
    ],
)
def test_the_first_that_is_new_enough(tmp_path, pythons, taken):
    done = make(tmp_path, pythons)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".venv/made-with").read_text() == f"{taken}\n"
    assert (tmp_path / ".venv/.installed").is_file()


@pytest.mark.parametrize("pythons", [{}, {"python3": 10}], ids=["none", "an old one"])
def test_without_one_a_line_says_what_to_do(tmp_path, pythons):
    done = make(tmp_path, pythons)
    said = done.stderr.splitlines()
    assert done.returncode and said[0] == (
        "found none on the PATH, expected Python 3.11 or newer: install one, or name it: "
        "make demo PYTHON=python3.12"
    )
    assert not (tmp_path / ".venv").exists()


def test_one_that_is_named_is_taken_or_refused_by_name(tmp_path):
    there = {"python3": 13, "python3.12": 12, "mine": 10}
    done = make(tmp_path, there, "PYTHON=python3.12")
    assert (tmp_path / ".venv/made-with").read_text() == "python3.12\n", done.stderr
    (tmp_path / "again").mkdir()
    done = make(tmp_path / "again", there, "PYTHON=mine")
    assert done.returncode and done.stderr.startswith("found mine, expected Python 3.11")
