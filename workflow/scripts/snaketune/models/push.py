"""Uploads to the hub, only ever when asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from snaketune.runtime.errors import UserError


def push_to_hub(spec: dict[str, Any], files: Sequence[Path], card: str) -> dict[str, Any]:
    """Uploads the files and the card in one commit; returns what the hub says of it.

    `spec` is a run's `push`: `repo` and `private`. The token comes from the environment (or from
    `hf auth login`) and goes nowhere else. Raises `UserError` without a token and where the hub
    refuses or can't be reached.
    """
    repo = spec["repo"]
    if not get_token():
        raise UserError(
            f"push to {repo}: found no token, expected one in the environment (HF_TOKEN) or from "
            "`hf auth login`"
        )
    operations = [CommitOperationAdd("README.md", card.encode())]
    operations += [CommitOperationAdd(file.name, str(file)) for file in files]
    api = HfApi()
    try:
        url = api.create_repo(repo, private=spec["private"], exist_ok=True)
        commit = api.create_commit(
            url.repo_id, operations, commit_message=f"snaketune: {len(files)} files and the card"
        )
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise UserError(
            f"push to {repo}: {_reason(error)}. Check the name, the token's right to write there "
            "and the network."
        ) from None
    names = ["README.md", *(file.name for file in files)]
    return {"repo": url.repo_id, "commit": commit.oid, "url": commit.commit_url, "files": names}


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files, and those of folders among them."""
    folders = [sorted(f for f in path.iterdir() if f.is_file()) for path in paths if path.is_dir()]
    return [path for path in paths if path.is_file()] + [f for found in folders for f in found]


def _reason(error: Exception) -> str:
    """What went wrong in a line, without headers."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the hub answered {response.status_code}"
    if isinstance(error, ValueError):  # the library's own checks of names and cards
        return " ".join(str(error).split())
    return f"the hub can't be reached ({type(error).__name__})"
