"""The versions of the steps, which results depend on, and the code that each stands for.

A step's rule has the version among its params and no trace of the code: what an edit of the code
means for results is said by whoever makes it, in `steps.json` by `make steps`. Light: the Snakefile
imports this.
"""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict

from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_text
from snaketune.steps.code import Code

SCRIPTS = Path(__file__).resolve().parents[2]
FILE = SCRIPTS.parent / "steps.json"


class Line(TypedDict):
    """What `steps.json` says of a step."""

    version: int
    code: str


Versions = dict[str, Line]
Change = Literal["changed", "new", "gone"]


def step_version(step: str) -> int:
    versions = read_versions()
    if step not in versions:
        raise UserError(f"{FILE}: found no step {step}; known: {', '.join(versions)}")
    return versions[step]["version"]


def code_of_step(step: str) -> str:
    """12 hex digits that say what the step's code is now."""
    if step not in code_now().scripts:
        raise UserError(f"found {step}, which is no step; known: {', '.join(code_now().scripts)}")
    return code_now().hashes([step])[step]


def made_by(step: str) -> dict[str, str | int]:
    """What an artefact's record says of the step that made it. To be asked before the work, which
    may take long enough for the code to be edited meanwhile."""
    return {"step": step, "version": step_version(step), "code": code_of_step(step)}


def changed_steps() -> dict[str, Change]:
    """The steps whose code is not what `steps.json` says: its code differs, it has no line there,
    or its line has no script."""
    versions, now = read_versions(), code_now().hashes(code_now().scripts)
    changes: dict[str, Change] = {}
    for step in sorted(now | versions):
        if step not in versions:
            changes[step] = "new"
        elif step not in now:
            changes[step] = "gone"
        elif now[step] != versions[step]["code"]:
            changes[step] = "changed"
    return changes


def outdated(records: Iterable[tuple[Path, dict[str, Any] | None]]) -> list[Path]:
    """The artefacts that other code made than there is now, by their `made_by` records; one without
    a record is among them."""
    now = code_now().hashes(code_now().scripts)
    return [
        artefact
        for artefact, record in records
        if not record or record.get("code") != now.get(record.get("step", ""), "")
    ]


@cache
def code_now() -> Code:
    """As this process found it: what it does is what the code was when it began."""
    return Code(SCRIPTS)


@cache
def read_versions() -> Versions:
    try:
        return json.loads(FILE.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{FILE}, line {error.lineno}: found {error.msg}; expected JSON. After a merge, take "
            "either side's line with the higher version, then `make steps`"
        ) from None


def write_versions(versions: Versions) -> None:
    write_text(FILE, versions_text(versions))
    read_versions.cache_clear()


def versions_text(versions: Versions) -> str:
    """A line a step, so that edits of different steps merge."""
    lines = (f'  "{step}": {json.dumps(versions[step])}' for step in sorted(versions))
    return "{\n" + ",\n".join(lines) + "\n}\n"
