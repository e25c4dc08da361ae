"""Trained weights as files that others read: PEFT's format, or transformers' for `full`."""

import json
import shutil
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from snaketune.training.whole import atomic

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
MODEL_FILES = ("model.safetensors", "config.json")


def save(model: nn.Module, folder: Path, dtype: torch.dtype) -> None:
    """Writes the weights to `folder`, which is there whole or not at all.

    An adapter in float32; a whole model in one file, in `dtype`.
    """
    with atomic(folder) as new:
        if isinstance(model, PreTrainedModel):
            _save_whole(model, new, dtype)
        else:
            model.save_pretrained(str(new))


def _save_whole(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    state = _cast(model.state_dict(), dtype)
    model.save_pretrained(str(folder), state_dict=state, max_shard_size="1000GB")
    config = folder / "config.json"
    text = json.loads(config.read_text(encoding="utf-8"))
    text["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(text, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _cast(state: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights in `dtype`. What is one tensor under two names, such as a head tied to the
    embeddings, stays one, and is written once."""
    cast: dict[tuple, torch.Tensor] = {}
    found = {}
    for name, value in state.items():
        place = (value.data_ptr(), value.shape, value.stride())
        if place not in cast:
            cast[place] = value.to(dtype)
        found[name] = cast[place]
    return found


def publish(folder: Path, weights: Path, config: Path) -> None:
    """Copies the two files of a saved folder to where they are wanted."""
    for target in (weights, config):
        with atomic(target) as new:
            shutil.copyfile(folder / target.name, new)
