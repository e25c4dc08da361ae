"""What each format states of itself, read from the files of this folder without running them.

The config asks at every parse, for every job: a format's file is run only where records are read.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MARK = "data_format"
"""The decorator in `base` that makes a file's class a format; the file's name is the format's."""


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


def stated_in(file: Path) -> Iterator[FormatInfo]:
    """What a file's format states, as literals in the decorator's call; nothing of another file."""
    text = file.read_text(encoding="utf-8")
    if f"@{_MARK}(" not in text:
        return
    for node in ast.parse(text, str(file)).body:
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == _MARK:
                stated: dict[str, Any] = {k.arg or "": k.value for k in call.keywords}
                yield FormatInfo(**{name: ast.literal_eval(v) for name, v in stated.items()})


FORMATS = {
    file.stem: info
    for file in sorted(Path(__file__).parent.glob("*.py"))
    for info in stated_in(file)
}
"""The formats by name."""
