"""The model as a preset trains it: with a fresh adapter, or with all its weights."""

import re

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from snaketune.config.model import ModelSpec
from snaketune.config.preset import LoraSpec, Preset
from snaketune.models.load import load_model, pick_dtype
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
    model = _with_adapter(causal, spec, preset.lora)
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


def _with_adapter(causal: PreTrainedModel, spec: ModelSpec, lora: LoraSpec) -> nn.Module:
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        exclude_modules=_beside_language(causal),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        revision=spec.revision,
    )
    use_fused_layers(config)
    try:
        return get_peft_model(causal, config, autocast_adapter_dtype=True)
    except ValueError as error:
        raise UserError(
            f"preset: lora.targets: found {lora.targets}, which {spec.id} cannot take ({error}); "
            "expected all-linear or names of linear layers"
        ) from error


def unmoved_adapters(model: nn.Module) -> list[str]:
    """Names of the `lora_B` weights that are still all zero, as they were drawn."""
    return [n for n, p in model.named_parameters() if "lora_B" in n and not p.detach().any()]


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that are trained, by name."""
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
