"""What a preset trains: the model with a fresh adapter, or all its weights, and the optimiser over
them.

Memory a trained number takes: 4 bytes itself (float32), 4 its gradient, 8 the moments of AdamW, or
2 where the optimiser holds them in 8 bits.
"""

import copy
import re
from collections import Counter
from typing import Any

import bitsandbytes as bnb
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import (
    BaseTunerLayer,
    _maybe_include_all_linear_layers,
    check_target_module_exists,
)
from peft.utils.transformers_weight_conversion import (
    convert_peft_config_for_transformers,
    get_model_conversion_mapping,
)
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from snaketune.config.model import LoraSpec, ModelSpec, Preset
from snaketune.models.headers import require_trainable
from snaketune.models.load import load_config, load_model, pick_dtype
from snaketune.runtime.errors import UserError
from snaketune.training.adapter_layers import hold_on_cpu, use_fused_layers


def compute_dtype(spec: ModelSpec, preset: Preset, device: torch.device) -> torch.dtype:
    """The dtype of the computation: the preset's, else the model's."""
    return pick_dtype(spec.dtype if preset.dtype == "auto" else preset.dtype, device)


def build_trainable(
    spec: ModelSpec, preset: Preset, seed: int, device: torch.device
) -> tuple[nn.Module, PreTrainedModel]:
    """The module to train, in training mode, and the transformers model in it.

    Adapters are float32 whatever the base is. `full` holds its weights in float32 too, because
    small updates vanish in 16 bits; its computation is cast. Of a model that also takes pictures
    or sound only the language model is trained: texts leave the rest without gradients.
    """
    require_trainable(load_config(spec, "causal"), preset.method, spec.id)
    dtype = torch.float32 if preset.method == "full" else compute_dtype(spec, preset, device)
    spec = spec.model_copy(update={"dtype": str(dtype).removeprefix("torch.")})
    causal = load_model(spec, "nf4" if preset.method == "qlora" else "none", device)
    if preset.method == "full":
        beside = _beside_language(causal)
        for name, parameter in causal.named_parameters():
            parameter.requires_grad_(not (beside and re.fullmatch(beside, name)))
        return causal.train(), causal
    # A is drawn here: the seed has to be set before.
    torch.manual_seed(seed)
    model = with_adapter(causal, spec, preset.lora)
    hold_on_cpu(causal)
    return model.train(), causal


def _beside_language(causal: PreTrainedModel) -> str | None:
    """A pattern for the full names of what is beside the language model and its output head; None
    where they are the whole model."""
    if causal.config.get_text_config() is causal.config:
        return None
    parts = (causal.get_decoder(), causal.get_output_embeddings())
    names = [re.escape(name) for name, module in causal.named_modules() if module in parts]
    return rf"(?!({'|'.join(names)})\.).*"


def _left_out(causal: PreTrainedModel) -> str | None:
    """A pattern for the full names of what `all-linear` leaves out: what is beside the language
    model, and of state-space layers what they read the weights of without calling the layer, so
    that an adapter would take no part (out_proj: in their fused kernels), and linear layers that
    give something else than a product, as some routers do."""
    parts = [beside] if (beside := _beside_language(causal)) else []
    for name, module in causal.named_modules():
        if hasattr(module, "conv1d") and hasattr(module, "D"):
            inner = "|".join(_READ_DIRECTLY)
            parts.append(rf"{re.escape(name)}\.({inner})")
        if isinstance(module, nn.Linear) and not _is_product(module):
            parts.append(re.escape(name))
    return "|".join(parts) or None


@torch.no_grad()
def _is_product(layer: nn.Linear) -> bool:
    """Whether the layer gives x Wᵀ + bias. One with a forward of its own is asked."""
    if type(layer) in (nn.Linear, bnb.nn.Linear4bit):
        return True
    x = torch.ones(1, layer.in_features, dtype=layer.weight.dtype, device=layer.weight.device)
    y: Any = layer(x)
    expected = nn.functional.linear(x, layer.weight, layer.bias)
    alike = torch.is_tensor(y) and y.shape == expected.shape
    return alike and (y.is_meta or torch.allclose(y, expected, 1e-2))


_READ_DIRECTLY = ("conv1d", "dt_proj", "out_proj")


def with_adapter(causal: PreTrainedModel, spec: ModelSpec, lora: LoraSpec) -> nn.Module:
    """The model with a fresh adapter. Raises UserError where it can't have that one."""
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT divides it: any number will do
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        exclude_modules=(
            _left_out(causal) if lora.targets == "all-linear" else _beside_language(causal)
        ),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        revision=spec.revision,
    )
    config.target_parameters = _beside_experts(causal, config) or None
    use_fused_layers(config)
    try:
        return get_peft_model(causal, config, low_cpu_mem_usage=causal.device.type == "meta")
    except ValueError as error:
        raise UserError(_refused(error, spec, lora)) from error


def _beside_experts(causal: PreTrainedModel, config: LoraConfig) -> list[str]:
    """Weights of linear layers that the targets name and PEFT leaves without an adapter unless they
    are named as weights: where experts became one tensor it takes `up_proj` for the experts' alone,
    though dense layers and shared experts are called so too. Weights in 4 bits it can't take so."""
    converted: LoraConfig = copy.deepcopy(config)
    named: Any = copy.deepcopy(config)
    convert_peft_config_for_transformers(converted, causal, get_model_conversion_mapping(causal))
    if not converted.target_parameters:
        return []
    named = _maybe_include_all_linear_layers(named, causal)
    left = {
        name: module
        for name, module in causal.named_modules()
        if isinstance(module, nn.Linear)
        and check_target_module_exists(named, name)
        and not check_target_module_exists(converted, name)
    }
    packed = [name for name, module in left.items() if not module.weight.is_floating_point()]
    if packed:
        print(
            f"note: {len(packed)} layers get no adapter, first {packed[0]}: PEFT gives theirs to "
            "the experts of the same names, and weights in 4 bits can't be named otherwise; method "
            "lora takes them too"
        )
    return [f"{name}.weight" for name in left if name not in packed]


