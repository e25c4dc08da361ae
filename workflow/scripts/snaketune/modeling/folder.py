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

_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py")


def model_folder(spec: ModelSpec) -> Path:
    """The folder with the model's files, fetched from the hub if need be."""
    if Path(spec.id).is_dir():
        return Path(spec.id)
    try:
        return Path(snapshot_download(spec.id, revision=spec.revision, allow_patterns=_FILES))
    except GatedRepoError:
        reason = "it is gated: accept its terms on the hub and log in with `hf auth login`"
    except RevisionNotFoundError:
        reason = f"found no revision {spec.revision}"
    except RepositoryNotFoundError:
        reason = "there is no such folder and no such model on the hub"
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        reason = f"the model hub can't be reached ({type(error).__name__})"
    raise UserError(
        f"model {spec.id}: {reason}. To use a local folder instead, put the model's files "
        "(config.json, *.safetensors, tokenizer files) into one and give its path as `id`."
    )
