"""The kind of a model: one that writes or one that scores. Told by its config and the names of its
tensors, before a weight is read."""

from collections.abc import Collection
from typing import Any, Literal

from snaketune.runtime.errors import UserError

Kind = Literal["causal", "reward"]
_WRITES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_SCORES = "ForSequenceClassification"


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
