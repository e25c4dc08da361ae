"""What an experiment takes on a GPU of a kind, before it runs: rows, tokens and steps as far as
they are known, memory, time, and what would make a job fit.

Memory is that of `plan/estimate.py`. Time: a training does its operations at three tenths of the
peak that the GPU's maker publishes for dense 16-bit products; an H100 (989 T) trained a 1.5B model
by LoRA at 24 % of it (37,900 tokens/s) and an 8B one at 39 % (12,000). Generating reads the
weights once a token, at six tenths of the published bandwidth, for as many rows as there is room
for (256 at most), and takes 0.03 s of calls; replies are taken to be as long as they may be.
Light: the Snakefile imports it.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment
from snaketune.config.model import ModelSpec, Preset
from snaketune.plan import estimate
from snaketune.plan.experiment_plan import Plan
from snaketune.plan.protocols import reward_model

_SHARE, _READ_SHARE = 0.3, 0.6
_MOST_ROWS, _PROMPT = 256, 500  # rows at once, and tokens of a prompt
_CONTEXT = 1e9  # of the driver and libraries, on the GPU


@dataclass(frozen=True)
class GpuKind:
    """A GPU by its memory, with the figures of one that has so much."""

    gigabytes: int
    such_as: str
    peak: float
    """Operations a second, dense, in 16 bits."""
    bandwidth: float
    """Bytes a second."""

    @property
    def room(self) -> float:
        """Bytes for a job."""
        return self.gigabytes * 2**30 - _CONTEXT


KINDS = (
    GpuKind(24, "A10", 125e12, 0.6e12),
    GpuKind(48, "RTX A6000", 155e12, 0.768e12),
    GpuKind(80, "A100", 312e12, 2.04e12),
)


def rows_asked(spec: EvalSpec, folder: Path) -> int | None:
    """The rows of an eval; None: not known yet."""
    found = _splits(folder, spec.dataset).get(spec.split, {}).get("out")
    sample = spec.sample
    if sample is None or (found is None and sample.count is None):
        return found
    if found is None or sample.count is not None:
        return min(sample.count or 0, found or sample.count or 0)
    return max(1, int((sample.fraction or 1) * found))


def _splits(folder: Path, dataset: str) -> dict[str, Any]:
    return splits_in(folder / "data" / dataset / "manifest.json")


def splits_in(file: Path) -> dict[str, Any]:
    """What a manifest, or the figures of a token set, tell by split; nothing where it isn't there
    yet."""
    return json.loads(file.read_text(encoding="utf-8"))["splits"] if file.is_file() else {}


@dataclass(frozen=True)
class TrainingForecast:
    """A run's training."""

    run: str
    model: ModelSpec
    preset: Preset
    rows: int
    epoch_tokens: float
    """Of all rows, once."""
    longest: int
    """Tokens of the longest row."""
    known: bool
    """Of rows that are there; else rows and tokens are assumed."""

    @property
    def steps(self) -> int:
        """As `training/batches.py` counts them."""
        batch = self.preset.batch_size * self.preset.accumulation
        whole, part = divmod(round(self.preset.epochs * self.rows), self.rows)
        steps = whole * math.ceil(self.rows / batch) + math.ceil(part / batch)
        return max(1, min(steps, self.preset.max_steps or steps))

    @property
    def tokens(self) -> float:
        """That the training reads."""
        batch = self.preset.batch_size * self.preset.accumulation
        read = min(self.preset.epochs * self.rows, self.steps * batch)
        return self.epoch_tokens * read / self.rows

    def seconds(self, kind: GpuKind) -> float:
        """On one GPU."""
        operations = estimate.training_operations(self.model, self.preset, self.tokens)
        return operations / (_SHARE * kind.peak)

    @cached_property
    def needed(self) -> float:
        """Bytes on the GPU at least: a training falls back to one row at once."""
        return estimate.least_training_memory(self.model, self._on_rows(self.preset))

    def _on_rows(self, preset: Preset) -> Preset:
        """As if its limit were the longest row that there is."""
        longest = max(8, min(self.longest, preset.max_length))
        return preset.model_copy(update={"max_length": longest})

    def remedies(self, room: float) -> Iterator[str]:
        """What would make it fit, one change at a time, the smallest first."""
        preset = self._on_rows(self.preset)
        for words, change in _changes(preset):
            if (needed := estimate.least_training_memory(self.model, change)) <= room:
                yield f"{words} ({needed / 1e9:.0f} GB)"
        yield f"a model of at most {_largest(preset, room) / 1e9:.1f} B parameters"


def _changes(preset: Preset) -> Iterator[tuple[str, Preset]]:
    if preset.method == "full" and preset.optimizer == "adamw":
        paged = preset.model_copy(update={"optimizer": "paged_adamw_8bit"})
        yield "optimizer: paged_adamw_8bit", paged
    if preset.max_length > 1024:
        half = preset.max_length // 2
        yield f"max_length: {half}", preset.model_copy(update={"max_length": half})
    for method in ("lora", "qlora"):
        if preset.method == "full" or (preset.method, method) == ("lora", "qlora"):
            yield f"method: {method}", preset.model_copy(update={"method": method})


