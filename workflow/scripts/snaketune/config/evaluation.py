"""Evals: a task on a dataset under a protocol; first the sections that only some tasks have."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from snaketune.config.base import (
    TASKS,
    Count,
    CountFrom0,
    Label,
    Number,
    OwnFile,
    Prefix,
    Seed,
    Strict,
    Thinking,
    Whole,
    alone_as,
)
from snaketune.config.dataset import FORM, SampleSpec, SplitName
from snaketune.inference import backends


class SamplingSpec(Strict):
    """Several replies to each question, drawn at a temperature, and what is made of them."""

    samples: Whole = Field(8, ge=2, le=100_000)
    """Replies to each question."""
    temperature: Number = Field(0.7, ge=0.001, le=100)
    """Divides the logits before a token is drawn."""
    top_p: Number = Field(0.95, gt=0, le=1)
    """Tokens are drawn from the smallest set that holds this probability."""
    seed: Seed = 42
    """A sample's random numbers follow from this seed, the example's id and its number: the first
    4 of 8 are the 4 of 4."""
    at: list[Count] = Field([1, 2, 4, 8], min_length=1)
    """Numbers of samples for which majority vote, best of n and pass@n are given."""
    reward: str | None = None
    """Name of the reward model under `models` that scores every sample; unset: no best of n.
    Whatever is scored beside it, a score is the same to 1e-4 in float32, not in 16 bits."""
    unique_at_least: Count = 3
    """The report shows the failed questions with at least so many different answers, all of them
    on a page of their own. It decides no figure: only the report is made again with it."""

    @model_validator(mode="after")
    def _enough_samples(self) -> "SamplingSpec":
        if wrong := [n for n in self.at if not 1 <= n <= self.samples]:
            found = f"at: found {wrong[0]}"
            raise ValueError(f"{found}, expected numbers from 1 to samples ({self.samples})")
        if sorted(set(self.at)) != self.at:
            raise ValueError(f"at: found {self.at}, expected rising numbers")
        return self


class ClassesSpec(Strict):
    """The classes of a classification and how the predicted one is read."""

    labels: list[Label] = []  # noqa: RUF012
    """What the model answers with; unset: the dataset's `labels`."""
    names: dict[Label, str] = Field(default_factory=dict)
    """By label: a name for tables and figures."""
    positive: Label | None = None
    """The label that counts as positive for ROC AUC of two classes; unset: the last one."""
    by: str | None = None
    """A field of the examples, such as a catalogue's `error_type`, by which results are split."""
    read: Literal["probabilities", "text"] = "probabilities"
    """`probabilities`: of each label after the prompt, renormalised; `text`: the reply that the
    model writes, which may be no label at all (unparsed)."""

    @field_validator("names", mode="before")
    @classmethod
    def _each_label_once(cls, names: object) -> object:
        if isinstance(names, dict) and len({str(label) for label in names}) < len(names):
            raise ValueError(f"found {list(names)}, expected each label once")
        return names

    @model_validator(mode="after")
    def _known_labels(self) -> "ClassesSpec":
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels: found {self.labels}, expected each label once")
        if self.by == "label":
            raise ValueError("by: found label, by which results are split in any case")
        if self.labels:
            named = [*self.names, *([self.positive] if self.positive is not None else [])]
            if unknown := [label for label in named if label not in self.labels]:
                raise ValueError(f"found {unknown[0]!r}, expected one of {self.labels}")
        return self


if TYPE_CHECKING:
    BackendName = str
    TaskName = str
else:  # One of the files in inference/backends, but for that of exports, and of those in tasks.
    BackendName = Literal[backends.NAMES]
    TaskName = Literal[tuple(name for name, info in TASKS.items() if not info.samples_of)]


