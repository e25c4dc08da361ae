"""What the headers of a model's files say before a weight is read. Light: the Snakefile estimates
with it.
"""

import json
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from snaketune.models.content import weight_files
from snaketune.runtime.errors import UserError


@cache
def count_parameters(folder: Path) -> int:
    """Numbers in the weights that loading takes from the folder; 0 where there are none."""
    return sum(prod(shape) for shape in tensor_shapes(folder).values())


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """By name, of every tensor that loading takes from the folder."""
    return {
        key: tensor["shape"]
        for file in weight_files(folder)
        for key, tensor in _header(file).items()
        if key != "__metadata__"
    }


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    except (ValueError, OverflowError, MemoryError):
        raise UserError(f"{file}: not a safetensors file (or a broken download)") from None
