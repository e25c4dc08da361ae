"""Models: where weights come from, in what numbers they are held, and where they go. Presets: how a
run trains, and of several datasets how much."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from snaketune.config.base import (
    COUNTED,
    MOST,
    Count,
    CountFrom0,
    Number,
    OwnFile,
    Share,
    Strict,
    Whole,
)

Quantisation = Literal["none", "nf4"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
GgufType = Literal["f16", "bf16", "q8_0"]

GGUF_FAMILIES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
}
"""The models that are written as GGUF files: llama.cpp's name of an architecture, by the
`model_type` of a config."""


VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters, as vLLM's engine can be set up for."""

NO_LLAMA_CPP = (
    "gguf: found no llama_cpp, expected it installed, as llama.cpp answers for what a run is "
    "exported as: run with --sdm conda, or pip install -c envs/constraints.txt -r "
    "envs/requirements-gguf.txt (it is built from source: a compiler and some minutes)"
)


def no_gguf_family(kind: str) -> str:
    """Of a `model_type` that is not among them."""
    return f"found a model of type {kind}, expected one of {', '.join(GGUF_FAMILIES)}"


class ModelSpec(Strict):
    """A base model or a judge."""

    id: OwnFile = Field(min_length=1)
    """Hub id (`Qwen/Qwen2.5-1.5B-Instruct`) or a folder, relative to the working directory."""
    revision: str | None = None
    """Branch, tag or commit on the hub; it is resolved to a commit, which is recorded."""
    dtype: DtypeName = "auto"
    """Numbers for the weights that are not quantised and for the computation. `auto`: bfloat16
    where the GPU has it, float16 on older GPUs, float32 on the CPU."""
    quantisation: Quantisation | None = None
    """`nf4` (4 bits, bitsandbytes) or `none`. Unset: `nf4` under runs that train with `qlora`,
    `none` elsewhere. A run's method allows nothing else: it is evaluated on what it trained on."""
    double_quantisation: bool = True
    """With `nf4`: quantise the quantisation constants too."""
    parameters: Annotated[float, Field(ge=1, le=1e15), COUNTED] | None = None
    """Number of parameters (`1.5e9`), for the estimate of memory and time. Unset: counted in a
    folder, or read from the hub id (`1.5B`), else taken for 8 billion."""
    chat_template: OwnFile | None = None
    """A file with another chat template (`.jinja`), or the name of one of the model's own where it
    has several; unset: the model's, of several the one named `default`."""
    trust_remote_code: bool = False
    """Run Python code that comes with this model. Off unless you have read that code."""


MICRO_BATCH_TOKENS = 32_768
"""The most that a micro-batch of a training takes, unless a single row is longer."""

Method = Literal["qlora", "lora", "full"]


