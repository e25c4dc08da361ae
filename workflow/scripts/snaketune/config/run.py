"""A run: one training, an adapter or predictions made elsewhere, or a model as it is."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from snaketune.config.base import (
    COUNTED,
    Prefix,
    ResourceSpec,
    Seed,
    Strict,
    Thinking,
    Value,
    Whole,
    alone_as,
)
from snaketune.config.dataset import FORM
from snaketune.config.model import GgufType, PushSpec, TrainData, TrainPart

TrackerName = Literal["tensorboard", "wandb", "trackio"]


def _as_it_is(change: dict[str, Any] | bool | None) -> dict[str, Any] | bool | None:
    """`true` changes nothing."""
    return {} if change is True else change


class RunSpec(Strict):
    """One training: model × dataset × preset × seed; or an adapter that was trained elsewhere, or a
    model as it is."""

    model: str | None = None
    """Name of an entry under `models`. Without preset, train and adapter the run is that model as
    it is, such as a merged one, evaluated alone or beside its `base`."""
    preset: str | None = None
    """Name of an entry under `presets`."""
    train: TrainData | None = None
    """Name of the dataset under `datasets` whose train split the run learns from; or several, as
    `[{dataset: a, weight: 3}, {dataset: b, rows: 2000}]`."""
    adapter: str | None = None
    """Instead of preset and train: an adapter in PEFT's format, a folder or `hub:OWNER/NAME`."""
    adapter_revision: str | None = None
    """The adapter's revision on the hub."""
    predictions: dict[str, str] = Field(default_factory=dict)
    """Instead of all that: by eval, a JSONL file of predictions that were made elsewhere, a record
    an example with its `id` and its `output`. For multiple choice instead `scores`, a
    log-probability an option as a list or by letter, or `sums` with `tokens` and `characters`, from
    which the scores per token and per character follow. For classification instead, if you like,
    `probabilities` or `sums` (log-probabilities), one a label as a list or by label. For safety
    also, or alone, the `verdict` (`safe` or `unsafe`), for which no judge is then asked. For an
    eval with sampling `samples`, with or without a list `rewards` or `reward` beside them, or as
    objects with `output` and `reward`; or a record a sample with its number `sample`, `output` and
    `reward`. Nothing is generated. With a model its base is evaluated beside them."""
    base: str | None = None
    """With `predictions`, or of a model as it is: a run that is compared with, in the place of a
    base model."""
    seed: Seed = 42
    """Seed of the adapter's initial weights, the order of the rows and the dropout."""
    seeds: Whole = Field(1, ge=1, le=100)
    """Trainings that differ in their seed alone: `seed`, `seed` + 1, …; the run stands for as many
    runs. Tables join them in a row of the run's name: their mean, how far they lie apart, and
    intervals over rows and seeds both."""
    seed_of: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """The name of the row that joins this run with others that differ from it in their seed alone;
    set by `seeds`."""
    system: str | None = None
    """The system turn of the training rows; unset: the dataset's, else the task's own; empty:
    none."""
    prompt: str | None = None
    """The prompt of the training rows, with `{question}`, `{context}` and `{options}` as in an
    eval; unset: the dataset's, else the task's own."""
    reply_prefix: Prefix | None = None
    """Text that opens the reply and belongs to the prompt: it carries no loss; unset: the
    dataset's."""
    chat: bool | None = None
    """Training rows under the model's chat template; `false`: plain text, the prompt, the answer
    and the end token; unset: as the dataset has it."""
    template_args: dict[str, Any] | None = None
    """What the chat template is handed beside the turns; unset: the dataset's."""
    thinking: Thinking | None = None
    """Whether replies begin with thoughts; unset: as the dataset has it."""
    accept: list[Literal["prompt"]] = []  # noqa: RUF012
    """What may differ between this run's training and its evals: with `prompt`, that it is asked
    under another prompt than it was trained under, which else is a fault. Never makes a training
    run again."""
    snapshots: Annotated[int, Field(ge=0, le=100), COUNTED] | Literal["epochs"] = 0
    """Adapters saved on the way, at equal distances: `1of3`, `2of3`, `3of3`; `epochs`: one at the
    end of every epoch."""
    follow: list[str] = []  # noqa: RUF012
    """Evals that every snapshot undergoes as the run itself does, to show how training went; they
    choose nothing."""
    choose: str | None = None
    """`EVAL.METRIC` that chooses the best snapshot, on the dev split; unset: the last one."""
    gpu: Annotated[int, Field(ge=0, le=1024), COUNTED] | None = None
    """GPUs of the training; more than one trains data-parallel: faster, but every GPU holds the
    whole model. Unset: one for every 8 hours that the training is estimated to take, at most 8 and
    what `--resources gpu=N` grants."""
    resources: ResourceSpec = ResourceSpec()
    """What this run's jobs ask for, instead of the estimate."""
    report_to: list[TrackerName] = []  # noqa: RUF012
    """Where training and dev curves are shown while it runs. The package of that name has to be
    installed; its tokens are taken from the environment. TensorBoard's files lie in
    `train/{run}/tensorboard/`. Never makes a training run again."""
    save_every: Annotated[float, Field(ge=0, le=1440), COUNTED] | None = None
    """Minutes between a training's checkpoints at least (1 unless set); 0: one after every step.
    Where they are dear to make, they are further apart, but never over five minutes unless this is.
    Never makes a training run again."""
    sweep: dict[str, list[Value]] = Field(default_factory=dict)
    """Values of hyperparameters to try: `{learning_rate: [1e-4, 2e-4], lora.r: [8, 16]}`, keys of
    the preset, or `seed` or `preset` of the run. The run stands for one run a combination, named
    by what differs."""
    evals: dict[str, Annotated[dict[str, Any] | bool | None, AfterValidator(_as_it_is)]] = Field(
        default_factory=dict
    )
    """What this run's evals change of the experiment's (`gsm8k: {few_shot: 5}`), sections key by
    key; `false` leaves one out. The base model is evaluated under the same settings."""
    gguf: list[GgufType] = []  # noqa: RUF012
    """Files for llama.cpp and what is built on it, `gguf/{run}/{run}-q8_0.gguf`: the merged model
    with tokenizer and template, in 16 bits (`f16`, `bf16`) or about 8 (`q8_0`). llama.cpp answers
    the run's evals with each as a state of its own, `{run}-gguf_q8_0`, which is compared with the
    run; it has an environment of its own (`envs/gguf.yaml`). Of Llama, Mistral, Qwen 2 and 3 and
    Gemma 3 (text). Never makes a training run again."""
    push: Annotated[PushSpec | None, alone_as("repo")] = None
    """Where to upload the run with `snakemake push_all`; a name alone stands for `{repo: NAME}`.
    """
    label: str | None = None
    """Name in tables and figures."""

    @model_validator(mode="after")
    def _trained_or_given(self) -> "RunSpec":
        if len({*self.gguf}) < len(self.gguf):
            raise ValueError(f"gguf: found {', '.join(self.gguf)}, expected each once")
        if not self.train and "train" not in self.sweep:
            if self.report_to:
                raise ValueError("report_to shows a training, and there is none")
            if self.save_every is not None:
                raise ValueError("save_every is about a training, and there is none")
        if self.predictions:
            own = ("preset", "train", "adapter", "snapshots", "follow", "choose", "sweep")
            if any(getattr(self, key) for key in own) or self.seeds > 1:
                raise ValueError(f"predictions stand instead of {', '.join(own)}, seeds")
            if self.push or self.gguf:
                raise ValueError(
                    f"{'push' if self.push else 'gguf'} needs a training or an adapter"
                )
            if self.base and self.model:
                raise ValueError("give a model or a base to compare the predictions with")
            return self
        if self.alone:
            return self._without_training()
        if self.base:
            raise ValueError(
                "base belongs to predictions or to a model alone; a training has its model's base"
            )
        if self.model is None and "model" not in self.sweep:
            raise ValueError("needs model (or predictions)")
        if self.adapter is None:
            needed = {"preset", "train"} - self.sweep.keys()
            missing = sorted(k for k in needed if getattr(self, k) is None)
            if missing:
                raise ValueError(f"needs {' and '.join(missing)} (or an adapter)")
        elif any((self.preset, self.train, self.snapshots, self.choose, self.sweep)) or (
            self.seeds > 1
        ):
            raise ValueError(
                "an adapter stands instead of preset, train, snapshots, choose, sweep, seeds"
            )
        else:
            self._without_rows()
        if self.seeds > 1 and "seed" in self.sweep:
            raise ValueError("seeds: found seed in the sweep as well, expected either")
        if self.choose and not self.snapshots:
            raise ValueError("choose needs snapshots to choose from")
        if self.follow and not self.snapshots:
            raise ValueError("follow needs snapshots to follow")
        if self.prompt is not None and "{question}" not in self.prompt:
            raise ValueError("prompt: found no {question} in it")
        if self.chat is False and self.system:
            raise ValueError("a system turn needs a chat template; put its text into the prompt")
        return self

    @property
    def parts(self) -> list[TrainPart]:
        """What the run learns from; empty where it does not train."""
        if isinstance(self.train, str):
            return [TrainPart(dataset=self.train)]
        return self.train or []

    @property
    def learns_from(self) -> list[str]:
        """The names of these datasets."""
        return [part.dataset for part in self.parts]

    def change_of(self, eval_name: str) -> dict[str, Any]:
        """What the run changes of an eval that it does not leave out."""
        change = self.evals.get(eval_name)
        return change if isinstance(change, dict) else {}

    @property
    def alone(self) -> bool:
        """Whether it is a model as it is."""
        made = (self.preset, self.train, self.adapter, self.predictions, self.sweep)
        return self.model is not None and not any(made)

    def _without_training(self) -> "RunSpec":
        training = ("snapshots", "follow", "choose", "accept", "push", "gguf", "gpu")
        for key in training:
            if getattr(self, key):
                raise ValueError(f"{key} needs preset and train; a model alone is not trained")
        if self.seeds > 1:
            raise ValueError("seeds needs preset and train; a model alone is not trained")
        self._without_rows("a model alone")
        return self

    def _without_rows(self, what: str = "an adapter") -> None:
        for key in FORM:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} words training rows, and {what} has none; see `evals`")
