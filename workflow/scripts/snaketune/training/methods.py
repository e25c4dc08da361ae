"""Whether a model can be trained by the presets of its runs, said before anything expensive: tried
on the model that its config describes, whose weights take no memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from torch import nn
from transformers.pytorch_utils import Conv1D

from snaketune.config.model import LoraSpec, ModelSpec
from snaketune.models.headers import quantised_as, require_trainable
from snaketune.models.load import auto_class, load_config
from snaketune.models.nf4 import no_layer_in_nf4, not_in_nf4
from snaketune.training.trainable import with_adapter


def require_methods(spec: ModelSpec, methods: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError where one of the `methods` (a preset's `method`, and what decides which
    modules its `lora` adapts) can't train the model. `full` trains whatever is in plain numbers."""
    config = load_config(spec, "causal")
    for asked in methods:
        require_trainable(config, asked["method"], spec.id)
    in_4_bits = spec.quantisation == "nf4" or any(m["method"] == "qlora" for m in methods)
    if in_4_bits and not quantised_as(config):
        _require_nf4(_without_weights(spec, config), spec.id)
    for asked in methods:
        if asked["method"] != "full":
            lora = LoraSpec.model_validate(asked["lora"])
            with_adapter(_without_weights(spec, config), spec, lora)


def _without_weights(spec: ModelSpec, config: Any) -> Any:
    with torch.device("meta"):
        return auto_class(config).from_config(config, trust_remote_code=spec.trust_remote_code)


def _require_nf4(causal: Any, name: str) -> None:
    """Raises UserError where NF4 would hold no layer, or a layer can't compute with it."""
    kind = type(causal).__name__
    head = causal.get_output_embeddings()
    if not any(layer is not head for _, layer in _linear_layers(causal)):
        raise no_layer_in_nf4(name, kind)
    mixers = [m for m in causal.modules() if hasattr(m, "conv1d") and hasattr(m, "D")]
    if mixers and (reason := _fault_in_nf4(mixers[0], causal.config)):
        raise not_in_nf4(name, kind, reason)


def _linear_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """What bitsandbytes quantises."""
    for name, module in model.named_modules():
        if type(module) is nn.Linear or isinstance(module, Conv1D):
            yield name, module


@torch.no_grad()
def _fault_in_nf4(mixer: Any, config: Any) -> str | None:
    """What a state-space layer of random numbers says in NF4 that it does not say in plain ones."""
    layer = mixer.to_empty(device="cpu").float().eval()
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            tensor.normal_(std=0.02)
    hidden = torch.ones(1, 2, config.get_text_config().hidden_size)
    try:
        layer(hidden)
    except (RuntimeError, ValueError, TypeError):
        return None  # called in another way: it is tried when it is loaded
    for name, linear in list(_linear_layers(layer)):
        packed = Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=torch.float32,
            quant_type="nf4",
        )
        packed.load_state_dict(linear.state_dict())
        layer.set_submodule(name, packed.to("cpu"))
        packed.support_avx512bf16_for_cpu = False
    config.get_text_config()._is_quantized = True  # as loading says it; some layers ask
    try:
        layer(hidden)
    except RuntimeError as error:
        return " ".join(str(error).split())
    return None
