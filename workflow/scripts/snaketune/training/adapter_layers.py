"""LoRA layers over frozen linear weights, with one autograd node a layer.

They are PEFT's layers: names, initial values and saved files are PEFT's. Only the plain case is
computed otherwise: the update is added into the base product, the backward pass adds into one
gradient, nothing is upcast and no intermediate is kept but the rank-r one. Every other case
(DoRA, merged or switched-off adapters) is left to PEFT.

Shapes: n = B × T tokens of a micro-batch, x [n, in] → y [n, out], W [out, in] frozen, A [r, in] and
B [out, r] trained, r of 8 to 64 where in and out are thousands.

What a layer costs: forward 2 n in out operations for W and 2 n r (in + out) for the adapter, which
is r (in + out) / (in out) of it (1 to 5 %); backward the same for the gradient of x, and 2 n r
(in + out) for those of A and B: none is taken for W. Kept for the backward pass are x (or what
dropout made of it) and x Aᵀ [n, r]. A 4-bit W is expanded twice a step, out × in numbers at a time;
where the sum is held (`hold_on_cpu`) once, and the adapter's products fall away going forward.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import LoraConfig
from peft.tuners.lora import Linear as PeftLinear
from peft.tuners.lora import Linear4bit as PeftLinear4bit
from torch import nn

# On the CPU in float32, W + scale · B·A is held for a step in place of W, where the model's linear
# weights are at most so many numbers (2 GB): the update then costs nothing in the products, and
# 4-bit weights are expanded once a step. In 16 bits the sum would lose the update's small digits.
HELD_AT_MOST = 500_000_000


class _LoraProduct(torch.autograd.Function):
    """y = x Wᵀ + bias + scale · (z Aᵀ) Bᵀ for tokens x [n, in]; W frozen, A and B trained.

    `z` is x after dropout, or None where there is none. `weight` gives W [out, in], or with
    `summed` W + scale · B·A; it is called again in the backward pass, so that a 4-bit W need not
    be held expanded.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        z: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        weight: Callable[[], torch.Tensor],
        bias: torch.Tensor | None,
        scale: float,
        summed: bool,
        cast: "tuple[torch.Tensor, torch.Tensor] | None",
    ) -> torch.Tensor:
        source = x if z is None else z
        ctx.kinds = a.dtype, b.dtype
        a, b = cast or (a.to(x.dtype), b.to(x.dtype))
        low = source @ a.T  # [n, r]
        y = x @ weight().T if bias is None else torch.addmm(bias.to(x.dtype), x, weight().T)
        if not summed:
            y.addmm_(low, b.T, alpha=scale)  # into y [n, out]: no second one
        ctx.save_for_backward(source, low, a, b)
        ctx.weight, ctx.scale = weight, scale
        ctx.summed, ctx.dropped = summed, z is not None
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        source, low, a, b = ctx.saved_tensors
        grad_low = (grad @ b).mul_(ctx.scale)  # [n, out] → [n, r]
        grad_b = (grad.T @ low).to(ctx.kinds[1]).mul_(ctx.scale)  # [out, r]
        grad_a = (grad_low.T @ source).to(ctx.kinds[0])  # [r, in]
        grad_x = grad_z = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ ctx.weight()  # [n, in]; with a summed weight the adapter is in it
        if ctx.dropped:
            grad_z = grad_low @ a if ctx.needs_input_grad[1] else None
        elif grad_x is not None and not ctx.summed:
            grad_x.addmm_(grad_low, a)
        return grad_x, grad_z, grad_a, grad_b, None, None, None, None, None


