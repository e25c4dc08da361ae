"""States for inference: a base model, with an adapter on it, or trained as a whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from snaketune.config.model import ModelSpec, Quantisation
from snaketune.models.expand import expand_nf4, fits_expanded
from snaketune.models.load import attach_adapter, load_model, pick_dtype

Weights = Literal["none", "adapter", "full"]


def load_state(
    spec: ModelSpec,
    quantisation: Quantisation,
    weights: Weights,
    files: Sequence[Path],
    device: torch.device,
) -> PreTrainedModel:
    """The model that a state stands for, on `device`, ready for inference.

    `files` are the state's weights and their config in one folder; none for `none`. An adapter
    stays beside the base that it was trained on: merged into 4-bit weights it would be another
    model. On the CPU, NF4 weights are expanded once, which is exact and spares doing so for every
    token.
    """
    if weights == "full":
        spec = spec.model_copy(update={"id": str(files[0].parent), "revision": None})
    model = load_model(spec, quantisation, device)
    dtype = pick_dtype(spec.dtype, device)
    if quantisation == "nf4" and device.type == "cpu" and fits_expanded(model, dtype):
        expand_nf4(model, dtype)
    return attach_adapter(model, files[0].parent) if weights == "adapter" else model