def _targets(value: object) -> object:
    """One fault for what is neither of the two forms."""
    names = value if isinstance(value, list) else []
    whole = bool(names) and all(isinstance(name, str) and name.strip() for name in names)
    if value != "all-linear" and not whole:
        expected = "all-linear, or names of layers such as [q_proj, v_proj]"
        raise ValueError(f"found {value!r}, expected {expected}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"found {twice[0]!r} twice, expected each name once")
    return value


class LoraSpec(Strict):
    """The low-rank adapter."""

    r: Whole = Field(16, ge=1, le=65_536)
    """Rank."""
    alpha: Number = Field(32, gt=0, le=1_000_000)
    """Scale: the update is `alpha / r` times B·A (`alpha / sqrt(r)` with rsLoRA)."""
    dropout: Number = Field(0.0, ge=0, lt=1)
    """Dropout before A."""
    targets: Annotated[Literal["all-linear"] | list[str], BeforeValidator(_targets)] = "all-linear"
    """Module names that get an adapter; `all-linear` is every linear layer but the output head."""
    rslora: bool = False
    """Rank-stabilised scale."""
    dora: bool = False
    """Weight-decomposed LoRA."""


class Preset(Strict):
    """Training method and hyperparameters."""

    method: Method = "qlora"
    """`qlora`: adapter on 4-bit weights; `lora`: adapter on plain weights; `full`: all weights."""
    epochs: Number = Field(1.0, gt=0, le=100_000)
    """Passes over the training rows; fractions are allowed."""
    max_steps: Count | None = None
    """Optimiser steps at most; unset: as many as the epochs need."""
    learning_rate: Number = Field(2.0e-4, gt=0, le=100)
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay after the warm-up: to 0 along a cosine or a line, or none."""
    warmup_ratio: Number = Field(0.0, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from 0."""
    weight_decay: Number = Field(0.0, ge=0, le=100)
    """Decoupled weight decay (not on biases and norms)."""
    batch_size: Whole = Field(8, ge=1, le=1_000_000)
    """Rows a micro-batch; with `accumulation` it sets the effective batch."""
    accumulation: Whole = Field(1, ge=1, le=1_000_000)
    """Micro-batches a step: effective batch = batch_size × accumulation rows. How the rows are
    laid out in memory is the engine's choice and changes no result beyond rounding."""
    max_length: Whole = Field(2048, ge=8, le=MOST)
    """Tokens a training row may have."""
    overlong: Literal["drop", "truncate", "split"] = "drop"
    """What happens to a longer row: it is left out, cut, or, of plain text, goes on in further
    rows; each is counted."""
    dropped_at_most: Share = 0.0
    """Share of a split's examples that may make no training row, because the chat template refuses
    them, say, before anything is trained; each is listed with its reason in any case. Rows over
    `max_length` and few-shot examples are counted apart."""
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """AdamW in 32 bits, or bitsandbytes' 8-bit one, paged or not."""
    max_grad_norm: Number = Field(1.0, gt=0, le=1e12)
    """Gradients are clipped to this norm."""
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    """Recompute activations to save memory, at about a fifth of the speed. `auto`: only after the
    job ran out of memory."""
    batching: Literal["auto", "grouped", "packed"] = "auto"
    """`grouped`: rows of like length padded together; `packed`: rows end to end behind a
    block-diagonal mask; `auto`: packed where the model runs with flash attention (on a GPU, with
    `attn_implementation` in its config.json), which needs no such mask; grouped elsewhere."""
    eval_per_epoch: CountFrom0 = 2
    """Times an epoch that the dev split is scored, where it has rows, by its loss and, where the
    answers are short, such as labels, by their accuracy; 0: never."""
    best: Literal["none", "loss", "accuracy"] = "none"
    """Which weights the training is for: the best of those that were scored on dev, by this
    metric (ties: the earliest), or the last (`none`). `accuracy` is for classification and
    compares the labels with one another, as an eval does; of labels of several tokens, token by
    token."""
    keep: CountFrom0 = 0
    """Weights scored on dev that are kept beside the run's, as `train/{run}/kept/step-N/`, at most
    so many: the best, then the last ones."""
    dtype: DtypeName = "auto"
    """Computation; `auto` follows the model's, and with `qlora` there is no other. Adapters are
    always held in float32."""
    lora: LoraSpec = LoraSpec()
    """The adapter; unused by `full`."""

    @model_validator(mode="after")
    def _full_has_no_adapter(self) -> "Preset":
        if self.method == "full" and self.lora != LoraSpec():
            raise ValueError("method full trains all weights and takes no lora section")
        return self

    @model_validator(mode="after")
    def _scores_to_choose_by(self) -> "Preset":
        for key, wanted in (("best", self.best != "none"), ("keep", self.keep > 0)):
            if wanted and not self.eval_per_epoch:
                raise ValueError(f"{key} needs scores on dev, but eval_per_epoch is 0")
        return self

    def identity(self) -> dict:
        """What makes a training another one: not how many weights are kept, nor what is checked."""
        return self.model_dump(mode="json", exclude={"keep", "dropped_at_most"})


RUN_IN_NAME = "{run}"
"""Stands for the run's name in the name of its repository."""


class PushSpec(Strict):
    """Where `snakemake push_all` uploads a run; it never happens by itself."""

    repo: str = Field(pattern=r"^([\w.-]+/)?([\w.-]|\{run\})+$")
    """`OWNER/NAME` on the hub; it is made if need be. `{run}` in it stands for the run's name,
    which the runs of a sweep need."""
    private: bool = True
    """Whether a repository that is made is private."""
    merged: bool = False
    """Upload the merged model instead of the adapter; a run of method `full` is whole in any
    case."""


class TrainPart(Strict):
    """One of several datasets that a run trains on."""

    dataset: str
    """Name of an entry under `datasets`."""
    weight: Annotated[float, Field(gt=0, le=1000), COUNTED] | None = None
    """How often each of its rows occurs in an epoch; of a fraction so many rows, drawn with the
    run's seed, occur once more. Unset: once."""
    rows: Count | None = None
    """Instead of a weight: so many of its rows, drawn with the run's seed, once an epoch."""

    @model_validator(mode="after")
    def _one_measure(self) -> "TrainPart":
        if self.weight is not None and self.rows is not None:
            raise ValueError("give either weight or rows")
        return self


def _train_kind(value: object) -> str:
    """Which of the two is meant, so that a fault is told of one."""
    return "train_parts" if isinstance(value, list) else "train_dataset"


TrainData = Annotated[
    Annotated[str, Tag("train_dataset")]
    | Annotated[list[TrainPart], Field(min_length=1), Tag("train_parts")],
    Discriminator(_train_kind),
]