class _Fused(nn.Module):
    """What the two layers below share; `frozen_weight` is theirs."""

    holds_sum = False
    """Whether W + scale · B·A is held between calls, until `renew_sums`."""
    held: torch.Tensor | None = None
    cast: tuple[torch.Tensor, torch.Tensor] | None = None
    """A and B in the computation's 16 bits, renewed after every step instead of in every pass."""

    # PEFT's, whose layer stands behind this one.
    lora_A: Any  # noqa: N815
    lora_B: Any  # noqa: N815
    lora_dropout: Any
    lora_variant: Any
    scaling: Any
    active_adapters: Any
    disable_adapters: Any
    merged: Any
    fan_in_fan_out: Any
    get_base_layer: Any
    in_features: Any
    out_features: Any

    def frozen_weight(self) -> torch.Tensor:
        """W [out, in]."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        name = self._plain_adapter()
        if name is None or args or kwargs:
            return super().forward(x, *args, **kwargs)
        rows = x.reshape(-1, x.shape[-1])
        dropout = self.lora_dropout[name]
        dropped = self.training and not isinstance(dropout, nn.Identity)
        summed = self.holds_sum and not dropped
        y = _LoraProduct.apply(
            rows,
            dropout(rows) if dropped else None,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self._summed_weight if summed else self.frozen_weight,
            self.get_base_layer().bias,
            self.scaling[name],
            summed,
            self.cast,
        )
        return y.view(*x.shape[:-1], y.shape[-1])

    def trained_pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B of the active adapter."""
        name = self.active_adapters[0]
        return self.lora_A[name].weight, self.lora_B[name].weight

    def _plain_adapter(self) -> str | None:
        """The one active adapter, where it is plain LoRA and not merged."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        name = self.active_adapters[0]
        plain = name in self.lora_A and name not in self.lora_variant
        return name if plain and not self.fan_in_fan_out else None

    @torch.no_grad()
    def _summed_weight(self) -> torch.Tensor:
        """W + scale · B·A."""
        if self.held is None:
            a, b = self.trained_pair()
            scale = self.scaling[self.active_adapters[0]]
            self.held = torch.addmm(self.frozen_weight(), b, a, alpha=scale)
        return self.held


class FusedLinear(_Fused, PeftLinear):
    """LoRA over a plain weight."""

    def frozen_weight(self) -> torch.Tensor:
        """W [out, in]."""
        return self.get_base_layer().weight


class FusedLinear4bit(_Fused, PeftLinear4bit):
    """LoRA over an NF4 weight."""

    expanded: torch.Tensor | None = None

    def frozen_weight(self) -> torch.Tensor:
        """W [out, in], de-quantised to the computation's dtype."""
        if self.expanded is not None:
            return self.expanded
        weight = self.get_base_layer().weight
        return dequantize_4bit(weight.data, weight.quant_state)

    def keep_expanded(self) -> None:
        """Holds the de-quantised weight from now on."""
        self.expanded = self.frozen_weight()


def use_fused_layers(config: LoraConfig) -> None:
    """Makes `get_peft_model` place the layers above."""
    config._register_custom_module(
        {bnb.nn.Linear4bit: FusedLinear4bit, nn.Linear: FusedLinear},
    )


def hold_on_cpu(model: nn.Module) -> bool:
    """Has the layers hold what they compute with, where that pays and there is room: on the CPU,
    in float32. Says whether. The numbers are the same but for rounding."""
    layers = [m for m in model.modules() if isinstance(m, _Fused)]
    numbers = sum(m.in_features * m.out_features for m in layers)
    adapters = (p for layer in layers for p in layer.parameters() if p.requires_grad)
    on_cpu = all(p.device.type == "cpu" for p in adapters)
    if not on_cpu or numbers > HELD_AT_MOST or model.dtype is not torch.float32:
        return False
    for layer in layers:
        layer.holds_sum = True
        if isinstance(layer, FusedLinear4bit) and _drops(layer):
            # The sum is of no use under dropout.
            layer.keep_expanded()
    return True


def cast_adapters(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Has the layers hold A and B in 16 bits beside the float32 that is trained: on a GPU, where
    casting them in every pass costs as many calls as the products."""
    if device.type != "cuda" or dtype.itemsize == 4:
        return
    for layer in _fused_layers(model):
        a, b = layer.trained_pair()
        layer.cast = a.detach().to(dtype), b.detach().to(dtype)


@torch.no_grad()
def renew_sums(model: nn.Module) -> None:
    """To be called whenever adapter weights have changed: what is held of them is renewed. (Tensor
    versions do not tell: torch's fused AdamW leaves them as they were.)"""
    copies: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    for layer in _fused_layers(model):
        layer.held = None
        if layer.cast:
            copies += layer.cast
            weights += layer.trained_pair()
    if copies:
        torch._foreach_copy_(copies, weights)


def _fused_layers(model: nn.Module) -> list[_Fused]:
    return [module for module in model.modules() if isinstance(module, _Fused)]


def _drops(layer: _Fused) -> bool:
    return any(not isinstance(d, nn.Identity) for d in layer.lora_dropout.values())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switches dropout and gradients off."""
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train()