def _refused(error: ValueError, spec: ModelSpec, lora: LoraSpec) -> str:
    if "ParamWrapper" in str(error):  # PEFT's adapter of a weight that is no layer
        key, found, wanted = (
            ("dora", "true", "false") if lora.dora else ("dropout", f"{lora.dropout:g}", "0")
        )
        return (
            f"preset: lora.{key}: found {found}, but experts of {spec.id} are one tensor, whose "
            f"adapters take none; expected {wanted}, or lora.targets that name no experts, such as "
            "q_proj, k_proj, v_proj and o_proj"
        )
    return (
        f"preset: lora.targets: found {lora.targets}, which {spec.id} cannot take ({error}); "
        "expected all-linear or names of linear layers"
    )


def adapter_table(causal: PreTrainedModel) -> dict[str, list[dict[str, Any]]]:
    """What got an adapter, with the adapter's parameters, and which linear layers and experts got
    none, with their own: by name, all layers together."""
    decoder, front = causal.get_decoder(), r"[^.]+"
    if _beside_language(causal):
        front = next(re.escape(name) for name, m in causal.named_modules() if m is decoder)
    given, left, taken = [], [], set()
    modules = list(causal.named_modules())
    for path, module in modules:
        if isinstance(module, BaseTunerLayer):
            layer: Any = module  # PEFT's own attributes have no types
            key = getattr(layer, "parameter_name", "weight")
            taken.add(id(getattr(layer.get_base_layer(), key)))
            parts = (getattr(layer, kind).parameters() for kind in layer.adapter_layer_names)
            numbers = sum(p.numel() for part in parts for p in part)
            given.append((_without_number(path, key, front), numbers))
    for path, module in modules:
        for key, weight in module.named_parameters(recurse=False):
            if _multiplies(module, key, weight) and id(weight) not in taken and "lora_" not in path:
                numbers = weight.numel() if weight.is_floating_point() else _numbers(module)
                left.append((_without_number(path, key, front), numbers))
    return {"adapters": _added_up(given), "without_adapter": _added_up(left)}


def _numbers(layer: Any) -> int:
    return layer.in_features * layer.out_features  # packed weights have fewer


def _multiplies(module: nn.Module, key: str, weight: torch.Tensor) -> bool:
    """Whether it is a linear layer's weight, or that of all experts in one."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return False
    return weight.ndim > 2 or (key == "weight" and isinstance(module, nn.Linear | Conv1D))


def _without_number(path: str, key: str, front: str) -> str:
    """`mlp.up_proj` of `model.layers.0.mlp.up_proj`; `front`: a pattern for the decoder's name."""
    inside = re.sub(rf"^{front}\.[^.]+\.\d+\.", "", path)
    parts = [p for p in [*inside.split("."), key] if p not in ("base_layer", "weight")]
    return ".".join(part for part in parts if not part.isdigit())


def _added_up(found: list[tuple[str, int]]) -> list[dict[str, Any]]:
    counts = Counter(name for name, _ in found)
    return [
        {"modules": name, "count": n, "parameters": sum(size for of, size in found if of == name)}
        for name, n in counts.items()
    ]


def unmoved_adapters(model: nn.Module) -> list[str]:
    """Names of the `lora_B` weights that are still all zero, as they were drawn."""
    return [n for n, p in model.named_parameters() if "lora_B" in n and not p.detach().any()]


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that are trained, by name."""
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def recompute_activations(causal: PreTrainedModel) -> None:
    """Gradient checkpointing; the re-entrant kind would cut adapters off from their gradients."""
    causal.activation_checkpointing_enable({"use_reentrant": False})


# bitsandbytes keeps tensors below this many numbers in 32 bits; its own default.
_SMALLEST_8BIT = 4096
# So many are held in 8 bits, and paged.
_TRIED = 1 << 17


def build_optimizer(name: str, model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """The optimiser over what the model trains; biases and norms (vectors) do not decay.

    Raises `UserError` where the model's device lacks it.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    _try_on(trained[0].device, name)
    return _make(name, [group for group in groups if group["params"]])


def _make(name: str, groups: list[dict]) -> torch.optim.Optimizer:
    if name == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    kinds = {
        "adamw_8bit": bnb.optim.AdamW8bit,
        "paged_adamw_8bit": bnb.optim.PagedAdamW8bit,
    }
    return kinds[name](groups, min_8bit_size=_SMALLEST_8BIT)


def _try_on(device: torch.device, name: str) -> None:
    """Takes a step on numbers that nobody needs: that a device lacks an optimiser shows only
    when it is used, and then in the middle of a training."""
    numbers = nn.Parameter(torch.zeros(_TRIED, device=device))
    numbers.grad = torch.ones_like(numbers)
    try:
        _make(name, [{"params": [numbers]}]).step()
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"preset: optimizer: found {name}, which does not work on this machine's "
            f"{device.type} ({str(error).strip().splitlines()[0]}); expected one that does: adamw"
        ) from error


def page_again(optimizer: torch.optim.Optimizer) -> None:
    """Moves the state of a paged optimiser, as a checkpoint has brought it back, into memory that
    is paged, where the optimiser would have put it."""
    if not getattr(optimizer, "is_paged", False):
        return
    paging: Any = optimizer  # bitsandbytes'
    for parameter, state in optimizer.state.items():
        for name in ("state1", "state2"):
            paged = paging.get_state_buffer(parameter, dtype=state[name].dtype)
            state[name] = paged.copy_(state[name])
