"""What a job's log says instead of a traceback: faults of what the user gave, a lack of memory, and
numbers that are none, with the layer where they begin.

Light: everything imports this. A lack of memory is told without torch, which not every job loads.
"""

from collections.abc import Callable, Iterator
from typing import Any


class UserError(Exception):
    """A fault in what the user gave: config, data, model folder, machine.

    The message names the file, the line or record, the field, what was found and what was
    expected. It is shown without a traceback.
    """


# Of the GPU's driver and libraries, and of the CPU's allocator.
_TEXTS = ("out of memory", "STATUS_ALLOC_FAILED", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host had no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def first_line(error: BaseException) -> str:
    """What the error says, in a line; Python's own `MemoryError` says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def not_finite(model: Any, again: Callable[[], object]) -> str:
    """Where a model's numbers stop being finite, in words: the first layer that makes such numbers
    when `again` calls the model once more, and whether its weights are the reason."""
    import torch

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
