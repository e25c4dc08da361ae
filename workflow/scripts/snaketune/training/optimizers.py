"""Optimisers by name."""

import torch
from torch import nn

from snaketune.errors import UserError

# bitsandbytes keeps tensors below this many numbers in 32 bits; its own default.
_SMALLEST_8BIT = 4096


def build(name: str, model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """The optimiser over what the model trains; biases and norms (vectors) do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    return _eight_bit(name, groups)


def _eight_bit(name: str, groups: list[dict]) -> torch.optim.Optimizer:
    try:
        import bitsandbytes
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"preset: optimizer: found {name}, which needs bitsandbytes, and that does not load "
            f"here ({error}); expected adamw on this machine"
        ) from error
    kinds = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
    }
    return kinds[name](groups, min_8bit_size=_SMALLEST_8BIT)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
