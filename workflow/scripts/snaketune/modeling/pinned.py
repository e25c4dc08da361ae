"""Models at the commit at which they were checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec


def pinned(model: Mapping[str, Any], record: str) -> ModelSpec:
    """The model of a rule's params, at the commit that its `record` (models/{model}.json) names:
    a branch of the hub may move between two jobs, and a base and what was trained on it have to be
    the same files. A model in a folder has no commit."""
    spec = ModelSpec.model_validate(model)
    commit = json.loads(Path(record).read_text(encoding="utf-8"))["commit"]
    return spec if commit is None else spec.model_copy(update={"revision": commit})
