"""Optimisers by name."""

import torch
from torch import nn

from snaketune.runtime.errors import UserError

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
    import bitsandbytes

    kinds = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
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


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def page_again(optimizer: torch.optim.Optimizer) -> None:
    """Moves the state of a paged optimiser, as a checkpoint has brought it back, into memory that
    is paged, where the optimiser would have put it."""
    if not getattr(optimizer, "is_paged", False):
        return
    for parameter, state in optimizer.state.items():
        for name in ("state1", "state2"):
            paged = optimizer.get_state_buffer(parameter, dtype=state[name].dtype)
            state[name] = paged.copy_(state[name])