def _largest(preset: Preset, room: float) -> float:
    """Parameters of the largest model that such a training fits of."""
    low, high = 1e6, 1e13
    while high / low > 1.02:
        middle = math.sqrt(low * high)
        fits = estimate.least_training_memory(ModelSpec(id="-", parameters=middle), preset) <= room
        low, high = (middle, high) if fits else (low, middle)
    return low


@dataclass(frozen=True)
class ReplyForecast:
    """An eval under one protocol, of all states, or what a judge or reward model says of it."""

    eval: str
    task: str
    states: int
    rows: int
    known: bool
    spec: EvalSpec
    held: float
    """Bytes of the largest model's weights."""
    needed: float
    """Bytes on the GPU at least."""
    cached: float
    """Bytes of a token's keys and values."""

    def seconds(self, kind: GpuKind) -> float:
        """Of all states, one after another, each with as many rows at once as there is room for."""
        row = self.cached * (_PROMPT + estimate.longest_reply(self.spec))
        at_once = min(_MOST_ROWS, max(1.0, (kind.room - self.needed) / row))
        bandwidth = _READ_SHARE * kind.bandwidth
        return self.states * estimate.reading_seconds(
            self.spec, self.rows, self.held, bandwidth, at_once
        )


def trainings(experiment: Experiment, plan: Plan, folder: Path) -> list[TrainingForecast]:
    """Of all runs that are trained here."""
    found = []
    for name, run in experiment.runs.items():
        if run.train and run.model and run.preset:
            preset = experiment.presets[run.preset]
            learned = _learned(experiment, plan, folder, name, preset)
            found.append(TrainingForecast(name, experiment.models[run.model], preset, *learned))
    return found


def _learned(
    experiment: Experiment, plan: Plan, folder: Path, run: str, preset: Preset
) -> tuple[int, float, int, bool]:
    """Rows and tokens of an epoch and the longest row: of the rows that are there, else by the
    prepared data and the config's limits, else assumed; and whether rows are there."""
    stats = folder / "tokens" / plan.run_tokens[run] / "stats.json"
    if stats.is_file():
        train = json.loads(stats.read_text(encoding="utf-8"))["splits"]["train"]
        rows = max(1, train["out"] + train.get("further_rows", 0))
        return rows, train["tokens"], train["lengths"].get("max", preset.max_length), True
    counts = []
    for part in experiment.runs[run].parts:
        found = _splits(folder, part.dataset).get("train", {}).get("out")
        limit = experiment.datasets[part.dataset].limit
        rows = found or min(limit or estimate.TRAIN_ROWS, estimate.TRAIN_ROWS)
        counts.append(part.rows or math.ceil(rows * (part.weight or 1)))
    return sum(counts), sum(counts) * preset.max_length / 2, preset.max_length, False


def _assumed(experiment: Experiment, spec: EvalSpec) -> int:
    """Rows of an eval whose data is not prepared yet."""
    held_out = experiment.datasets[spec.dataset].dev if spec.split == "dev" else 0
    share = (spec.sample.fraction if spec.sample else None) or 1
    return max(1, round(share * (held_out or estimate.EVAL_ROWS)))


def replies(experiment: Experiment, plan: Plan, folder: Path) -> list[ReplyForecast]:
    """Of all protocols whose predictions are made here, and of the models that look at replies."""
    found = []
    for protocol, spec in plan.protocols.items():
        names = [cell.state for cell in plan.measured if cell.protocol == protocol]
        states = [plan.states[name] for name in names if name in plan.states]
        rows = rows_asked(spec, folder)
        known = (rows or _assumed(experiment, spec), rows is not None)
        if states:
            models = [(experiment.models[s.model], s.quantisation) for s in states]
            held = max(estimate.held_bytes(*model) for model in models)
            needed = max(estimate.evaluation(*model, spec).gpu_memory for model in models)
            cached = max(estimate.cached_bytes(model) for model, _ in models)
            sizes = (held, needed, cached)
            found.append(ReplyForecast(protocol, spec.task, len(states), *known, spec, *sizes))
        helper = spec.judge.model if spec.judge else reward_model(spec)
        asked = names if spec.judge else [name for name in names if name in plan.states]
        if helper and asked:
            model = experiment.models[helper]
            held = estimate.held_bytes(model, model.quantisation or "none")
            said = estimate.verdicts_of(spec)
            needed = estimate.judgement(model, spec).gpu_memory
            sizes = (held, needed, estimate.cached_bytes(model))
            what = f"{protocol} by {helper}"
            found.append(ReplyForecast(what, spec.task, len(asked), *known, said, *sizes))
    return found
