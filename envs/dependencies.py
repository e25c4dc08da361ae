"""What the workflow rests on: the licence of every pinned package (envs/licences.md), the same as a
bill of materials in CycloneDX (envs/sbom.json), and what is known against the pins.

Both files follow from the pins and from what the installed packages say of themselves: no address
stands in them, and no date, so that the same pins give the same bytes. `make dependencies` writes
them, `make audit` asks whether faults are known.
"""

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ENVS = Path(__file__).parent
PINNED = ("constraints.txt", "requirements.txt", "requirements-dev.txt")
_PIN = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.+]+)")

BY_HAND = {
    "diskcache": "Apache-2.0",  # with llama.cpp alone, which has an environment of its own
    "llama-cpp-python": "MIT",
    "docutils": "Public Domain AND BSD-2-Clause AND 0BSD",  # GPL: an Emacs mode, not inside
    "packaging": "Apache-2.0 OR BSD-2-Clause",
}
"""Of packages that are not installed here, or say several things at once."""

_NAMES = {
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD",
    "BSD 3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What packages call their licence, in SPDX's words; `BSD` of those that don't say which."""

COMPATIBLE = {
    *("MIT", "MIT-CMU", "ISC", "BSD", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "BSL-1.0", "Zlib"),
    *("Apache-2.0", "Apache-2.0 WITH LLVM-exception", "PSF-2.0", "CNRI-Python", "MPL-2.0"),
    *("CC0-1.0", "Public Domain"),
}
"""Licences of packages that a workflow under the MIT licence may be used and passed on with."""


def plain_name(name: str) -> str:
    """As an index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Version by package."""
    lines = [line for name in PINNED for line in (ENVS / name).read_text("utf-8").splitlines()]
    found = filter(None, map(_PIN.match, lines))
    return dict(sorted((plain_name(pin[1]), pin[2]) for pin in found))


def licence_said(package: Distribution) -> str | None:
    """What a package says of its licence: as an expression, else in a word, as a class, or by the
    first line of the text. None where that is none of the words that are known, or a GPL is too."""
    said = package.metadata
    classes = [c.split(" :: ")[-1] for c in said.get_all("Classifier", []) if c[:7] == "License"]
    texts = [f for f in package.files or [] if f.name in ("LICENSE", "LICENSE.txt", "LICENSE.md")]
    if expression := said.get("License-Expression"):
        return expression if fits(expression) else None
    words = [(said.get("License") or "").strip().partition("\n")[0], *classes]
    if any(re.search(r"(?i)\b[AL]?GPL|general public", word) for word in words):
        return None
    words += [text.read_text().strip().split("\n")[0] for text in texts]
    known = [_NAMES.get(word.strip(), word.strip()) for word in words]
    return next((word for word in known if fits(word)), None)


def fits(licence: str) -> bool:
    """Whether a licence, as SPDX writes it, is compatible: all parts, or one of alternatives."""
    parts = [part.strip(" ()").split(" OR ") for part in licence.split(" AND ")]
    return all(any(one.strip(" ()") in COMPATIBLE for one in part) for part in parts)


def licences() -> dict[str, str]:
    """By package. Ends the program where one is not known, or does not fit."""
    found: dict[str, str] = {}
    for name, version in pins().items():
        try:
            licence = BY_HAND.get(name) or licence_said(distribution(name))
        except PackageNotFoundError:
            sys.exit(f"{name} {version}: found no such package installed, expected it: make demo")
        if licence is None or not fits(licence):
            sys.exit(
                f"{name} {version}: found no licence among {', '.join(sorted(COMPATIBLE))}; "
                "look it up: where it fits, name it in BY_HAND or COMPATIBLE"
            )
        found[name] = licence
    return found


def licence_list(found: dict[str, str]) -> str:
    """A table for people."""
    versions = pins()
    rows = [f"| {name} | {versions[name]} | {licence} |" for name, licence in found.items()]
    return "\n".join(
        [
            "# Licences of what the workflow rests on",
            "",
            "Every pinned package, as it says of itself (`make dependencies`). Models and data",
            "have licences of their own, and so have the CUDA libraries that torch brings along",
            "on a machine with a GPU: NVIDIA's.",
            "",
            "| package | version | licence |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def bill_of_materials(found: dict[str, str]) -> str:
    """CycloneDX 1.6, a component a line."""
    versions = pins()
    workflow = re.search(r'^version = "(.+)"', (ENVS.parent / "pyproject.toml").read_text(), re.M)
    about = {"type": "application", "name": "snaketune", "version": workflow and workflow[1]}
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{versions[name]}",
            "name": name,
            "version": versions[name],
            "licenses": [_as_cyclonedx(licence)],
            "purl": f"pkg:pypi/{name}@{versions[name]}",
        }
        for name, licence in found.items()
    ]
    lines = ",\n".join(json.dumps(component) for component in components)
    top = json.dumps({**head, "metadata": {"component": about}})[:-1]
    return f'{top}, "components": [\n{lines}\n]}}\n'


def _as_cyclonedx(licence: str) -> dict[str, Any]:
    """An expression of SPDX's, or where a part is none of its words a name."""
    is_spdx = not re.search(r"\bBSD\b(?!-)|Public Domain", licence)
    return {"expression": licence} if is_spdx else {"license": {"name": licence}}


def audit_told(report: dict[str, Any]) -> tuple[str, bool]:
    """What is said of pip-audit's report, and whether all is well."""
    packages = report["dependencies"]
    faults = [
        f"{p['name']} {p['version']}: {fault['id']}, mended in "
        f"{', '.join(fault['fix_versions']) or 'no version yet'}"
        for p in packages
        for fault in p.get("vulns", [])
    ]
    asked = [p for p in packages if "skip_reason" not in p]
    if not asked:
        return "no service that knows of faults can be reached from here: nothing was checked", True
    said = f"{len(asked)} of {len(packages)} pins checked: {len(faults)} known faults"
    return "\n".join([said, *faults]), not faults


def audit() -> int:
    """Asks pip-audit, of the environment that runs this."""
    file = ENVS / ".pins.txt"
    file.write_text("".join(f"{name}=={version}\n" for name, version in pins().items()))
    command = ["-m", "pip_audit", "-r", str(file), "--no-deps", "--disable-pip", "-f", "json"]
    try:
        done = subprocess.run(
            [sys.executable, *command, "--progress-spinner", "off"], capture_output=True, text=True
        )
    finally:
        file.unlink()
    if done.returncode and not done.stdout:  # a connection that broke off
        done.stdout = '{"dependencies": []}'
        print((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])
    told, is_well = audit_told(json.loads(done.stdout))
    print(told)
    return 0 if is_well else 1


def main() -> int:
    if sys.argv[1:] == ["audit"]:
        return audit()
    found = licences()
    (ENVS / "licences.md").write_text(licence_list(found), encoding="utf-8")
    (ENVS / "sbom.json").write_text(bill_of_materials(found), encoding="utf-8")
    print(f"{len(found)} packages: envs/licences.md, envs/sbom.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
