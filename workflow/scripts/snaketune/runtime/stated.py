"""What the files of a registry state of themselves, read without running them.

A registry is a folder with a file a thing, whose class a decorator registers; the file's name is
the thing's. Its facts are literals in the decorator's call, so that the Snakefile's own process can
ask for them at every parse without importing what only the jobs need.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
