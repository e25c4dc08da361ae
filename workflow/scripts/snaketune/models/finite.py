"""Numbers that are none: in which layer of a model they appear first."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from snaketune.runtime.errors import UserError


def not_finite(model: Any, again: Callable[[], object]) -> str:
    """Where a model's numbers stop being finite, in words: the first layer that makes such numbers
    when `again` calls the model once more, and whether its weights are the reason."""
    found: list[str] = []
    names = {module: name for name, module in model.named_modules()}

    def look(module: Any, _: object, output: object) -> None:
        if not found and not all(bool(torch.isfinite(x).all()) for x in _floats(output)):
            found.append(names[module])

    hooks = [module.register_forward_hook(look) for module in names if names[module]]
    try:
        with torch.no_grad():
            again()
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        return "in no layer alone"
    weights = model.get_submodule(found[0]).parameters()
    broken = not all(bool(torch.isfinite(x).all()) for x in weights if x.is_floating_point())
    return f"first in {found[0]}{', whose weights are not finite' if broken else ''}"


def _floats(output: object) -> Iterator[Any]:
    """The tensors of floats in what a layer gives."""
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, list | tuple):
        for part in output:
            yield from _floats(part)
    elif getattr(output, "is_floating_point", lambda: False)():
        yield output


def require_finite(numbers: Any, model: Any, again: Callable[[], object], where: str) -> None:
    """Raises UserError where one of the `numbers` [...] that a model gave is none."""
    if bool(numbers.isfinite().all()):
        return
    name = getattr(model, "name_or_path", None) or type(model).__name__
    raise UserError(
        f"model {name}: {where}: found logits that are not finite, {not_finite(model, again)}; "
        "expected numbers. Float16 overflows where bfloat16 and float32 don't (`dtype` of the "
        "model); else its weights, or the adapter's, are broken"
    )
