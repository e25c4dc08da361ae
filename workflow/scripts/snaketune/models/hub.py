"""To and from the hub: adapters that were trained elsewhere (there, or in a folder), and uploads,
only ever when asked for.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from snaketune.runtime.errors import UserError

HUB = "hub:"


def fetch_adapter(source: str, revision: str | None, weights: Path, config: Path) -> None:
    """Copies the adapter's two files from `source`, a folder or `hub:OWNER/NAME`.

    Only safetensors are taken. Raises `UserError` when a file isn't there or the hub can't be
    reached.
    """
    for target in (weights, config):
        found = _find(source, revision, target.name)
        if source.startswith(HUB):
            # Both files of one commit, though the branch may move between them.
            revision = found.parent.name
            print(f"{source}: {target.name} of commit {revision}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, target)


def _find(source: str, revision: str | None, name: str) -> Path:
    if source.startswith(HUB):
        return _from_hub(source.removeprefix(HUB), revision, name)
    file = Path(source) / name
    if not file.is_file():
        raise UserError(
            f"adapter {source}: found no {name}; expected a folder in PEFT's format with "
            f"adapter_config.json and adapter_model.safetensors (or {HUB}OWNER/NAME)"
        )
    return file


def _from_hub(repository: str, revision: str | None, name: str) -> Path:
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"adapter {HUB}{repository}: {name} could not be fetched ({type(error).__name__}); "
            "check the name and the network, or give a local folder with adapter_config.json and "
            "adapter_model.safetensors"
        ) from None


def push_to_hub(
    spec: dict[str, Any], files: Sequence[Path], card: str, beside: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Uploads the files and the card in one commit; returns what the hub says of it. `beside`:
    further texts by their paths there.

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
    texts = {"README.md": card, **(beside or {})}
    operations = [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
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
    names = [*texts, *(file.name for file in files)]
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
