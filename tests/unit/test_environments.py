"""The environments under envs/ agree with each other: one version of a package everywhere."""

import ast
import json
import re
import subprocess
from contextlib import suppress
from importlib.metadata import (
    PackageNotFoundError,
    PathDistribution,
    distribution,
    packages_distributions,
)
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
SCRIPTS = ROOT / "workflow/scripts"
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


@pytest.mark.parametrize("name", sorted(f.name for f in ENVS.glob("requirements*.txt")))
def test_no_requirement_contradicts_the_constraints(name: str) -> None:
    held, required = in_file("constraints.txt"), in_file(name)
    assert required
    differing = {k: (v, held[k]) for k, v in required.items() if held.get(k, v) != v}
    assert not differing


@pytest.mark.parametrize("file", conda_files(), ids=lambda file: file.name)
def test_conda_files_take_the_versions_that_were_tested(file: Path) -> None:
    lines = pip_lines(file)
    named = pins(lines)
    # Snakemake builds from a copy of the file: pip would look for `-r` and `-c` beside that.
    assert len(named) == len(lines), "every line is a pinned package"
    tested = in_file("constraints.txt") | in_file("requirements.txt")
    expected = {k: tested[k] for k in named if k in tested}
    assert {k: v for k, v in named.items() if k in tested} == expected
    assert named.keys() - tested.keys() <= {"vllm", "llama-cpp-python"}


def rules_with_scripts() -> list[tuple[str, str]]:
    """(conda file, script) of every rule that has both."""
    pattern = r'"\.\./envs/([\w.]+)"(?:(?!conda:).)*?"\.\./workflow/scripts/(\w+\.py)"'
    texts = [file.read_text() for file in sorted((ROOT / "rules").glob("*.smk"))]
    return [pair for text in texts for pair in re.findall(pattern, text, re.DOTALL)]


def packages_of(script: Path) -> set[str]:
    """The packages that a script and the library modules behind it import, at any depth."""
    known = packages_distributions()
    seen: set[Path] = set()
    open_ends, found = [script], set()
    while open_ends:
        file = open_ends.pop()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        for name in imports_of(file):
            if name.startswith("snaketune"):
                open_ends.append(SCRIPTS / f"{name.replace('.', '/')}.py")
            else:
                found.update(known.get(name.partition(".")[0], [])[:1])
    return {name.lower().replace("_", "-") for name in found}


