"""What replies: a base model with what lies on top of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec, Quantisation
from snaketune.identity import file_hash
from snaketune.modeling.pinned import pinned
from snaketune.modeling.state import Weights


@dataclass(frozen=True)
class State:
    """A state's weights, wherever they lie."""

    model: ModelSpec
    quantisation: Quantisation
    weights: Weights
    files: Sequence[Path]
    content: str = ""
    """What identifies the files of a local base model."""

    @classmethod
    def given(cls, params: Mapping[str, Any], files: Iterable[str] = ()) -> "State":
        """From a rule's params (model, record, content, quantisation, weights) and its input
        files."""
        return cls(
            pinned(params["model"], params["record"]),
            params["quantisation"],
            params["weights"],
            [Path(f) for f in files],
            params["content"],
        )

    def identity(self) -> dict[str, Any]:
        """Plain values that change with the weights."""
        return {
            "model": self.model.model_dump(mode="json"),
            "content": self.content,
            "quantisation": self.quantisation,
            "weights": [self.weights, *(file_hash(f) for f in self.files)],
        }
