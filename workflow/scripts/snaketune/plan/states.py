"""States: what is evaluated, the name that each has in file names, and which files make it.
Patterns for many names are short where they were made by combining parts, as a sweep's are.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from snaketune.config.experiment import Experiment
from snaketune.config.model import GgufType, ModelSpec, Quantisation
from snaketune.config.run import RunSpec
from snaketune.runtime.errors import UserError

Weights = Literal["none", "adapter", "full", "gguf"]

WEIGHT_FILES: dict[Weights, tuple[str, ...]] = {
    "none": (),
    "adapter": ("adapter_model.safetensors", "adapter_config.json"),
    "full": ("model.safetensors", "config.json"),
    "gguf": (),
}
"""The weights and their config, in the formats of PEFT and of transformers. An export is one file
of its own name."""


@dataclass(frozen=True)
class State:
    """What is evaluated: a base model, or what a run's training left, whole or on the way."""

    model: str
    quantisation: Quantisation
    weights: Weights
    """What lies on top of the base: nothing, an adapter, or weights that replace it, as they were
    trained or exported."""
    run: str | None = None
    snapshot: str | None = None
    exported: GgufType | None = None
    """The numbers of an export."""

    def at(self, run: str, snapshot: str) -> "State":
        """The run's state when the snapshot was saved."""
        return State(self.model, self.quantisation, self.weights, run, snapshot)


def training_method(experiment: Experiment, run: RunSpec) -> str:
    """The preset's method; `adapter` or `predictions` where they were made elsewhere; `model` of
    one as it is."""
    if run.preset in experiment.presets:
        return experiment.presets[run.preset].method
    if run.alone:
        return "model"
    return "predictions" if run.predictions else "adapter"


def run_quantisation(model: ModelSpec, method: str) -> Quantisation:
    """What the base is held in: an adapter is evaluated on the numbers that it was trained on."""
    return model.quantisation or ("nf4" if method == "qlora" else "none")


def base_of_run(experiment: Experiment, run: RunSpec) -> dict[str, State]:
    """The untrained model that a run is compared with, by its name; none where a run that it is
    held against stands for it, or where predictions or a model stand by themselves."""
    if run.model is None or run.alone:
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
    if run.alone:
        return {name: State(run.model, quantisation, "none", name)}
    return {name: State(run.model, quantisation, "full" if method == "full" else "adapter", name)}


def weights_there(folder: str, name: str, run: RunSpec, weights: Weights) -> list[str]:
    """What a run has arrived at, as it lies under the results in `folder`: the chosen snapshot's
    files, or the final ones. Raises `UserError` where they are not there yet."""
    home, record = Path(folder, "train", name), "adapter.json" if run.adapter else "train_meta.json"
    part = Path("final")
    missing = [] if weights == "none" or (home / record).is_file() else [home / record]
    if run.choose and not missing:
        chosen = home / "chosen.json"
        missing = [] if chosen.is_file() else [chosen]
        if not missing:
            part = Path("snapshots", json.loads(chosen.read_text(encoding="utf-8"))["snapshot"])
    files = [home / part / file for file in WEIGHT_FILES[weights]]
    missing += [file for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"run {name} is not trained yet: found no {missing[0]}; expected a finished training. "
            "Start the experiment first, and talk when the run is done"
        )
    return [str(file) for file in files]


def snapshot_state_name(run: str, snapshot: str) -> str:
    """`medium-1of3`"""
    return f"{run}-{snapshot}"


def exports_of_run(run: str, final: State, kinds: Iterable[GgufType]) -> dict[str, State]:
    """What a run is exported as: states of their own, `first-gguf_q8_0`."""
    return {
        f"{run}-gguf_{kind}": State(final.model, "none", "gguf", run, exported=kind)
        for kind in kinds
    }


def gguf_file(folder: str, state: State) -> str:
    """The one file that an exported state is, among an experiment's results."""
    return f"{folder}/gguf/{state.run}/{state.run}-{state.exported}.gguf"


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


_PART = re.compile(r"[_-]?[^_-]*")
_Tree = dict[str, "_Tree"]


def name_pattern(names: Iterable[str]) -> str:
    """A regular expression that matches these names and no others.

    Snakemake copies a wildcard's constraint into every file pattern and goes through it again for
    every file of every job. With a list of all runs the plan's time would grow with the square of
    their number; what names share stands in this pattern once, so that for a sweep it grows with
    the values and not with their combinations.
    """
    return _pattern_of(tuple(names))


@cache
def _pattern_of(names: tuple[str, ...]) -> str:
    tree: _Tree = {}
    for name in names:
        node = tree
        for part in _PART.findall(name):
            node = node.setdefault(part, {})
    return _pattern(tree) if tree else "(?!)"


def _pattern(tree: _Tree) -> str:
    """Alternatives of which those with equal continuations stand together. Every name ends with
    an empty part, which tells a name from the beginning of a longer one."""
    beginnings: dict[str, list[str]] = {}
    for part, rest in tree.items():
        beginnings.setdefault(_pattern(rest) if rest else "", []).append(re.escape(part))
    return _one_of([_one_of(parts) + rest for rest, parts in beginnings.items()])


def _one_of(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"(?:{'|'.join(choices)})"
