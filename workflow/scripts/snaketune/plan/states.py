"""States: what is evaluated, the name that each has in file names, and which files make it."""

from dataclasses import dataclass
from typing import Literal

from snaketune.config.experiment import Experiment, RunSpec
from snaketune.config.model import ModelSpec, Quantisation

Weights = Literal["none", "adapter", "full"]

WEIGHT_FILES: dict[Weights, tuple[str, ...]] = {
    "none": (),
    "adapter": ("adapter_model.safetensors", "adapter_config.json"),
    "full": ("model.safetensors", "config.json"),
}
"""The weights and their config, in the formats of PEFT and of transformers."""


@dataclass(frozen=True)
class State:
    """What is evaluated: a base model, or what a run's training left, whole or on the way."""

    model: str
    quantisation: Quantisation
    weights: Weights
    """What lies on top of the base: nothing, an adapter, or weights that replace it."""
    run: str | None = None
    snapshot: str | None = None

    def at(self, run: str, snapshot: str) -> "State":
        """The run's state when the snapshot was saved."""
        return State(self.model, self.quantisation, self.weights, run, snapshot)


def training_method(experiment: Experiment, run: RunSpec) -> str:
    """The preset's method; `adapter` or `predictions` where they were made elsewhere."""
    if run.preset in experiment.presets:
        return experiment.presets[run.preset].method
    return "predictions" if run.predictions else "adapter"


def run_quantisation(model: ModelSpec, method: str) -> Quantisation:
    """What the base is held in: an adapter is evaluated on the numbers that it was trained on."""
    return model.quantisation or ("nf4" if method == "qlora" else "none")


def base_of_run(experiment: Experiment, run: RunSpec) -> dict[str, State]:
    """The untrained model that a run is compared with, by its name; none where a run that it is
    held against stands for it, or where predictions stand by themselves."""
    if run.model is None:
        return {}
    method = training_method(experiment, run)
    quantisation = run_quantisation(experiment.models[run.model], method)
    name = f"base-{run.model}" + ("-nf4" if quantisation == "nf4" else "")
    return {name: State(run.model, quantisation, "none")}


def final_of_run(experiment: Experiment, name: str, run: RunSpec) -> dict[str, State]:
    """What a run arrives at, by the run's name; none where its predictions were made elsewhere."""
    if run.predictions or run.model is None:
        return {}
    method = training_method(experiment, run)
    quantisation = run_quantisation(experiment.models[run.model], method)
    return {name: State(run.model, quantisation, "full" if method == "full" else "adapter", name)}


def snapshot_state_name(run: str, snapshot: str) -> str:
    """`medium-1of3`"""
    return f"{run}-{snapshot}"


def snapshot_count(experiment: Experiment, run: RunSpec) -> int:
    """How many snapshots a run saves."""
    if run.snapshots == "epochs":
        return int(experiment.presets[run.preset or ""].epochs)
    return run.snapshots


def part_names(count: int) -> list[str]:
    """`1of3`, `2of3`, `3of3`: of a run's snapshots, and of an eval's shards."""
    return [f"{k}of{count}" for k in range(1, count + 1)]


def part_numbers(part: str) -> list[int]:
    """`2of4` → place 1 of 4, counted from 0."""
    place, _, count = part.partition("of")
    return [int(place) - 1, int(count)]
