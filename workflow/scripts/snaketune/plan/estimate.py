"""What a job will need, estimated from the config alone: main memory, GPU memory, time.

The estimate must be there for a dry run, so it reads no weights and asks no hub. It is meant to be
enough rather than exact; what a job asks for grows with each attempt, the config can set it, and
the report shows it beside what was measured. In bytes, with P parameters and a tenth in reserve:

| | |
| --- | --- |
| weights on the GPU | 2 P in 16 bits; 4 P under method full |
| in nf4 | 0.53 of each number that it holds and 2 of each other; of a folder its files say which |
| elsewhere | 0.6 P, and 1.95 P of a mixture of experts (`8x7B`, `30B-A3B`), which it can't hold |
| trained parameters T | P under method full; else 7 matrices a layer of rank r |
| gradients and optimiser | (4 + 8) T, with an 8-bit optimiser (4 + 2) T; adapters 4 T themselves |
| activations | tokens × layers × (12 width + 4 inner width) × 2, inner width 4 × width |
| where nothing is trained | 4,096 tokens × (layers × 4 width + one layer's activations) |
| tokens at once | those of a GPU's share of the batch, as far as a micro-batch takes them |
| main memory | for each GPU 5 GB of libraries + 2 P read from files + 16 T for a checkpoint |

Width d and layers follow from P = 12 × layers × d² with layers = d / 100, as models are shaped.

Time: training takes 6 T + 4 (P - T) operations a token at 40 T a second and GPU, generating as long
as reading the weights once a token at 1 TB/s and 0.03 s of calls, 30 rows at once; three times that
and half an hour.
GPUs of a training: one for every 8 hours (without the margin) that it would take on one; at most 8,
as a node has them, and at most a row of the effective batch for each. Memory asks for no more of
them: each holds the whole model.
How many rows there are is known only later: 10,000 in training and 1,000 in an eval are assumed
where the config sets no limit.
"""

import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from snaketune.config.base import ResourceSpec, thought_budget
from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import MICRO_BATCH_TOKENS, ModelSpec, Preset, Quantisation
from snaketune.models.content import weight_files
from snaketune.models.headers import count_parameters, is_quantised, nf4_numbers

