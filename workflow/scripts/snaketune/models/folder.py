"""Where a model's files lie: in a folder, or in the hub's cache at the commit at which they were
checked. Its tokenizer too, without what a model needs: importing that takes seconds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from snaketune.config.model import ModelSpec
from snaketune.models.content import (
    BESIDE_WEIGHTS,
    IN_FOLDERS,
    first_choice,
    shard_names,
    weights_entry,
)
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_json

LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")
"""Files that go along with a model wherever it goes."""


def model_folder(spec: ModelSpec) -> Path:
    """The folder with the model's files, those that loading uses fetched from the hub if need
    be."""
    if Path(spec.id).is_dir():
        return Path(spec.id)
    try:
        return _fetched(spec)
    except GatedRepoError:
        reason = "it is gated: accept its terms on the hub and log in with `hf auth login`"
    except RevisionNotFoundError:
        reason = f"found no revision {spec.revision}"
    except RepositoryNotFoundError:
        reason = "there is no such folder and no such model on the hub"
    except LocalEntryNotFoundError:
        reason = "the model hub can't be reached, and its cache here lacks files of the model"
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = f"the model hub can't be reached ({type(error).__name__})"
    raise UserError(
        f"model {spec.id}: {reason}. To use a local folder instead, put the model's files "
        "(config.json, *.safetensors, tokenizer files) into one and give its path as `id`."
    )


def at_commit(spec: ModelSpec) -> ModelSpec:
    """The model of the hub at the commit that its revision stands for; one in a folder as it is."""
    if Path(spec.id).is_dir():
        return spec
    # A folder of the hub's cache is named by the commit.
    return spec.model_copy(update={"revision": model_folder(spec).name})


def _fetched(spec: ModelSpec) -> Path:
    """Which weights there are is known from the smaller files. With the hub switched off each step
    finds what an earlier fetch left."""
    folder = Path(
        snapshot_download(
            spec.id,
            revision=spec.revision,
            allow_patterns=[*BESIDE_WEIGHTS, *LICENCES],
            ignore_patterns="*/*",  # `*` stands for `/` too here
        )
    )
    commit = folder.name
    # The config is there already: a step that finds nothing would warn of it.
    more = ["config.json", *IN_FOLDERS, first_choice(folder)]
    snapshot_download(spec.id, revision=commit, allow_patterns=more)
    entry = weights_entry(folder)
    if entry is not None and entry.suffix == ".json":
        snapshot_download(spec.id, revision=commit, allow_patterns=shard_names(entry))
    return folder


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
    commit = read_json(Path(pinned_at))["commit"]
    return spec if commit is None else spec.model_copy(update={"revision": commit})


def load_tokenizer(spec: ModelSpec) -> Any:
    """The model's own tokenizer, with the one chat template that is used."""
    # Imported here: it takes seconds, and to fetch a model and note its commit takes none of it.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        spec.id, revision=spec.revision, trust_remote_code=spec.trust_remote_code
    )
    tokenizer.chat_template = _chosen_template(spec, tokenizer.chat_template)
    return tokenizer


def _chosen_template(spec: ModelSpec, found: str | dict[str, str] | None) -> str | None:
    """The chat template in a file, the one of that name, or the model's only or `default` one."""
    asked = spec.chat_template
    if asked is not None and Path(asked).is_file():
        return Path(asked).read_text(encoding="utf-8")
    named = found if isinstance(found, dict) else {}
    if asked is not None and asked not in named:
        names = ", ".join(sorted(named)) or "no templates with names"
        raise UserError(
            f"models: chat_template: found {asked}, expected a file, or the name of one of the "
            f"model's templates; {spec.id} has {names}"
        )
    if asked is None and named and "default" not in named:
        raise UserError(
            f"models: {spec.id} has several chat templates and none named default; expected "
            f"`chat_template` to name one of {', '.join(sorted(named))}"
        )
    return named[asked or "default"] if named else found  # type: ignore[return-value]
