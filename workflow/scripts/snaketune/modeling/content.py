"""What a model or an adapter is: the content of the files that are used, wherever they lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec
from snaketune.identity import content_hashes, digest
from snaketune.modeling.model_files import adapter_files, model_files, weight_files

_ELSEWHERE = {"quantisation", "parameters"}
"""How weights are held is the state's or the method's, and a number of parameters is for
estimates."""


def content_of_model(folder: Path) -> str:
    """12 hex digits over the files that loading uses. Raises UserError where files that others
    name aren't there."""
    return _content(folder, model_files(folder))


def content_of_adapter(folder: Path) -> str:
    """12 hex digits over the adapter's two files, as far as they are there."""
    return _content(folder, adapter_files(folder))


def model_identity(spec: ModelSpec) -> dict[str, Any]:
    """Plain values that change with what is loaded: of a folder its content and not its place; of
    the hub the id and the revision, which stands for content once it is a commit."""
    folder = Path(spec.id)
    if not folder.is_dir():
        return spec.model_dump(mode="json", exclude=_ELSEWHERE)
    settings = spec.model_dump(mode="json", exclude=_ELSEWHERE | {"id", "revision"})
    return {"content": content_of_model(folder), **settings}


def tokenizer_identity(spec: ModelSpec) -> dict[str, Any]:
    """What decides the tokens and the chat template: of a folder the files beside the weights."""
    folder = Path(spec.id)
    if not folder.is_dir():
        return spec.model_dump(mode="json", include={"id", "revision", "trust_remote_code"})
    weights = set(weight_files(folder))
    files = [f for f in model_files(folder) if f not in weights]
    return {"content": _content(folder, files), "trust_remote_code": spec.trust_remote_code}


def _content(folder: Path, files: Sequence[Path]) -> str:
    names = [f.relative_to(folder).as_posix() for f in files]
    return digest(dict(zip(names, content_hashes(files), strict=True)))
