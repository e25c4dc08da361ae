"""Loading: base models, quantised or not, reward models, and states with their weights on top."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from snaketune.config.model import DtypeName, ModelSpec, Quantisation
from snaketune.models.content import ADAPTER
from snaketune.models.headers import (
    IN_4_BITS,
    Kind,
    quantised_as,
    read_header,
    require_kind,
    require_readable,
    require_whole,
)
from snaketune.models.nf4 import (
    expand_nf4,
    fits_expanded,
    load_or_quantise,
    nf4_folder,
    nf4_layers,
    no_layer_in_nf4,
    not_in_nf4,
)
from snaketune.runtime.errors import UserError

# Micro-batches and caches are of many sizes: without this their memory falls to pieces on a GPU.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

# bitsandbytes asks for compiled functions when it is imported, for
# devices that it has no kernels of its own for, and the default compiler alone takes longer to
# import than a small model to load.
# What is compiled for speed names its backend.
if hasattr(torch.compiler, "set_default_backend"):  # from PyTorch 2.12 on
    torch.compiler.set_default_backend("eager")


def pick_device() -> torch.device:
    """The GPU that this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """The dtype that `auto` stands for on `device`, or the one named."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cpu":
        return torch.float32
    return (
        torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    )


def load_config(spec: ModelSpec, kind: Kind) -> PretrainedConfig:
    """The model's config. Raises UserError for a model of another kind, before weights are read."""
    config = AutoConfig.from_pretrained(
        spec.id, revision=spec.revision, trust_remote_code=spec.trust_remote_code
    )
    require_kind(config, kind, spec.id)
    return config


def load_model(
    spec: ModelSpec, quantisation: Quantisation, device: torch.device
) -> PreTrainedModel:
    """The causal model on `device`, from safetensors only. NF4 weights are quantised once and
    kept (see nf4_cache)."""
    dtype = pick_dtype(spec.dtype, device)
    comes = require_readable(load_config(spec, "causal"), spec.id, quantisation)
    if quantisation == "none" or comes:
        model = _load(spec, spec.id, dtype, device, None)
        if comes == IN_4_BITS:
            _keep_exact(model)
        return model
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=spec.double_quantisation,
        bnb_4bit_compute_dtype=dtype,
    )
    model = load_or_quantise(
        nf4_folder(spec, dtype),
        lambda: _load(spec, spec.id, dtype, device, config),
        lambda folder: _kept(spec, folder, dtype, device),
    )
    _keep_exact(model)
    _require_quantised(model, spec.id)
    return model


_TOLD = 0.1  # of a model's numbers


def _require_quantised(model: PreTrainedModel, name: str) -> None:
    """Raises UserError where NF4 holds nothing of the model; tells where it leaves much as it was,
    such as experts, which are no layers of their own."""
    layers = nf4_layers(model)
    if not layers:
        raise no_layer_in_nf4(name, type(model).__name__)
    _require_computable(model, name)
    held = {id(layer.weight) for layer in layers.values()}
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    held |= {id(end.weight) for end in ends if end is not None}
    left = [(n, p) for n, p in model.named_parameters() if p.ndim > 1 and id(p) not in held]
    numbers = sum(layer.in_features * layer.out_features for layer in layers.values())
    beside = sum(p.numel() for _, p in left)
    if beside > _TOLD * (numbers + beside):
        print(
            f"note: NF4 holds {numbers:,} numbers of {name}; {beside:,} more stay in "
            f"{str(model.dtype).removeprefix('torch.')}, first {left[0][0]}"
        )


def _keep_exact(model: PreTrainedModel) -> None:
    """Keeps the weights from being packed anew: on a CPU with AVX512-BF16 bitsandbytes does so at
    the first pass outside of training, after which the layers compute in bfloat16, whatever the
    model's numbers; layers narrower than a block of NF4 fail."""
    for layer in nf4_layers(model).values():
        layer.support_avx512bf16_for_cpu = False