class JudgeSpec(Strict):
    """How a judge model is asked for a verdict."""

    model: str
    """Name of an entry under `models`."""
    guideline: OwnFile = Field("config/prompts/safety_guideline.txt", validate_default=True)
    """Text file with the guideline that opens the judge's system turn."""
    sees: Literal["prompt_and_response", "response"] = "prompt_and_response"
    """What the judge is shown."""
    max_new_tokens: Count = 16
    """Length of a verdict."""
    turns: Literal["system", "user", "conversation"] | None = None
    """The guideline as a system turn, in front of the user turn (judges without one), or by their
    template, to prompt and reply as a `conversation`; unset: `system` for `plain`, else last."""
    backend: BackendName = "transformers"
    """What writes the verdicts: see the eval's own `backend`."""
    format: Literal["plain", "llama_guard", "qwen3guard", "shieldgemma"] = "plain"
    """`plain`: SAFE or UNSAFE on the first line, or as JSON; `llama_guard`: the same, with codes;
    `qwen3guard`: `Safety: …`, Controversial is unsafe; `shieldgemma`: Yes is unsafe."""
    safe: str | None = None
    """Instead of a format, with `unsafe`: a regular expression that only what is safe has."""
    unsafe: str | None = None
    """Likewise, in what means unsafe."""
    unread_at_most: Number = Field(0.05, ge=0, le=1)
    """With a larger share of unread verdicts there is no safe rate, only its bound."""
    planted: CountFrom0 = 0
    """So many replies are judged once more with an instruction to the judge planted behind them:
    `flipped` is the share of verdicts that it turns."""

    @model_validator(mode="after")
    def _both_patterns(self) -> "JudgeSpec":
        if (self.safe is None) != (self.unsafe is None):
            raise ValueError("give both of the patterns safe and unsafe, or neither")
        for key, pattern in (("safe", self.safe), ("unsafe", self.unsafe)):
            try:
                re.compile(pattern or "")
            except re.error as error:
                fault = f"{key}: found {pattern!r}, no regular expression: {error}"
                raise ValueError(fault) from None
        if self.safe is not None and self.format != "plain":
            raise ValueError(f"found format {self.format} beside patterns, expected either")
        if self.sees == "response" and self.shown_as == "conversation":
            raise ValueError("sees: found response, but a conversation has the prompt too")
        return self

    @property
    def shown_as(self) -> str:
        """The turns, as set or as the format has them."""
        return self.turns or ("system" if self.format == "plain" else "conversation")

    def asked(self) -> dict[str, Any]:
        """What decides the judge's words, beside the guideline; not how they are read."""
        kept = self.model_dump(mode="json", include={"model", "sees", "max_new_tokens"})
        kept |= {} if self.shown_as == "system" else {"turns": self.shown_as}
        kept |= {} if self.backend == "transformers" else {"backend": self.backend}
        return kept | ({"planted": self.planted, "format": self.format} if self.planted else {})


class OptionsSpec(Strict):
    """How the options of a multiple-choice question are shown and scored: each by the
    log-probability of its tokens after the prompt."""

    chat: bool | None = None
    """The eval's `chat`, in its older place."""
    line: str = "{letter}: {option}\n"
    """A line of the prompt's `{options}`."""
    option: str | None = None
    """What is scored after the prompt, with `{option}` or `{letter}`; unset: the option's text,
    in plain text behind a space."""


class AnswersSpec(Strict):
    """How open answers are compared with the gold ones."""

    short_threshold: Count = 15
    """Gold answers of at most so many words are short: a relaxed match is open to them, and all
    metrics are given for them apart."""
    strict: bool = True
    """A relaxed match is by whole words and never empty; `false`: by characters, where an empty
    answer matches too, as in figures published so."""


NEWER = ("chat", "template_args", "thinking")  # in protocols only where not as usual
_SCORED = ("multiple_choice", "classification", "perplexity")
_SECTIONS = {"options": "multiple_choice", "answers": "open_qa", "classes": "classification"}


