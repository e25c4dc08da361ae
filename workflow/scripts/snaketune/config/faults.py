"""Faults in a config, each with its place in the files as they are written, all reported together.

Snakemake has read the files before, and of a key that stands twice it kept the last. Every job
parses the Snakefile and comes here: hence libyaml's loader, where PyYAML has it.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from snaketune.data.record import Repeat, parse
from snaketune.runtime.errors import UserError

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Fault:
    """What is wrong at `path`, a key's place in the config, which is looked up in the files unless
    the fault is one file's own and comes with its `line` (`config/x.yaml:12`)."""

    path: Path_
    message: str
    line: str = ""


# Words of other tools, and short ones, that are like another key or like none.
_MEANT = {
    **{"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size", "batch": "batch_size"},
    **{"per_device_train_batch_size": "batch_size", "micro_batch_size": "batch_size"},
    **{"gradient_accumulation_steps": "accumulation", "grad_accumulation": "accumulation"},
    **{"num_train_epochs": "epochs", "num_epochs": "epochs", "steps": "max_steps"},
    **{"max_seq_length": "max_length", "max_seq_len": "max_length", "cutoff_len": "max_length"},
    **{"lr_scheduler_type": "schedule", "scheduler": "schedule", "warmup": "warmup_ratio"},
    **{"optim": "optimizer", "optimiser": "optimizer", "clip": "max_grad_norm"},
    **{"rank": "r", "lora_r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout"},
    **{"target_modules": "targets", "lora_target": "targets", "use_rslora": "rslora"},
    **{"max_tokens": "max_new_tokens", "max_length": "max_new_tokens", "n": "samples"},
    **{"num_fewshot": "few_shot", "shots": "few_shot", "system_prompt": "system"},
    **{"path": "source", "file": "source", "name": "id", "license": "licence", "val": "dev"},
    **{"load_in_4bit": "quantisation", "quantization": "quantisation", "torch_dtype": "dtype"},
    **{"random_state": "seed", "random_seed": "seed", "gpus": "gpu", "memory": "memory_gb"},
}