def imports_of(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("name", ["data.yaml", "train.yaml"])
def test_a_conda_file_has_what_the_scripts_of_its_rules_import(name: str) -> None:
    scripts = [script for file, script in rules_with_scripts() if file == name]
    assert len(scripts) > 8
    wanted = set().union(*(packages_of(SCRIPTS / script) for script in scripts))
    assert wanted >= {"pyarrow", "pydantic", "numpy"}
    named = pins(pip_lines(ENVS / name)).keys()
    assert wanted - named == set()
    # One that only reads and counts is spared what loads models.
    assert (name == "train.yaml") == bool(named & {"torch", "transformers", "peft"})


def test_every_rule_names_a_conda_file_that_is_there() -> None:
    named = {
        ROOT / "rules" / path
        for file in (ROOT / "rules").glob("*.smk")
        for path in re.findall(r'"(\.\./envs/[\w.-]+)"', file.read_text())
    }
    assert {path.resolve() for path in named} == set(conda_files())


def test_conda_takes_the_oldest_python_that_the_makefile_does() -> None:
    least = re.search(r"sys\.version_info < \((\d+), (\d+)\)", (ROOT / "Makefile").read_text())
    assert least
    for file in conda_files():
        parts = yaml.safe_load(file.read_text())["dependencies"]
        assert [p for p in parts if "python" in p] == [f"python={least[1]}.{least[2]}"], file.name


@pytest.mark.parametrize("name", ["Dockerfile", "snaketune.def"])
def test_a_container_takes_a_base_by_digest_and_what_is_pinned(name: str) -> None:
    text = (ENVS / name).read_text()
    assert "-c /opt/envs/constraints.txt -r /opt/envs/requirements.txt" in text
    assert set(re.findall(r"envs/([\w-]+\.txt)", text)) == {"constraints.txt", "requirements.txt"}
    base = re.search(r"^(?:FROM|From:) (.*)$", text, re.MULTILINE)[1]
    assert base in ("${base}", "{{ base }}"), "no default: it would go stale, or not be pinned"
    check = re.search(r"case .* esac", text)[0]

    def checked(base: str) -> subprocess.CompletedProcess:
        command = ["sh", "-c", check]
        return subprocess.run(command, env={"base": base}, capture_output=True, text=True)

    assert checked("python@sha256:0123").returncode == 0
    assert "expected IMAGE@sha256:DIGEST" in checked("python:3.11").stderr
    assert checked("").returncode == 1


# Licences.


@pytest.fixture(scope="module")
def dependencies() -> ModuleType:
    spec = spec_from_file_location("dependencies", ENVS / "dependencies.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed() -> dict[str, tuple[str, str]]:
    """Version and licence by package, as envs/licences.md has them."""
    rows = re.findall(
        r"^\| ([\w.-]+) \| (\d[\w.]*) \| (.+) \|$", (ENVS / "licences.md").read_text(), re.M
    )
    return {name: (version, licence) for name, version, licence in rows}


def test_every_pin_has_a_known_licence_that_fits(dependencies: ModuleType) -> None:
    pinned = in_file("constraints.txt") | in_file("requirements.txt")
    pinned |= in_file("requirements-dev.txt")
    assert {name: version for name, (version, _) in listed().items()} == {
        re.sub(r"[-_.]+", "-", name): version for name, version in pinned.items()
    }, "make dependencies"
    assert not [name for name, (_, licence) in listed().items() if not dependencies.fits(licence)]


def test_the_list_is_what_the_installed_packages_say(dependencies: ModuleType) -> None:
    """Of those that are installed as they are pinned (torch's build may differ)."""
    compared = 0
    for name, (version, licence) in listed().items():
        with suppress(PackageNotFoundError):
            package = distribution(name)
            if package.version.partition("+")[0] == version and name not in dependencies.BY_HAND:
                assert dependencies.licence_said(package) == licence, name
                compared += 1
    assert compared > 100


def test_the_bill_of_materials_is_of_the_pins_and_has_no_address(dependencies: ModuleType) -> None:
    text = (ENVS / "sbom.json").read_text()
    assert text == dependencies.bill_of_materials({n: said for n, (_, said) in listed().items()})
    bill = json.loads(text)
    assert bill["bomFormat"] == "CycloneDX" and len(bill["components"]) == len(listed()) > 130
    assert not re.search(r"https?:|://|timestamp", text + (ENVS / "licences.md").read_text())


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ({"License-Expression": "MIT AND PSF-2.0"}, "MIT AND PSF-2.0"),
        ({"License-Expression": "GPL-3.0-only OR MIT"}, "GPL-3.0-only OR MIT"),
        ({"License-Expression": "GPL-3.0-only AND MIT"}, None),
        ({"License-Expression": "SSPL-1.0", "License": "MIT"}, None),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"License": "Our own terms"}, None),
        ({"License": "AGPLv3", "Classifier": "License :: OSI Approved :: MIT License"}, None),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License (GPL)"}, None),
        (
            {"License": "Copyright (c) us", "Classifier": "License :: OSI Approved :: BSD License"},
            "BSD",
        ),
        ({}, None),
    ],
)
def test_a_licence_that_does_not_fit_is_none(
    dependencies: ModuleType, tmp_path: Path, said: dict[str, str], licence: str | None
) -> None:
    folder = tmp_path / "a-1.dist-info"
    folder.mkdir()
    lines = ["Metadata-Version: 2.4", "Name: a", "Version: 1"]
    lines += [f"{key}: {value}" for key, value in said.items()]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    assert dependencies.licence_said(PathDistribution(folder)) == licence


def test_what_an_audit_says(dependencies: ModuleType) -> None:
    skipped = {"name": "a", "skip_reason": "Dependency not found"}
    whole = {"name": "b", "version": "1", "vulns": []}
    fault = {"id": "CVE-1", "fix_versions": ["3"]}
    broken = {"name": "c", "version": "2", "vulns": [fault, {"id": "CVE-2", "fix_versions": []}]}
    for packages in ([], [skipped]):
        said, is_well = dependencies.audit_told({"dependencies": packages})
        assert is_well and said.endswith("nothing was checked") and "\n" not in said
    told = dependencies.audit_told({"dependencies": [skipped, whole]})
    assert told == ("1 of 2 pins checked: 0 known faults", True)
    said, is_well = dependencies.audit_told({"dependencies": [whole, broken]})
    assert not is_well and said.splitlines() == [
        *("2 of 2 pins checked: 2 known faults", "c 2: CVE-1, mended in 3"),
        "c 2: CVE-2, mended in no version yet",
    ]
