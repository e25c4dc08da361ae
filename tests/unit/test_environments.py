"""The environments under envs/ agree with each other: one version of a package everywhere."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
_PIN = re.compile(r"([\w.-]+)==([\w.]+)")


def pins(lines: list[str]) -> dict[str, str]:
    """Version by package, of lines such as `torch==2.13.0`."""
    found = (_PIN.fullmatch(line.strip()) for line in lines)
    return {m[1].lower().replace("_", "-"): m[2] for m in found if m}


def in_file(name: str) -> dict[str, str]:
    return pins((ENVS / name).read_text().splitlines())


def conda_files() -> list[Path]:
    return sorted(ENVS.glob("*.yaml"))


def pip_lines(file: Path) -> list[str]:
    parts = yaml.safe_load(file.read_text())["dependencies"]
    return next(part["pip"] for part in parts if isinstance(part, dict))


def test_no_requirement_contradicts_the_constraints() -> None:
    held = in_file("constraints.txt")
    required = in_file("requirements.txt") | in_file("requirements-dev.txt")
    assert len(required) > 15
    differing = {k: (v, held[k]) for k, v in required.items() if held.get(k, v) != v}
    assert not differing


@pytest.mark.parametrize("file", conda_files(), ids=lambda file: file.name)
def test_conda_files_take_the_pinned_requirements(file: Path) -> None:
    lines = pip_lines(file)
    named = pins(lines)
    if named:
        required = in_file("requirements.txt")
        same = {k: v for k, v in named.items() if k in required}
        assert same == {k: required[k] for k in same}
    else:
        assert lines == ["-c constraints.txt", "-r requirements.txt"]
    other = [x for x in lines if not x.startswith("-") and "==" not in x]
    assert not other, "every package is pinned"


def test_every_rule_names_a_conda_file_that_is_there() -> None:
    named = {
        ROOT / "rules" / path
        for file in (ROOT / "rules").glob("*.smk")
        for path in re.findall(r'"(\.\./envs/[\w.-]+)"', file.read_text())
    }
    assert {path.resolve() for path in named} == set(conda_files())
    for path in named:
        for line in pip_lines(path):
            if line.startswith(("-c", "-r")):
                assert (ENVS / line.split()[1]).is_file()


def test_conda_and_the_makefile_take_the_same_python() -> None:
    version = re.search(
        r"^PYTHON \?= python([\d.]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    for file in conda_files():
        parts = yaml.safe_load(file.read_text())["dependencies"]
        assert [p for p in parts if "python" in p] == [f"python={version[1]}"], file.name
