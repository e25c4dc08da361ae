"""The versions of the steps, which results depend on, and the code that each stands for.

A step's rule has the version among its params and no trace of the code: what an edit of the code
means for results is said by whoever makes it, in `steps.json` by `make steps`. Light: the Snakefile
imports this.

`make steps` runs this: it says of edited code whether results stay as they are.
"""

import json
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict

from snaketune.config.faults import suggest
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_text
from snaketune.steps.code import Code, read_code

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


@cache
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


_FILES_SHOWN = 4


def main(arguments: list[str]) -> int:
    """0 where all is said, 1 where the code of steps changed and nothing was said, 2 on faults."""
    parser = ArgumentParser(
        prog="make steps", description="Says of edited code whether results stay as they are."
    )
    parser.add_argument("--same", nargs="*", default=[], help="steps whose results stay, or `all`")
    parser.add_argument("--new", nargs="*", default=[], help="steps whose results change")
    asked = parser.parse_args(arguments)
    try:
        if asked.same or asked.new:
            print(settle(list(dict.fromkeys(asked.same)), list(dict.fromkeys(asked.new))))
            if changed := changed_steps():
                print(f"not settled yet: {', '.join(changed)}")
            return 0
        told = open_changes()
        print(told or "the code of all steps is what workflow/steps.json says")
        return 1 if told else 0
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def open_changes() -> str:
    """Which steps' code changed since `steps.json` was written, and what to do; else nothing."""
    changes = changed_steps()
    if not changes:
        return ""
    code = code_now()
    reached = {step: code.files_of(step) for step in changes if changes[step] == "changed"}
    edited = _edited(set().union(*reached.values()))
    lines = [
        f"  {step:<20} {change}{_listed(reached.get(step, set()) & edited)}"
        for step, change in changes.items()
    ]
    left = " ".join(step for step, change in changes.items() if change != "gone")
    return "\n".join(
        [
            "the code of these steps is not what workflow/steps.json says:",
            *lines,
            "say of each what becomes of results:",
            f'  make steps SAME="{" ".join(changes)}"   they stay: nothing is made again',
            f'  make steps NEW="{left}"   they change: these steps and what follows run again',
        ]
    )


def _listed(files: set[str]) -> str:
    names = sorted(files)
    if len(names) > _FILES_SHOWN:
        names[_FILES_SHOWN:] = [f"{len(names) - _FILES_SHOWN} more"]
    return f": {', '.join(names)}" if names else ""


def _edited(files: set[str]) -> set[str]:
    """Those that say something else than in the commit that last wrote `steps.json`; none where
    git can't tell."""
    commit = _git("log", "-1", "--format=%H", "--", str(FILE)).strip()
    if not commit:
        return set()
    differing = _git("diff", "--name-only", "--relative", commit, "--", ".")
    untracked = _git("ls-files", "--others", "--exclude-standard")
    candidates = files.intersection((differing + untracked).splitlines())
    return {file for file in candidates if _says_else(file, commit)}


def _says_else(file: str, commit: str) -> bool:
    before = _git("show", f"{commit}:./{file}").encode()
    return read_code(file, before) != read_code(file, (SCRIPTS / file).read_bytes())


def _git(*arguments: str) -> str:
    """What git prints; nothing where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=SCRIPTS, capture_output=True, encoding="utf-8"
        )
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def settle(same: list[str], new: list[str]) -> str:
    """Renews the code of the steps in `same`, and in `new` raises the version, too. What was done.

    Raises `UserError`, before anything is written, where a name can't be taken.
    """
    changes, lines = changed_steps(), dict(read_versions())
    if same == ["all"]:
        same = [step for step in changes if step not in new]
    _check(same, new, changes.keys() | lines.keys())
    told = [] if same or new else ["no step's code changed"]
    for step in same:
        if step not in changes:
            told.append(f"{step}: its code did not change; nothing to renew")
        elif changes[step] == "gone":
            del lines[step]
            told.append(f"{step}: has no script any more and is left out")
        else:
            version = lines[step]["version"] if step in lines else 1
            lines[step] = {"version": version, "code": code_of_step(step)}
            told.append(f"{step}: stays at version {version}")
    for step in new:
        version = lines[step]["version"] + 1 if step in lines else 1
        lines[step] = {"version": version, "code": code_of_step(step)}
        unchanged = "" if step in changes else ", though its code did not change"
        told.append(f"{step}: is version {version} now{unchanged}")
    write_versions(lines)
    return "\n".join(told + unexplained(lines))


def _check(same: list[str], new: list[str], known: Iterable[str]) -> None:
    faults = []
    for name in (*same, *new):
        if name not in known:
            faults.append(f"found {name}, which is no step{suggest(name, known)}")
        elif name in same and name in new:
            faults.append(f"found {name} under SAME and under NEW; expected it under one of them")
        elif name in new and name not in code_now().scripts:
            faults.append(f"found {name} under NEW, but its script is gone; SAME leaves it out")
    if faults:
        raise UserError("\n".join(dict.fromkeys(faults)))


def unexplained(lines: Versions) -> list[str]:
    """What CHANGELOG.md owes: a version that results depend on is named there, with its reason."""
    file = SCRIPTS.parents[1] / "CHANGELOG.md"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    named = [f"{step} {line['version']}" for step, line in lines.items() if line["version"] > 1]
    return [
        f"CHANGELOG.md must say why in a line that names `{name}`"
        for name in named
        if not re.search(rf"(?<![\w.-]){name}(?!\w|\.\d)", text)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
