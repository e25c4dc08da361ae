"""NF4 weights as plain numbers: the same model, where 4-bit kernels are slow or inexact."""

from typing import Any

import torch
from torch import nn

from snaketune.runtime.machine import free_main_memory

_SHARE = 0.5  # of the free memory that expanded weights may take


def expand_nf4(model: nn.Module, dtype: torch.dtype) -> int:
    """Replaces every NF4 layer by a plain one that holds its de-quantised weight in `dtype`;
    returns how many.

    The weights are exactly those that NF4 stands for, so an adapter trained on the 4-bit base
    finds the base that it knows; merging one belongs onto these weights too.
    """
    layers = nf4_layers(model)
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, _plain(layer, dtype))
    if layers:
        del model.config.quantization_config
        model.is_loaded_in_4bit = model.is_quantized = False
        model.quantization_method = None
    return len(layers)


def fits_expanded(model: nn.Module, dtype: torch.dtype) -> bool:
    """Whether main memory has room for the expanded weights."""
    numbers = sum(m.in_features * m.out_features for m in nf4_layers(model).values())
    needed = numbers * dtype.itemsize
    return needed <= _SHARE * free_main_memory()


def nf4_layers(model: nn.Module) -> dict[str, Any]:
    """The model's NF4 layers by name."""
    from bitsandbytes.nn import Linear4bit  # takes a second to import, so only where needed

    return {n: m for n, m in model.named_modules() if isinstance(m, Linear4bit)}


def _plain(layer: Any, dtype: torch.dtype) -> nn.Linear:
    from bitsandbytes.functional import dequantize_4bit

    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(dtype)
    with torch.device("meta"):
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.data.to(dtype), requires_grad=False)
    return plain
