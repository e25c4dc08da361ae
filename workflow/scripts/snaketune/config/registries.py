"""The tasks and the formats that there are, and what the file of each states of itself.

A registry is a folder with a file a thing, whose class a decorator registers; the file's name is
the thing's. Its facts are literals in the decorator's call, so that the Snakefile's own process can
ask for them at every parse without importing what only the jobs need. A task's
file is run only where replies are measured, compared or shown; a format's where records are read.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LIBRARY = Path(__file__).parents[1]


def stated_in(folder: Path, decorator: str) -> dict[str, dict[str, Any]]:
    """By file, in the order of their names: the keywords of the decorator's call."""
    return {
        file.stem: facts
        for file in sorted(folder.glob("*.py"))
        for facts in _calls(file, decorator)
    }


def _calls(file: Path, decorator: str) -> Iterator[dict[str, Any]]:
    text = file.read_text(encoding="utf-8")
    if f"@{decorator}(" not in text:
        return
    for node in ast.parse(text, str(file)).body:
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == decorator:
                yield {k.arg or "": ast.literal_eval(k.value) for k in call.keywords}


@dataclass(frozen=True)
class TaskInfo:
    """The facts that the config and the plan need to know of a task."""

    goals: tuple[str, ...]
    """The metrics of which more is better: what snapshots are chosen by and thresholds are set for.
    """
    samples_of: str | None = None
    """The task of which this one measures several samples a question. No eval names it: it follows
    from `sampling`."""

    @property
    def primary(self) -> str:
        """The metric by which the task is summarised."""
        return self.goals[0]


TASKS = {name: TaskInfo(**facts) for name, facts in stated_in(_LIBRARY / "tasks", "task").items()}
"""The tasks by name."""


@dataclass(frozen=True)
class FormatInfo:
    """The facts that the config and the plan need to know of a format."""

    task: str
    """The task whose prompt its records are trained with, where no columns say otherwise."""
    evaluation_only: bool = False
    """Its records have no reply to train on: a lone file is a test split."""
    many_files: str | None = None
    """The pattern of its files' names, where a folder holds many, each with some records of one
    split."""
    seeded: bool = False
    """The dataset's seed decides what its examples look like."""


FORMATS = {
    name: FormatInfo(**facts)
    for name, facts in stated_in(_LIBRARY / "data/formats", "data_format").items()
}
"""The formats by name."""