_UNKNOWN_SIZE = 8e9
TRAIN_ROWS, EVAL_ROWS = 10_000, 1_000
_LIBRARIES, _RESERVE = 5e9, 1.1
_OPERATIONS, _BANDWIDTH, _CALLS, _ROWS_AT_ONCE = 4e13, 1e12, 0.03, 30
_MARGIN, _START_MINUTES = 3, 30
_SECONDS_ON_ONE, _GPUS_OF_A_NODE = 8 * 3600, 8
_NF4 = 0.53  # bytes a number, with its scales
_MIXTURE = re.compile(r"(?<![A-Za-z0-9])(\d+x\d|A\d+(\.\d+)?B)", re.IGNORECASE)
# `8x7B`, `1.5B`, `135M`; not the 3B of `A3B`, which are the active ones.
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([BMbm])(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Estimate:
    """What a job needs."""

    memory: float
    """Main memory in bytes."""
    gpu_memory: float
    """Memory of each GPU in bytes, as expected; nothing asks for it."""
    minutes: int
    set_minutes: int = 0
    """What the user grants; 0: nothing but the estimate, which ends no job."""

    def mem(self, attempt: int = 1) -> str:
        """Main memory as Snakemake takes it; as much again with every further attempt."""
        return f"{round(self.memory / 1e6 * attempt)}MB"

    def runtime(self, attempt: int = 1) -> int:
        """Minutes; as many again with every further attempt."""
        return self.minutes * attempt

    def limit(self, attempt: int = 1) -> int:
        """Minutes after which a job ends, wherever it runs; 0: none."""
        return self.set_minutes * attempt


def overridden(estimate: Estimate, *overrides: ResourceSpec) -> Estimate:
    """With main memory and time as the first override says that sets them."""
    memory = next((o.memory_gb * 1e9 for o in overrides if o.memory_gb), estimate.memory)
    minutes = next((o.minutes for o in overrides if o.minutes), 0)
    return Estimate(memory, estimate.gpu_memory, minutes or estimate.minutes, minutes)


@cache
def parameters_of(model: ModelSpec) -> float:
    """What the config says, else what a folder's files hold, else what the hub id says."""
    if model.parameters:
        return model.parameters
    if Path(model.id).is_dir() and (counted := count_parameters(Path(model.id))):
        return counted
    if found := _SIZE.search(model.id):
        times, size, unit = found.groups()
        return int(times or 1) * float(size) * (1e9 if unit in "bB" else 1e6)
    return _UNKNOWN_SIZE


def gpus(model: ModelSpec, preset: Preset, rows: int | None = None) -> int:
    """How many GPUs a training is worth; `rows` is the most that it can have, where that is
    known."""
    worth = math.ceil(_training_seconds(model, preset, rows) / _SECONDS_ON_ONE)
    return max(1, min(worth, _GPUS_OF_A_NODE, preset.batch_size * preset.accumulation))


def training(
    model: ModelSpec, preset: Preset, rows: int | None = None, processes: int = 1
) -> Estimate:
    """Of a training on so many GPUs, with a process each; `rows` is the most that it can have,
    where that is known."""
    size, trained = parameters_of(model), _trained(model, preset)
    own_rows = math.ceil(preset.batch_size * preset.accumulation / processes)
    at_once = min(own_rows * preset.max_length, max(MICRO_BATCH_TOKENS, preset.max_length))
    return Estimate(
        processes * _RESERVE * (_LIBRARIES + 2 * size + 16 * trained),
        _RESERVE * (_weights_and_state(model, preset) + _activations(size, at_once)),
        _minutes(_training_seconds(model, preset, rows) / processes),
    )


def least_training_memory(model: ModelSpec, preset: Preset) -> float:
    """Bytes of GPU memory with one row at once and, where the preset lets them be
    (`gradient_checkpointing`), layers computed again: what a training falls back to."""
    size, longest = parameters_of(model), preset.max_length
    if preset.gradient_checkpointing is False:
        activations = _activations(size, longest)
    else:
        width = _width(size)
        activations = longest * (width / 100 * width * 2 + 28 * width * 2)
    return _RESERVE * (_weights_and_state(model, preset) + activations)


def _weights_and_state(model: ModelSpec, preset: Preset) -> float:
    """Bytes of weights, gradients and optimiser."""
    size, trained = parameters_of(model), _trained(model, preset)
    state = trained * (12 if preset.optimizer == "adamw" else 6)
    if preset.method == "full":
        return state + 4 * size
    held = held_bytes(model, "nf4" if preset.method == "qlora" else "none")
    return state + 4 * trained + held


def evaluation(model: ModelSpec, quantisation: Quantisation, spec: EvalSpec) -> Estimate:
    """Of an eval's job on one state."""
    size, held = parameters_of(model), held_bytes(model, quantisation)
    return Estimate(
        _RESERVE * (_LIBRARIES + 2 * size),
        _RESERVE * (held + _decoding(size)),
        _minutes(reading_seconds(spec, _eval_rows(spec) / spec.shards, 2 * size, _BANDWIDTH)),
    )


def judgement(model: ModelSpec, spec: EvalSpec) -> Estimate:
    """Of asking the judge or reward model of `spec` about the replies of one state."""
    return evaluation(model, model.quantisation or "none", verdicts_of(spec))


def verdicts_of(spec: EvalSpec) -> EvalSpec:
    """What a judge or reward model writes of an eval's replies, as if that were an eval."""
    words = spec.judge.max_new_tokens if spec.judge else 1
    return spec.model_copy(update={"max_new_tokens": words, "shards": 1, "thinking": None})


def loading(model: ModelSpec) -> Estimate:
    """Of what loads a model whole and writes it again."""
    size = parameters_of(model)
    return Estimate(_RESERVE * (_LIBRARIES + 4 * size), _RESERVE * 2 * size, _START_MINUTES)


def reading_seconds(
    spec: EvalSpec, rows: float, held: float, bandwidth: float, at_once: float = _ROWS_AT_ONCE
) -> float:
    """How long an eval of so many rows takes, where weights of `held` bytes are read once a token
    at `bandwidth` bytes a second for all rows that are `at_once` there. Options are read, not
    written: one pass over all of a question's tokens."""
    replies = spec.sampling.samples if spec.sampling else 1
    words = longest_reply(spec) if spec.generates else 1
    if not spec.generates:
        replies = 1
    return rows * replies / at_once * words * (held / bandwidth + _CALLS)


def longest_reply(spec: EvalSpec) -> int:
    """Tokens, those of thoughts among them."""
    return spec.max_new_tokens + (thought_budget(spec.thinking) or 0)


def cached_bytes(model: ModelSpec) -> float:
    """Bytes of a token's keys and values in all layers, where no heads share them."""
    width = _width(parameters_of(model))
    return width / 100 * 4 * width


def training_operations(model: ModelSpec, preset: Preset, tokens: float) -> float:
    """Of a training that reads so many tokens."""
    size, trained = parameters_of(model), _trained(model, preset)
    return tokens * (6 * trained + 4 * (size - trained))


def _minutes(seconds: float) -> int:
    return _START_MINUTES + round(_MARGIN * seconds / 60)


def held_bytes(model: ModelSpec, quantisation: Quantisation) -> float:
    """Bytes of the weights."""
    size, folder = parameters_of(model), Path(model.id)
    if folder.is_dir() and is_quantised(folder):
        return sum(file.stat().st_size for file in weight_files(folder))
    if quantisation != "nf4":
        return 2 * size
    if folder.is_dir() and (counted := count_parameters(folder)):
        share = nf4_numbers(folder) / counted
        return size * (_NF4 * share + 2 * (1 - share))
    return size * (1.95 if _MIXTURE.search(model.id) else 0.6)


def _width(size: float) -> float:
    return (size * 100 / 12) ** (1 / 3)


def _adapter(size: float, rank: int) -> float:
    """Parameters of a LoRA on all linear layers: by matrix r × (in + out), together 23 widths."""
    width = _width(size)
    return width / 100 * rank * 23 * width


def _decoding(size: float) -> float:
    """Keys and values of 4,096 tokens in all layers, and what one layer has of them at once. Rows
    at once are then as many as there is room for."""
    width = _width(size)
    return 4096 * (width / 100 * 4 * width + 28 * width * 2)


def _activations(size: float, tokens: int) -> float:
    width = _width(size)
    return tokens * width / 100 * 28 * width * 2


def _trained(model: ModelSpec, preset: Preset) -> float:
    """Parameters that are trained."""
    size = parameters_of(model)
    return size if preset.method == "full" else min(size, _adapter(size, preset.lora.r))


def _training_seconds(model: ModelSpec, preset: Preset, rows: int | None) -> float:
    """On one GPU, without margin."""
    return training_operations(model, preset, _training_tokens(preset, rows)) / _OPERATIONS


def _training_tokens(preset: Preset, rows: int | None) -> float:
    """A row is taken for half the longest that it may be."""
    steps_rows = (preset.max_steps or float("inf")) * preset.batch_size * preset.accumulation
    return min(preset.epochs * (rows or TRAIN_ROWS), steps_rows) * preset.max_length / 2


def _eval_rows(spec: EvalSpec) -> float:
    if spec.sample is None:
        return EVAL_ROWS
    return spec.sample.count or (spec.sample.fraction or 1) * EVAL_ROWS
