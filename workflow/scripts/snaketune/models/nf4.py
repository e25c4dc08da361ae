"""NF4 weights: quantised once a machine and kept, and expanded to plain numbers where 4-bit
kernels are slow or inexact.

A weight takes 4 bits and its share of a scale, 0.13 to 0.5 bits; expanded 16 or 32.
"""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from snaketune.config.model import ModelSpec
from snaketune.models.content import model_identity, weight_files
from snaketune.models.folder import at_commit, model_folder
from snaketune.runtime.content import cache_root, digest, require_as_made, sign
from snaketune.runtime.errors import UserError, first_line, is_out_of_memory
from snaketune.runtime.files import write_json
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
        marks: Any = model  # transformers' marks of a quantised model have no types
        del marks.config.quantization_config
        marks.is_loaded_in_4bit = marks.is_quantized = False
        marks.quantization_method = marks.hf_quantizer = None
        _forget_packing(marks)
    return len(layers)


def _forget_packing(model: Any) -> None:
    """Of the conversions with which the weights were read, and that saving reverses, lets go of
    those that unpacked kept NF4 weights: there is nothing to pack any more, and no way to."""
    from transformers.integrations.bitsandbytes import Bnb4bitDeserialize

    model._weight_conversions = [
        conversion
        for conversion in getattr(model, "_weight_conversions", None) or []
        if not any(
            isinstance(step, Bnb4bitDeserialize) for step in getattr(conversion, "operations", [])
        )
    ]


def fits_expanded(model: nn.Module, dtype: torch.dtype) -> bool:
    """Whether main memory has room for the expanded weights."""
    numbers = sum(m.in_features * m.out_features for m in nf4_layers(model).values())
    needed = numbers * dtype.itemsize
    return needed <= _SHARE * free_main_memory()


def nf4_layers(model: nn.Module) -> dict[str, Any]:
    """The model's NF4 layers by name."""
    from bitsandbytes.nn import Linear4bit  # takes a second to import, so only where needed

    return {n: m for n, m in model.named_modules() if isinstance(m, Linear4bit)}


def _plain(layer: Any, dtype: torch.dtype) -> nn.Module:
    from bitsandbytes.functional import dequantize_4bit

    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(dtype)
    turned = issubclass(getattr(layer, "source_cls", nn.Linear), Conv1D)
    plain: Any  # what the layer was before it was quantised; a Conv1D (GPT-2's) holds [in, out]
    with torch.device("meta"):
        if turned:
            plain = Conv1D(layer.out_features, layer.in_features)
            plain.bias = None if layer.bias is None else plain.bias
        else:
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    weight = weight.T.contiguous() if turned else weight
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.data.to(dtype), requires_grad=False)
    return plain


_WORTH = 16_000_000  # bytes of weights; a smaller model is quantised faster than it is found


def nf4_folder(spec: ModelSpec, dtype: torch.dtype) -> Path | None:
    """Where the NF4 weights of a model lie or will lie, named by all that they follow from; None
    for a model so small that keeping them does not pay."""
    source = model_folder(spec)
    if sum(f.stat().st_size for f in weight_files(source)) < _WORTH:
        return None
    return cache_root() / "nf4" / digest(_identity(spec, dtype))


def _identity(spec: ModelSpec, dtype: torch.dtype) -> dict[str, Any]:
    """What NF4 weights follow from."""
    return {
        **model_identity(at_commit(spec)),
        "dtype": str(dtype),
        "libraries": [version("bitsandbytes"), version("transformers")],
    }


def load_or_quantise(
    folder: Path | None,
    quantise: Callable[[], PreTrainedModel],
    load: Callable[[str], Any],
) -> Any:
    """`load(folder)` where NF4 weights are kept; else `quantise()`, whose result is kept there for
    the next job."""
    if folder is not None and (folder / "config.json").is_file():
        try:
            require_as_made([folder])
            return load(str(folder))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            print(
                f"note: the NF4 weights kept in {folder} can't be read ({first_line(error)}): they "
                "are made anew",
                file=sys.stderr,
            )
            shutil.rmtree(folder, ignore_errors=True)
    model = quantise()
    if folder is not None:
        _keep(model, folder)
    return model


def _keep(model: PreTrainedModel, folder: Path) -> None:
    """Saves the model, whole or not at all; of two jobs at once the first one wins."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        model.save_pretrained(temporary)
        record = temporary / "manifest.json"
        write_json(record, {})
        sign(record, {"step": "nf4"}, [temporary])
        temporary.rename(folder)
    # A full disk is an error of safetensors' own.
    except (OSError, SafetensorError) as error:
        if not folder.is_dir():
            print(f"note: NF4 weights can't be kept in {folder.parent}: {error}", file=sys.stderr)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def expanded_folder(
    spec: ModelSpec, dtype: torch.dtype, load: Callable[[], PreTrainedModel]
) -> Path:
    """A model's folder, for programs that read no NF4, whose weights are in `dtype` those that its
    NF4 weights stand for, as `load()` gives them. Made once a machine and kept: 2 bytes a weight in
    16 bits."""
    folder = cache_root() / "nf4-expanded" / digest(_identity(spec, dtype))

    def expanded() -> PreTrainedModel:
        model = load()
        expand_nf4(model, dtype)
        return model

    load_or_quantise(folder, expanded, lambda kept: None)  # to be there is enough
    if not folder.is_dir():
        raise UserError(
            f"model {spec.id}: its NF4 weights, as plain numbers, found no place in "
            f"{folder.parent}; make room, or set SNAKETUNE_CACHE to a larger disk"
        )
    return folder


def no_layer_in_nf4(name: str, kind: str) -> UserError:
    """What is said where NF4 holds nothing of a model."""
    return UserError(
        f"model {name}: found no layer in a {kind} that NF4 can hold, expected linear layers; use "
        "method lora, and quantisation none"
    )


def not_in_nf4(name: str, kind: str, reason: str) -> UserError:
    """What is said where layers read weights that NF4 packs."""
    return UserError(
        f"model {name}: a {kind} can't compute with weights in NF4 ({reason}); expected "
        "quantisation none, and method lora or full"
    )