def _kept(
    spec: ModelSpec, folder: str, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """Kept NF4 weights. The model goes on under its own name, which adapters trained on it note:
    the cache is this machine's."""
    model = _load(spec.model_copy(update={"revision": None}), folder, dtype, device, None)
    model.name_or_path = model.config._name_or_path = spec.id
    return model


def _load(
    spec: ModelSpec,
    source: str,
    dtype: torch.dtype,
    device: torch.device,
    config: BitsAndBytesConfig | None,
) -> PreTrainedModel:
    # Kept NF4 weights carry their own settings; an explicit None would hide them.
    settings = {} if config is None else {"quantization_config": config}
    auto = auto_class(load_config(spec.model_copy(update={"id": source}), "causal"))
    return _whole(auto, spec, source, dtype, device, **settings)


def auto_class(config: PretrainedConfig) -> Any:
    """What makes the model of a config: transformers has classes that take pictures too, such as
    Mistral 3's, under another name."""
    causal: Any = AutoModelForCausalLM
    sees: Any = AutoModelForImageTextToText
    known = type(config) in causal._model_mapping or type(config) not in sees._model_mapping
    return causal if known or "AutoModelForCausalLM" in getattr(config, "auto_map", {}) else sees


def _whole(
    auto: Any,
    spec: ModelSpec,
    source: str,
    dtype: torch.dtype,
    device: torch.device,
    **settings: Any,
) -> PreTrainedModel:
    """The model in `source`. Raises UserError where its files lack weights: transformers would
    draw them at random and only warn; or where they are cut, since the check of the model."""
    if Path(source).is_dir():
        require_whole(Path(source))
    model, found = auto.from_pretrained(
        source,
        revision=spec.revision,
        trust_remote_code=spec.trust_remote_code,
        use_safetensors=True,
        dtype=dtype,
        device_map={"": device},
        output_loading_info=True,
        **settings,
    )
    if missing := sorted(found["missing_keys"]):
        raise UserError(
            f"model {spec.id}: found no {', '.join(missing[:3])} in its safetensors files "
            f"({len(missing)} missing), expected every weight of {type(model).__name__}; random "
            "numbers would stand in their place"
        )
    return model.eval()


@torch.no_grad()
def _require_computable(model: PreTrainedModel, name: str) -> None:
    """Tries state-space layers, some of which read weights of layers that they don't call: in 4
    bits these are other numbers."""
    if not any(hasattr(m, "conv1d") and hasattr(m, "D") for m in model.modules()):
        return
    try:
        model(input_ids=torch.tensor([[3, 4]], device=model.device), use_cache=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise not_in_nf4(name, type(model).__name__, reason) from error


def load_reward_model(spec: ModelSpec, device: torch.device) -> PreTrainedModel:
    """The reward model on `device`, from safetensors only. Raises UserError for another kind of
    model, or one without its head: it would be given a head of random numbers."""
    load_config(spec, "reward")
    dtype = pick_dtype(spec.dtype, device)
    model = _whole(AutoModelForSequenceClassification, spec, spec.id, dtype, device)
    _score_exactly(model)
    return model


def _score_exactly(model: PreTrainedModel) -> None:
    """Takes the head's sum in float32: in 16 bits good replies would tie, and the best of n be the
    first of them. What the head is called follows transformers' decoders; another is left as it
    is."""
    head = getattr(model, "score", None)
    if isinstance(head, torch.nn.Linear):
        head.float().register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))


def attach_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter in `folder` on top of it, for inference. Raises UserError where it
    does not fit: PEFT would leave out what does not, and only warn."""
    from peft import PeftModel

    from snaketune.models.adapters import require_loaded, require_lora

    require_lora(folder / ADAPTER[0], str(folder))
    read_header(folder / ADAPTER[1])
    adapted: Any = PeftModel.from_pretrained(model, str(folder))  # answers like the model in it
    require_loaded(adapted, folder, str(folder), str(model.name_or_path))
    return adapted.eval()


Weights = Literal["none", "adapter", "full", "gguf"]


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
    in_4_bits = quantisation == "nf4" or quantised_as(model.config) == IN_4_BITS
    if in_4_bits and device.type == "cpu" and fits_expanded(model, dtype):
        expand_nf4(model, dtype)
    return attach_adapter(model, files[0].parent) if weights == "adapter" else model


@dataclass(frozen=True)
class RopeSwitch:
    """Where a model's positions change: a row of more than `length` tokens gets others, and all
    that stand in a batch with it."""

    length: int
    grows: bool
    """Whether they change with every further token (dynamic), or once (longrope)."""


def rope_switch(config: PretrainedConfig) -> RopeSwitch | None:
    """None for a model whose positions are the same whatever a row's length."""
    text = config.get_text_config()
    found = getattr(text, "rope_parameters", None) or {}
    for rope in [found, *(part for part in found.values() if isinstance(part, dict))]:
        if rope.get("rope_type") == "longrope":
            return RopeSwitch(rope["original_max_position_embeddings"], grows=False)
        if "dynamic" in str(rope.get("rope_type")):
            return RopeSwitch(text.max_position_embeddings, grows=True)
    return None


def forget_growth(model: torch.nn.Module) -> None:
    """Has positions that grew with a long row begin anew: a shorter one would get them too."""
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached") and hasattr(module, "rope_type"):
            place = torch.zeros_like(next(module.buffers())[:1, None], dtype=torch.long)  # [1, 1]
            module(place.float(), place)
