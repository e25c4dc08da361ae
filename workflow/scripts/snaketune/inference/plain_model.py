"""Any causal model, a row at a time: what the engine can't drive."""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Past:
    """What a model has read so far."""

    tokens: list[int]
    cache: Any
    """The model's own; None where it has none that could be handed back."""

    def copied(self) -> "Past":
        """For a continuation that leaves this one as it is."""
        return Past(self.tokens, copy.deepcopy(self.cache))


class PlainModel:
    """Reads tokens with the model's own cache; a model without one (Mamba's state is none) reads
    all that came before again, which is slow and exact."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        known = inspect.signature(base.forward).parameters
        self.has_cache = "past_key_values" in known
        self.can_leave_out = "logits_to_keep" in known

    def read(self, tokens: list[int], past: Past | None, keep: int) -> tuple[Tensor, Past]:
        """Logits [keep, V] of the last `keep` of `tokens`, which follow `past`."""
        before = past.tokens if past else []
        cache = past.cache if past else None
        shown = tokens if self.has_cache else before + tokens
        how: dict[str, Any] = {"use_cache": self.has_cache}
        if self.has_cache:
            how["past_key_values"] = cache
        if self.can_leave_out:
            how["logits_to_keep"] = keep
        out = self.model(input_ids=torch.tensor([shown], device=self.device), **how)
        cache = out.past_key_values if self.has_cache else None
        return out.logits[0, -keep:], Past(before + tokens, cache)
