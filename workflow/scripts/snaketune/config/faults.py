"""Config files as they are written: the tree with its lines, and keys that stand twice.

Snakemake has read them before, and of a key that stands twice it kept the last. Every job parses
the Snakefile and comes here: hence libyaml's loader, where PyYAML has it.
"""

from collections.abc import Hashable, Iterator
from functools import lru_cache
from pathlib import Path

import yaml

from snaketune.data.json_keys import Repeat, parse

# The second takes escapes in JSON that the first refuses.
_LOADERS = [getattr(yaml, name) for name in ("CSafeLoader", "SafeLoader") if hasattr(yaml, name)]
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def tree(file: Path) -> yaml.Node | None:
    """The file as YAML nodes; None where it is empty or YAML that can't be read, of which Snakemake
    tells the user."""
    return _composed(_text(file))


def repeats(file: Path) -> list[Repeat]:
    """The keys that stand twice in one mapping of the file, in their order.

    Keys are the same where YAML reads the same value: `yes` and `true`, `"a"` and `a`. What a merge
    (`<<`) brings in does not count, as a mapping's own keys are meant to override it.
    """
    text = _text(file)
    try:
        # As in Snakemake, JSON is tried first: some of it is no YAML.
        return parse(text)[1]
    except (ValueError, RecursionError):
        pass
    return sorted(_repeats(_composed(text), (), set()), key=lambda repeat: repeat.lines)


def _text(file: Path) -> str:
    # A pipe can be read only once, and that was Snakemake.
    return file.read_text(encoding="utf-8") if file.is_file() else ""


@lru_cache(maxsize=16)
def _composed(text: str) -> yaml.Node | None:
    for loader in _LOADERS:
        try:
            return yaml.compose(text, Loader=loader)
        except yaml.YAMLError:
            continue
    return None


def _repeats(
    node: yaml.Node | None, path: tuple[str | int, ...], seen: set[int]
) -> Iterator[Repeat]:
    # An alias is the very node that its anchor names, and may lie within it.
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        same: dict[Hashable, list[yaml.Node]] = {}
        for key, value in node.value:
            same.setdefault(_read(key), []).append(key)
            yield from _repeats(value, (*path, str(key.value)), seen)
        for keys in same.values():
            if len(keys) > 1:
                lines = [key.start_mark.line + 1 for key in keys]
                yield Repeat((*path, str(keys[0].value)), lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _repeats(value, (*path, number), seen)


def _read(key: yaml.Node) -> Hashable:
    """What YAML reads a key as; the node itself, which equals no other, where that is no key."""
    if key.tag == _TEXT:
        return key.value
    if key.tag == _MERGE:
        return _MERGE, key.value
    try:
        value = yaml.constructor.SafeConstructor().construct_object(key, deep=True)
    except (yaml.YAMLError, ValueError):
        return key
    return value if isinstance(value, Hashable) else key
