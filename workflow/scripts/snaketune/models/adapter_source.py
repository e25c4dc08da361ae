"""Adapters that were trained elsewhere, in a folder or on the hub."""

import shutil
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

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
