"""Which files a model or an adapter is: those that loading uses, and their content as its identity,
wherever they lie. Light: the Snakefile looks at them too.

A folder may hold the same weights twice, in other formats or as their makers published them, and
much that is read by people. What counts follows transformers 5 (`_get_resolved_checkpoint_files`
for weights, `VOCAB_FILES_NAMES` of its tokenizers).
"""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec
from snaketune.runtime.content import content_hash, content_hashes, digest
from snaketune.runtime.errors import UserError

_ELSEWHERE = {"quantisation", "parameters", "chat_template"}
"""How weights are held is the state's or the method's, and a number of parameters is for
estimates. A chat template of one's own is known by its content."""


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
    template = _template_identity(spec)
    if not folder.is_dir():
        return spec.model_dump(mode="json", exclude=_ELSEWHERE) | template
    settings = spec.model_dump(mode="json", exclude=_ELSEWHERE | {"id", "revision"})
    return {"content": content_of_model(folder), **settings, **template}


def _template_identity(spec: ModelSpec) -> dict[str, Any]:
    """Another chat template than the model's own, a file by its content."""
    if spec.chat_template is None:
        return {}
    file = Path(spec.chat_template)
    return {"chat_template": content_hash(file) if file.is_file() else spec.chat_template}


def tokenizer_identity(spec: ModelSpec) -> dict[str, Any]:
    """What decides the tokens and the chat template: of a folder the files beside the weights."""
    folder = Path(spec.id)
    if not folder.is_dir():
        named = {"id", "revision", "trust_remote_code"}
        return spec.model_dump(mode="json", include=named) | _template_identity(spec)
    weights = set(weight_files(folder))
    files = [f for f in model_files(folder) if f not in weights]
    known = {"content": _content(folder, files), "trust_remote_code": spec.trust_remote_code}
    return known | _template_identity(spec)


def _content(folder: Path, files: Sequence[Path]) -> str:
    names = [f.relative_to(folder).as_posix() for f in files]
    return digest(dict(zip(names, content_hashes(files), strict=True)))


_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
"""An adapter in PEFT's own format. One in a model's folder is a part of the model: it is loaded
with it."""

_SETTINGS = (
    *("config.json", "config.*.json", "generation_config.json", "*.py"),
    *("tokenizer*.json", "tokenizer.model*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "merges.txt", "*.model", "*.tiktoken", "*.spm", "tekken.json"),
    *("bpe.codes", "byte_maps.json", "dict.txt", "emoji.json", "entity_vocab.json"),
    *("normalizer.json", "prophetnet.tokenizer", "target_vocab.json", "word_*.json"),
    *("chat_template.jinja", "chat_template.json"),
    # With these vLLM starts a model that also sees or hears.
    *("preprocessor_config.json", "processor_config.json", "*_preprocessor_config.json"),
)
IN_FOLDERS = ("additional_chat_templates/*.jinja", "custom_generate/*.py")
"""The only files that count and lie deeper."""

BESIDE_WEIGHTS = (*_SETTINGS, _INDEX, *ADAPTER)
"""Names, as patterns, of all that may count in the folder itself but for the weights."""


def model_files(folder: Path) -> list[Path]:
    """All files in the folder that loading uses. Raises UserError as `weight_files` does."""
    named = [f for f in folder.iterdir() if any(fnmatchcase(f.name, p) for p in _SETTINGS)]
    deeper = [f for pattern in IN_FOLDERS for f in folder.glob(pattern)]
    found = {f for f in (*named, *deeper) if f.is_file() and f.name[0] != "."}
    if (folder / ADAPTER[0]).is_file():
        found |= set(adapter_files(folder))
    if entry := weights_entry(folder):
        found |= {entry, *weight_files(folder)}
    return sorted(found)


def adapter_files(folder: Path) -> list[Path]:
    """The adapter's two files, as far as they are there."""
    return [folder / name for name in ADAPTER if (folder / name).is_file()]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that the model's weights are loaded from; none where there are none.
    Raises UserError for an index or config that can't be read, or a shard that isn't there."""
    entry = weights_entry(folder)
    if entry is None:
        return []
    if entry.suffix != ".json":
        return [entry]
    files = [folder / name for name in shard_names(entry)]
    for file in files:
        if not file.is_file():
            raise UserError(
                f"{entry}: found no {file.name}, which it names; expected all {len(files)} files "
                "of weights that it names beside it (a download that did not end?)"
            )
    return files


def weights_entry(folder: Path) -> Path | None:
    """The file that loading begins with: the whole weights, even beside an index, or else the
    index of their shards."""
    for name in (first_choice(folder), _INDEX):
        if (folder / name).is_file():
            return folder / name
    return None


def first_choice(folder: Path) -> str:
    """The name that weights are looked for under first: the config may give another one."""
    config = folder / "config.json"
    named = _object(config).get("transformers_weights") if config.is_file() else None
    return named or _WHOLE


def shard_names(index: Path) -> list[str]:
    """The files that an index names. Raises UserError where it is no index."""
    places = _object(index).get("weight_map")
    if not isinstance(places, dict):
        raise UserError(f"{index}: found no weight_map, expected the index of safetensors files")
    return sorted(set(places.values()))


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file}: found no JSON object, expected one (a broken download?)")
    return found
