"""A run's adapter merged into its base, as a model of its own."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from snaketune.config.model import ModelSpec, Quantisation
from snaketune.models.folder import load_tokenizer, model_folder
from snaketune.models.headers import count_parameters
from snaketune.models.load import Weights, attach_adapter, load_model, pick_device, pick_dtype
from snaketune.models.nf4 import expand_nf4

_CPU = torch.device("cpu")
_FLOAT32 = 4  # bytes a number
_SPARE = 1.3  # for NF4 weights that are yet to be expanded, and the adapter


def write_merged(
    spec: ModelSpec,
    quantisation: Quantisation,
    weights: Weights,
    files: Sequence[Path],
    folder: Path,
) -> None:
    """Writes the model that the run's state is to `folder`: safetensors, config, tokenizer.

    The adapter is added to the weights that it was trained on: those that NF4 stands for, not the
    original ones, quantised from the dtype that training had. Sums are taken in float32 and stored
    in the base's own dtype. A fully trained model is whole already and only gets its tokenizer.
    """
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    if weights == "full":
        new.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, new / file.name)
    else:
        model, stored = _merged(spec, quantisation, files[0].parent)
        model.to(stored).save_pretrained(new)
    load_tokenizer(spec).save_pretrained(new)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _merged(spec: ModelSpec, quantisation: Quantisation, adapter: Path) -> tuple[Any, torch.dtype]:
    """The merged model in float32, and the dtype that the base is kept in."""
    device = pick_device()
    # NF4 weights follow from the numbers that they were made of: training's, on this device.
    dtype = pick_dtype(spec.dtype, device)
    as_trained = spec.model_copy(update={"dtype": str(dtype).removeprefix("torch.")})
    model = load_model(as_trained, quantisation, device if _has_room(spec, device) else _CPU)
    expand_nf4(model, torch.float32)
    model.float()
    stored = _stored_dtype(spec)
    adapted: Any = attach_adapter(model, adapter)
    return adapted.merge_and_unload(safe_merge=True), stored


def _has_room(spec: ModelSpec, device: torch.device) -> bool:
    """Whether the device takes the whole model in float32."""
    if device.type == "cpu":
        return True
    needed = _FLOAT32 * count_parameters(model_folder(spec))
    return _SPARE * needed <= torch.cuda.mem_get_info(device)[0]


def _stored_dtype(spec: ModelSpec) -> torch.dtype:
    if spec.dtype != "auto":
        return getattr(torch, spec.dtype)
    config = AutoConfig.from_pretrained(
        spec.id, revision=spec.revision, trust_remote_code=spec.trust_remote_code
    )
    return config.get_text_config().dtype or torch.float32
