"""What replies: a base model with what lies on top of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaketune.config.model import ModelSpec, Quantisation
from snaketune.models.content import model_identity
from snaketune.models.folder import pinned
from snaketune.models.state import Weights
from snaketune.runtime.content import content_hashes


@dataclass(frozen=True)
class State:
    """A state's weights, wherever they lie."""

    model: ModelSpec
    quantisation: Quantisation
    weights: Weights
    files: Sequence[Path]

    @classmethod
    def given(cls, params: Mapping[str, Any], pin: str, files: Iterable[str] = ()) -> "State":
        """From a rule's params (model, quantisation, weights) and its input files: the `pin` of the
        base, and the state's own weights."""
        return cls(
            pinned(params["model"], pin),
            params["quantisation"],
            params["weights"],
            [Path(f) for f in files],
        )

    def identity(self) -> dict[str, Any]:
        """Plain values that change with the weights."""
        return {
            "model": model_identity(self.model),
            "quantisation": self.quantisation,
            "weights": [self.weights, *content_hashes(self.files)],
        }
