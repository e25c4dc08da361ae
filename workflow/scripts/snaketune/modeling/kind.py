"""Kinds of models: those that write, and those that score."""

from typing import Any, Literal

from snaketune.errors import UserError

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
