"""NF4 weights, quantised once a machine: later jobs load them as they are."""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from snaketune.config.model import ModelSpec
from snaketune.models.content import model_identity, weight_files
from snaketune.models.folder import at_commit, model_folder
from snaketune.runtime.content import cache_root, digest

_WORTH = 16_000_000  # bytes of weights; a smaller model is quantised faster than it is found


def nf4_folder(spec: ModelSpec, dtype: torch.dtype) -> Path | None:
    """Where the NF4 weights of a model lie or will lie, named by all that they follow from; None
    for a model so small that keeping them does not pay."""
    source = model_folder(spec)
    if sum(f.stat().st_size for f in weight_files(source)) < _WORTH:
        return None
    identity = {
        **model_identity(at_commit(spec)),
        "dtype": str(dtype),
        "libraries": [version("bitsandbytes"), version("transformers")],
    }
    return cache_root() / "nf4" / digest(identity)


def load_or_quantise(
    folder: Path | None,
    quantise: Callable[[], PreTrainedModel],
    load: Callable[[str], PreTrainedModel],
) -> PreTrainedModel:
    """`load(folder)` where NF4 weights are kept; else `quantise()`, whose result is kept there for
    the next job."""
    if folder is not None and (folder / "config.json").is_file():
        return load(str(folder))
    model = quantise()
    if folder is not None:
        _keep(model, folder)
    return model


def _keep(model: PreTrainedModel, folder: Path) -> None:
    """Saves the model, whole or not at all; of two jobs at once the first one wins."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        model.save_pretrained(temporary)
        temporary.rename(folder)
    # A full disk is an error of safetensors' own.
    except (OSError, SafetensorError) as error:
        if not folder.is_dir():
            print(f"note: NF4 weights can't be kept in {folder.parent}: {error}", file=sys.stderr)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
