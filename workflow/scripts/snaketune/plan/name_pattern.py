"""Patterns for many names: short where the names were made by combining parts, as a sweep's are."""

import re
from collections.abc import Iterable

_PART = re.compile(r"[_-]?[^_-]*")
_Tree = dict[str, "_Tree"]


def name_pattern(names: Iterable[str]) -> str:
    """A regular expression that matches these names and no others.

    Snakemake copies a wildcard's constraint into every file pattern and goes through it again for
    every file of every job. With a list of all runs the plan's time would grow with the square of
    their number; what names share stands in this pattern once, so that for a sweep it grows with
    the values and not with their combinations.
    """
    tree: _Tree = {}
    for name in names:
        node = tree
        for part in _PART.findall(name):
            node = node.setdefault(part, {})
    return _pattern(tree) if tree else "(?!)"


def _pattern(tree: _Tree) -> str:
    """Alternatives of which those with equal continuations stand together. Every name ends with
    an empty part, which tells a name from the beginning of a longer one."""
    beginnings: dict[str, list[str]] = {}
    for part, rest in tree.items():
        beginnings.setdefault(_pattern(rest) if rest else "", []).append(re.escape(part))
    return _one_of([_one_of(parts) + rest for rest, parts in beginnings.items()])


def _one_of(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"(?:{'|'.join(choices)})"