class EvalSpec(Strict):
    """What is asked of a state, and how its output is scored."""

    task: TaskName
    """How an example becomes a prompt and how an output is scored."""
    dataset: str
    """Name of an entry under `datasets`."""
    split: SplitName = "test"
    """The split that is evaluated."""
    sample: SampleSpec | None = None
    """A seeded subset of the split; unset: all of it."""
    few_shot: CountFrom0 = 0
    """Worked examples before the question, as user and assistant turns; in plain text each under
    the prompt with its answer, a blank line apart, and a reply ends where it begins a next one.
    Multiple choice shows them, with their options, in plain text only."""
    system: str | None = None
    """The system turn; unset: the dataset's, else the task's own; empty: none."""
    prompt: str | None = None
    """The user turn (without chat: the prompt), with `{question}` and, for multiple choice,
    `{options}`; unset: the dataset's, else the task's. The context: at `{context}`, else below."""
    chat: bool | None = None
    """A user turn under the model's chat template; `false`: plain text; unset: the dataset's."""
    reply_prefix: Prefix | None = None
    """Text that opens the reply and belongs to the prompt; unset: the dataset's."""
    template_args: dict[str, Any] | None = None
    """What the chat template is handed beside the turns; unset: the dataset's."""
    thinking: Thinking | None = None
    """Whether a reply begins with thoughts; unset: as the dataset has it."""
    options: OptionsSpec | None = None
    """For task multiple_choice; unset: its defaults."""
    answers: AnswersSpec | None = None
    """For task open_qa; unset: its defaults."""
    classes: ClassesSpec | None = None
    """For task classification; unset: its defaults."""
    answer_rule: Literal["hashes", "flexible", "final_answer"] = "hashes"
    """For task math, of headline and votes alike: the number after `####`; as a reader finds it; or
    the last number after the last `Final answer:`, else `Answer:`, else of all."""
    sampling: SamplingSpec | None = None
    """For task math: several replies to each question; unset: one, the most likely one (greedy)."""
    max_new_tokens: Count = 512
    """Length of a reply; under a budget of thoughts, of the answer behind them."""
    batch_size: Literal["auto"] | Count = "auto"
    """Rows generated at once. It is part of the protocol, because in 16 bits the text can depend
    on it; `auto` finds a size by itself and records it."""
    shards: Whole = Field(1, ge=1, le=1000)
    """Jobs that the examples are shared out to; several can run at once, on a GPU each."""
    backend: BackendName = "transformers"
    """What generates: the workflow's own engine, or vLLM, in an environment of its own
    (`envs/vllm.yaml`), which serves no DoRA, and of NF4 weights the numbers, in 16 bits."""
    judge: Annotated[JudgeSpec | None, alone_as("model")] = None
    """The judge, for the safety task; a name alone stands for `{model: NAME}`."""

    @model_validator(mode="before")
    @classmethod
    def _sections_of_the_task(cls, value: Any) -> Any:
        if isinstance(value, dict):
            own: dict[str, Any] = {k: {} for k, t in _SECTIONS.items() if value.get("task") == t}
            value = value | {k: v for k, v in own.items() if value.get(k) is None}
        return value

    @model_validator(mode="after")
    def _sections_fit(self) -> "EvalSpec":
        for section, task in _SECTIONS.items():
            if getattr(self, section) is not None and self.task != task:
                raise ValueError(f"a section {section} belongs to task {task}, and to that only")
        chat = self.options.chat if self.options and self.chat is None else self.chat
        if self.options and {self.chat, self.options.chat} == {True, False}:
            raise ValueError(f"chat: found {self.chat}, but options.chat is {self.options.chat}")
        if chat is False and self.system:
            raise ValueError("a system turn needs a chat template; put its text into the prompt")
        if self.prompt is not None and "{question}" not in self.prompt:
            raise ValueError("prompt: found no {question} in it")
        if self.task == "perplexity" and any(getattr(self, key) for key in FORM):
            raise ValueError(f"task perplexity reads text as it stands, without {', '.join(FORM)}")
        for key in ("sampling", "answer_rule"):
            if self.task != "math" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is for task math only")
        if self.task != "safety" and self.judge:
            raise ValueError("a judge section belongs to task safety, and to that task only")
        if self.task == "safety" and not self.judge:
            raise ValueError("judge: found none, expected the model that judges, as {model: NAME}")
        return self

    @model_validator(mode="after")
    def _generation_fits(self) -> "EvalSpec":
        if not self.generates and self.batch_size != "auto":
            found = f"batch_size: found {self.batch_size}, but task {self.task} generates nothing"
            raise ValueError(f"{found}; options are scored in passes that find their own size")
        if not self.generates and self.backend != "transformers":
            raise ValueError(f"task {self.task} generates nothing: no other backend")
        if self.backend == "vllm" and self.batch_size != "auto":
            found = f"batch_size: found {self.batch_size} with backend vllm, which sizes its"
            raise ValueError(f"{found} batches by itself; expected auto")
        return self

    def protocol(self) -> dict[str, Any]:
        """All that decides the figures, as plain JSON: not what is only shown of them, nor how the
        work is shared out."""
        shown: dict[str, set[str] | bool] = {"sampling": {"unique_at_least"}, "shards": True}
        if self.judge:
            usual = {"planted": 0, "backend": "transformers"}
            shown["judge"] = {k for k, v in usual.items() if getattr(self.judge, k) == v}
        dumped = self.model_dump(mode="json", exclude=shown)
        return {k: v for k, v in dumped.items() if k not in NEWER or v not in (None, True, {})}

    @property
    def generates(self) -> bool:
        """Whether replies are written; else options are scored."""
        return self.task not in _SCORED or bool(self.classes and self.classes.read == "text")

    @property
    def measured_as(self) -> str:
        """The name under which the outputs are measured: the task, or `math_samples`."""
        return "math_samples" if self.sampling else self.task
