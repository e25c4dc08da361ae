"""Where a model's files lie."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from snaketune.config.model import ModelSpec
from snaketune.errors import UserError
from snaketune.modeling.model_files import (
    BESIDE_WEIGHTS,
    IN_FOLDERS,
    first_choice,
    shard_names,
    weights_entry,
)


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
            allow_patterns=BESIDE_WEIGHTS,
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
