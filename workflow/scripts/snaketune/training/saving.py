"""Trained weights as files that others read: PEFT's format, or transformers' for `full`."""

import json
import shutil
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
MODEL_FILES = ("model.safetensors", "config.json")


def save(model: nn.Module, folder: Path, dtype: torch.dtype) -> None:
    """Writes the weights to `folder`, which is there whole or not at all.

    An adapter in float32; a whole model in one file, in `dtype`.
    """
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(model, PreTrainedModel):
        _save_whole(model, new, dtype)
    else:
        model.save_pretrained(str(new))
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _save_whole(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in model.state_dict().items()}
    model.save_pretrained(str(folder), state_dict=state, max_shard_size="1000GB")
    config = folder / "config.json"
    text = json.loads(config.read_text(encoding="utf-8"))
    text["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(text, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def publish(folder: Path, weights: Path, config: Path) -> None:
    """Copies the two files of a saved folder to where they are wanted."""
    for target in (weights, config):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(folder / target.name, temporary)
        temporary.replace(target)