def suggest(found: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or the list of what there is."""
    known = sorted(known)
    meant = _MEANT.get(found.lower())
    close = [meant] if meant in known else get_close_matches(found, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(known)}" if known else "; there are none"


def missing_name(path: Path_, kind: str, found: str, known: Iterable[str]) -> Fault:
    """A reference to an entry that isn't there."""
    return Fault(path, f"found {found}, which is no entry under {kind}{suggest(found, known)}")


def from_pydantic(error: ValidationError, fields: "FieldNames") -> list[Fault]:
    """Pydantic's errors in the config's words; `fields` lists the keys allowed at a place."""
    errors = error.errors()
    within = [(_path(e), e["type"]) for e in errors]

    def is_other_form(error: ErrorDetails) -> bool:
        """Where a key takes text or a section, a fault in one is not that it is no other."""
        path = _path(error)
        return error["type"].endswith("_type") and any(
            found[: len(path)] == path and (len(found) > len(path) or not kind.endswith("_type"))
            for found, kind in within
        )

    return [_fault(e, fields) for e in errors if not is_other_form(e)]


@cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


class FieldNames:
    """The keys that a model takes at a path, for suggestions."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model

    @property
    def schema(self) -> dict[str, Any]:
        """Made where there is a fault."""
        return _schema_of(self.model)

    def at(self, path: Path_) -> list[str]:
        """Keys allowed at `path`; none where anything goes."""
        node = self.schema
        for key in path:
            node = self._child(node, str(key))
        return sorted(self._resolve(node).get("properties", {}))

    def _child(self, node: dict[str, Any], key: str) -> dict[str, Any]:
        node = self._resolve(node)
        properties = node.get("properties", {})
        if key in properties:
            return properties[key]
        for patterned in node.get("patternProperties", {}).values():
            return patterned
        extra = node.get("additionalProperties")
        return extra if isinstance(extra, dict) else {}

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            node = self.schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        for option in node.get("anyOf", []):
            if "$ref" in option:
                return self._resolve(option)
        return node


def _path(error: ErrorDetails) -> Path_:
    return tuple(p for p in error["loc"] if p != "[key]" and not _is_union_branch(p))


def _fault(error: ErrorDetails, fields: FieldNames) -> Fault:
    path = _path(error)
    kind, found = error["type"], error["input"]
    if kind == "extra_forbidden":
        key = str(path[-1])
        return Fault(path, f"unknown key{suggest(key, fields.at(path[:-1]))}")
    if kind == "missing":
        return Fault(path, "this key is missing")
    if kind == "value_error":
        return Fault(path, error["msg"].removeprefix("Value error, "))
    expected = error["msg"][0].lower() + error["msg"][1:]
    return Fault(path, f"found {found!r}: {expected}")


def _is_union_branch(part: str | int) -> bool:
    return isinstance(part, str) and ("[" in part or part in _BRANCHES)


_BRANCHES = {"str", "bool", "int", "float", "FewShotSpec", "function-before", "constrained-int"}
_BRANCHES |= {"thinking_word", "thinking_budget", "train_dataset", "train_parts"}


def report(faults: list[Fault], files: list[Path]) -> str:
    """All faults, one a line, with the file and line where each key stands."""
    trees = [(file, tree(file)) for file in files]
    lines = [f"  {_in_words(fault, trees)}" for fault in faults]
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"{count} in the config:\n" + "\n".join(lines)


def _in_words(fault: Fault, trees: list[tuple[Path, yaml.Node | None]]) -> str:
    """`config/x.yaml:12: runs.a.preset: found …`. A message that names the key itself, or one
    within it, is not told of it twice."""
    where = ".".join(map(str, fault.path))
    named = fault.message.startswith((f"{where}:", f"{where}."))
    line = f"{fault.line}: " if fault.line else _place(fault, trees)
    return line + (fault.message if named else f"{where}: {fault.message}")


def _place(fault: Fault, trees: list[tuple[Path, yaml.Node | None]]) -> str:
    """`config/x.yaml:12: `: where the deepest part of the path that exists stands; of several files
    the last one that has it decides, as Snakemake's merging does."""
    best: tuple[int, str] = (0, "")
    for file, root in trees:
        depth, line = _descend(root, fault.path)
        if depth >= max(best[0], 1):
            best = (depth, f"{file}:{line}: ")
    return best[1]


def _descend(node: yaml.Node | None, path: Path_) -> tuple[int, int]:
    depth, line = 0, 1
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            break
        # Of a key that stands twice, the last is what was read.
        for name, value in reversed(node.value):
            if name.value == str(key):
                depth, line, node = depth + 1, name.start_mark.line + 1, value
                break
        else:
            break
    return depth, line


# Config files as they are written: the tree with its lines, and keys that stand twice.

# The second takes escapes in JSON that the first refuses.
_LOADERS = [getattr(yaml, name) for name in ("CSafeLoader", "SafeLoader") if hasattr(yaml, name)]
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def tree(file: Path) -> yaml.Node | None:
    """The file as YAML nodes; None where it is empty or YAML that can't be read, of which Snakemake
    tells the user."""
    return _composed(_text(file))


def require_yaml(file: Path) -> None:
    """Raises `UserError` with the line where a file stops to be YAML: Snakemake says that it is
    none, without saying where."""
    if file.is_file() and tree(file) is None:
        try:
            yaml.compose(_text(file), Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            line = f":{mark.line + 1}, column {mark.column + 1}" if mark else ""
            what = getattr(error, "problem", None) or getattr(error, "reason", None) or "none"
            raise UserError(
                f"{file}{line}: found no YAML ({what}); expected keys and values, indented by "
                "spaces, with text that holds `: `, `#` or a bracket in quotes"
            ) from None


def written(file: Path, key: str) -> Any:
    """What the file has at a key at its top; None: it has no such key."""
    root = tree(file)
    # Of a key that stands twice, the last is what was read.
    for name, value in reversed(root.value if isinstance(root, yaml.MappingNode) else []):
        if name.value == key:
            return yaml.constructor.SafeConstructor().construct_object(value, deep=True)
    return None


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
