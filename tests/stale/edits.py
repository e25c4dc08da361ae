"""All edits, and which of them name which key of the config."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from stale import edits_config, edits_files, edits_found, edits_runs
from stale.edit import Edit

EDITS: list[Edit] = [*edits_config.EDITS, *edits_runs.EDITS, *edits_files.EDITS]
EDITS += edits_found.EDITS
BY_NAME = {edit.name: edit for edit in EDITS}
assert len(BY_NAME) == len(EDITS), "each edit has a name of its own"


def leaf_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The keys of a config model and the models within it; `*` stands for a name that users give
    to an entry."""
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        for found, place in inner:
            yield from leaf_keys(found, f"{prefix}{name}{place}.")
        if not inner:
            yield prefix + name


def _models(annotation: Any, place: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, place
        return
    within = ".*" if getattr(annotation, "__origin__", None) is dict else place
    for part in get_args(annotation):
        yield from _models(part, within)


def named_keys(edits: list[Edit]) -> set[str]:
    """All paths that edits set, those within a value that is a section among them."""
    return {found for edit in edits for path, value in edit.keys for found in _paths(path, value)}


def _paths(path: str, value: Any) -> Iterator[str]:
    yield path
    for section in value if isinstance(value, list) else [value]:
        if isinstance(section, dict):
            for key, inner in section.items():
                yield from _paths(f"{path}.{key}", inner)
