"""NF4 weights as plain numbers: the same model, where 4-bit kernels are slow or inexact."""

import bitsandbytes as bnb
import psutil
import torch
from bitsandbytes.functional import dequantize_4bit
from torch import nn

_SHARE = 0.5  # of the free memory that expanded weights may take


def expand_nf4(model: nn.Module, dtype: torch.dtype) -> int:
    """Replaces every NF4 layer by a plain one that holds its de-quantised weight in `dtype`;
    returns how many.

    The weights are exactly those that NF4 stands for, so an adapter trained on the 4-bit base
    finds the base that it knows; merging one belongs onto these weights too.
    """
    names = [n for n, m in model.named_modules() if isinstance(m, bnb.nn.Linear4bit)]
    for name in names:
        parent, _, child = name.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, child, _plain(getattr(owner, child), dtype))
    if names:
        model.config.quantization_config = None
        model.is_loaded_in_4bit = model.is_quantized = False
        model.quantization_method = None
    return len(names)


def fits_expanded(model: nn.Module, dtype: torch.dtype) -> bool:
    """Whether main memory has room for the expanded weights."""
    layers = (m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit))
    needed = sum(m.in_features * m.out_features for m in layers) * dtype.itemsize
    return needed <= _SHARE * psutil.virtual_memory().available


def _plain(layer: bnb.nn.Linear4bit, dtype: torch.dtype) -> nn.Linear:
    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(dtype)
    with torch.device("meta"):
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.data.to(dtype), requires_grad=False)
    return plain
