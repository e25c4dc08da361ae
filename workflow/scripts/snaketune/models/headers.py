"""What a model's config and the headers of its files say before a weight is read: how many numbers,
in what form, and of what kind of model. Light: the Snakefile estimates with it.
"""

import copy
import json
import re
from collections import Counter
from collections.abc import Collection
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, Literal

from snaketune.models.content import weight_files
from snaketune.runtime.errors import UserError

Kind = Literal["causal", "reward"]
"""One that writes or one that scores."""
_WRITES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_SCORES = "ForSequenceClassification"
_STAYS = re.compile(
    r"(^|\.)(experts|routers?|[a-z_]*embed[a-z_]*|wte|wpe|lm_head|output|score"
    r"|(mlp|feed_forward|mixer|block_sparse_moe)\.gate)\."
)
"""Names of what is no linear layer, or is left out: experts, routers, embeddings, heads."""
_SCALES = re.compile(
    r"weight\.(absmax|quant_|nested_)|\.(SCB|weight_format|qzeros|g_idx|scales)$|_scales?(_inv)?$"
)
"""Names of what belongs to quantised weights."""
_FLOATS = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@cache
def count_parameters(folder: Path) -> int:
    """Numbers in the weights that loading takes from the folder; 0 where there are none. Of packed
    ones those that they stand for."""
    tensors = _tensors(folder)
    return sum(
        prod(tensor["shape"]) * _packed(name, tensor["dtype"], tensors)
        for name, tensor in tensors.items()
        if not _SCALES.search(name)
    )


def is_quantised(folder: Path) -> bool:
    """Whether the model comes quantised, by its config."""
    file = folder / "config.json"
    return file.is_file() and bool(json.loads(file.read_bytes()).get("quantization_config"))


def model_type(folder: Path) -> str | None:
    """What a model in a folder says that it is; of one on the hub nothing is known here."""
    file = folder / "config.json"
    return json.loads(file.read_bytes()).get("model_type") if file.is_file() else None


def _packed(name: str, dtype: str, names: Collection[str]) -> int:
    """Numbers in one number of the file: two in a byte, eight in a word, of 4 bits each."""
    marks = (f"{name}.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4"))
    if dtype == "U8" and (name.endswith("_blocks") or any(mark in names for mark in marks)):
        return 2
    return 8 if dtype == "I32" and name.endswith("qweight") else 1


@cache
def nf4_numbers(folder: Path) -> int:
    """Of these numbers, those that NF4 holds in 4 bits: in linear layers. Embeddings, the head and
    experts, which become one tensor when they are loaded, stay as they are."""
    return sum(
        prod(shape)
        for name, shape in tensor_shapes(folder).items()
        if len(shape) == 2 and name.endswith(".weight") and not _STAYS.search(name)
    )


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """By name, of every tensor that loading takes from the folder."""
    return {key: tensor["shape"] for key, tensor in _tensors(folder).items()}


def unknown_targets(folder: Path, targets: Collection[str]) -> list[tuple[str, list[str]]]:
    """Names that are to get an adapter and that no weight in the folder has, each with the names of
    its linear layers. Where the files can't be read, that is told elsewhere."""
    try:
        shapes = tensor_shapes(folder)
    except UserError:
        return []
    parts = {part for name in shapes for part in name.split(".")}
    plain = [name for name, shape in shapes.items() if len(shape) == 2 and not _STAYS.search(name)]
    layers = sorted({name.split(".")[-2] for name in plain if name.endswith(".weight")})
    return [(name, layers) for name in targets if name.rpartition(".")[2] not in parts]


def float_dtypes(folder: Path) -> dict[str, str]:
    """By name, torch's name for the numbers of every tensor of plain floats in the folder."""
    return {
        key: _FLOATS[tensor["dtype"]]
        for key, tensor in _tensors(folder).items()
        if tensor["dtype"] in _FLOATS
    }


def main_dtype(folder: Path) -> str | None:
    """What most floats of the folder's weights are held in; None where there are none."""
    shapes, counts = tensor_shapes(folder), Counter[str]()
    for key, dtype in float_dtypes(folder).items():
        counts[dtype] += prod(shapes[key])
    return counts.most_common(1)[0][0] if counts else None


def _tensors(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        key: tensor for file in weight_files(folder) for key, tensor in read_header(file).items()
    }


