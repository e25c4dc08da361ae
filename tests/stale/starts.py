"""Dry runs and starts of the experiment."""

from collections.abc import Sequence

from project_copy import Project
from stale.edit import Edit, Files, config_after
from stale.experiment import CONFIG, FILE, Config, write_config
from stale.listing import jobs_listed

ARGUMENTS = ("--configfile", str(FILE))


def planned(project: Project, edits: Sequence[Edit], config: Config = CONFIG) -> tuple[int, str]:
    """Exit code and output of a dry run after the edits, which are taken back."""
    files = Files(project)
    write_config(project, config_after(config, edits))
    try:
        for edit in edits:
            if edit.do:
                edit.do(files)
        done = project.snakemake("--dry-run", *ARGUMENTS)
    finally:
        files.take_back()
    return done.returncode, done.stdout


def difference(found: set[str], expected: set[str]) -> str:
    """What runs too much and too little; nothing where all is right."""
    more, less = sorted(found - expected), sorted(expected - found)
    told = f"too much: {', '.join(more)}\n" if more else ""
    return told + (f"too little: {', '.join(less)}\n" if less else "")


def fault_of(edits: Sequence[Edit], code: int, output: str, expected: set[str]) -> str:
    """What is wrong with a dry run after the edits; nothing where all is right."""
    if words := next((edit.refused for edit in edits if edit.refused), ""):
        return "" if code != 0 and words in output else f"not refused with {words!r}: {output}"
    if code != 0:
        return output[-3000:]
    return difference(jobs_listed(output), expected)
