"""Models at the commit at which they were checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec
from snaketune.modeling.folder import model_folder


def pin(spec: ModelSpec) -> dict[str, str | None]:
    """Fetches a model where need be and notes which files it is: the commit of one on the hub. One
    in a folder has none. Raises `UserError` where it can't be had."""
    folder = model_folder(spec)
    return {
        "id": spec.id,
        "revision": spec.revision,
        "commit": None if Path(spec.id).is_dir() else folder.name,
    }


def pinned(model: Mapping[str, Any], pinned_at: str) -> ModelSpec:
    """The model of a rule's params, at the commit that the file `pinned_at` of `pin_model` names: a
    branch of the hub may move between two jobs, and a base and what was trained on it have to be
    the same files. A model in a folder has no commit."""
    spec = ModelSpec.model_validate(model)
    commit = json.loads(Path(pinned_at).read_text(encoding="utf-8"))["commit"]
    return spec if commit is None else spec.model_copy(update={"revision": commit})