def require_whole(folder: Path) -> None:
    """Raises `UserError` where a file of weights is gone, or shorter than its header says."""
    _tensors(folder)


def read_header(file: Path) -> dict[str, dict[str, Any]]:
    """By name, `shape` and `dtype` (safetensors' names) of the file's tensors. Raises UserError
    where the file is no such one, or shorter than its header says."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
        header.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (ValueError, OverflowError, MemoryError, TypeError, LookupError, AttributeError):
        raise UserError(
            f"{file}: found no safetensors file, expected one (a broken download?)"
        ) from None
    if (found := file.stat().st_size) != (expected := 8 + size + end):
        raise UserError(
            f"{file}: found {found:,} bytes, expected {expected:,} by its header (a download that "
            "did not end?)"
        )
    return header


def require_kind(config: Any, kind: Kind, name: str) -> None:
    """Raises UserError if the model is of another kind: transformers would load it all the same,
    with a head of random numbers."""
    if config.is_encoder_decoder:
        raise UserError(
            f"model {name}: found {(config.architectures or [config.model_type])[0]}, an encoder "
            "with a decoder, expected a model of a decoder alone"
        )
    for architecture in config.architectures or []:
        if kind == "causal" and not architecture.endswith(_WRITES):
            raise UserError(
                f"model {name}: found {architecture}, expected a model that writes text "
                "(…ForCausalLM), as base models and judges are"
            )
        if kind == "reward" and not architecture.endswith(_SCORES):
            raise UserError(
                f"model {name}: found {architecture}, expected a reward model (…{_SCORES})"
            )
    if kind == "reward" and config.num_labels != 1:
        raise UserError(
            f"model {name}: found {config.num_labels} outputs, expected a reward model with one"
        )


def require_head(config: Any, tensors: Collection[str], name: str, trust: bool) -> None:
    """Raises UserError if a reward model's files, with `tensors` by name, lack the head that
    scores. No weight is read or made: the architecture alone says what the head is called."""
    import torch
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=trust)
    below = f"{model.base_model_prefix}."
    head = [key for key in model.state_dict() if not key.startswith(below)]
    if missing := [key for key in head if key not in tensors]:
        raise UserError(
            f"model {name}: found no {', '.join(missing)} in its safetensors files, expected a "
            "reward model with its head; it would be a head of random numbers"
        )


IN_4_BITS = "bitsandbytes_4bit"


def quantised_as(config: Any) -> str | None:
    """How a base comes quantised, by transformers' name for it; None for plain numbers."""
    found = getattr(config, "quantization_config", None)
    found = found or getattr(config.get_text_config(), "quantization_config", None)
    if not found:
        return None
    said = found if isinstance(found, dict) else found.to_dict()
    if said.get("load_in_4bit") or said.get("load_in_8bit"):
        return IN_4_BITS if said.get("load_in_4bit") else "bitsandbytes_8bit"
    return str(said.get("quant_method"))


def require_readable(config: Any, name: str, quantisation: str | None) -> str | None:
    """How the base comes quantised. Raises UserError where nothing here reads that, or where it is
    asked for in other bits."""
    comes = quantised_as(config)
    if comes is None:
        return None
    import torch
    from transformers.quantizers.auto import AutoHfQuantizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    instead = "use the model that it was made of, which NF4 quantises (quantisation nf4, qlora)"
    try:
        said = config.quantization_config
        quantiser = AutoHfQuantizer.from_config(copy.deepcopy(said), pre_quantized=True)
        quantiser.validate_environment(device_map={"": device})
    except (ImportError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"model {name}: its weights come as {comes}, which can't be read here ({reason}); "
            f"expected plain weights: {instead}"
        ) from error
    if quantisation == "nf4" and comes != IN_4_BITS:
        raise UserError(
            f"model {name}: found quantisation nf4 for weights that come as {comes} already; "
            f"expected none, and method lora, or {instead}"
        )
    return comes


def require_trainable(config: Any, method: str, name: str) -> None:
    """Raises UserError where the method can't train a base that comes quantised."""
    comes = quantised_as(config)
    if comes is None or (comes == IN_4_BITS and method != "full"):
        return
    fits = "qlora or lora, or" if comes == IN_4_BITS else "plain weights or 4 bits of bitsandbytes:"
    raise UserError(
        f"preset: method: found {method}, but the weights of {name} come as {comes}; expected "
        f"{fits} the model that it was made of"
    )
