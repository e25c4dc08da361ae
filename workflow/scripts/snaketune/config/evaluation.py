"""Evals: a task on a dataset under a protocol."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from snaketune.config.base import Number, Strict
from snaketune.config.dataset import SplitName

TaskName = Literal["math", "safety"]


class SampleSpec(Strict):
    """A seeded subset: the first n of `numpy.random.default_rng(seed).permutation(N)`, in that
    order."""

    fraction: Number | None = Field(None, gt=0, le=1)
    """Share of the split; n is rounded down."""
    count: int | None = Field(None, ge=1)
    """Number of records; at most the whole split."""
    seed: int = 42
    """Seed of the permutation."""

    @model_validator(mode="after")
    def _one_size(self) -> "SampleSpec":
        if (self.fraction is None) == (self.count is None):
            raise ValueError("give either fraction or count")
        return self


class JudgeSpec(Strict):
    """How a judge model is asked for a verdict."""

    model: str
    """Name of an entry under `models`."""
    guideline: str = "config/prompts/safety_guideline.txt"
    """Text file with the guideline that opens the judge's system turn."""
    sees: Literal["prompt_and_response", "response"] = "prompt_and_response"
    """What the judge is shown."""
    max_new_tokens: int = Field(16, ge=1)
    """Length of a verdict."""


def _by_name(value: object) -> object:
    return {"model": value} if isinstance(value, str) else value


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
    few_shot: int = Field(0, ge=0)
    """Worked examples before the question, as user and assistant turns."""
    system: str | None = None
    """The system turn; unset: the task's own; empty: none."""
    max_new_tokens: int = Field(512, ge=1)
    """Length of a reply."""
    batch_size: Literal["auto"] | int = "auto"
    """Rows generated at once. It is part of the protocol, because in 16 bits the text can depend
    on it; `auto` finds a size by itself and records it."""
    judge: Annotated[JudgeSpec | None, BeforeValidator(_by_name)] = None
    """The judge, for the safety task; a name alone stands for `{model: NAME}`."""

    @model_validator(mode="after")
    def _judge_goes_with_safety(self) -> "EvalSpec":
        if (self.task == "safety") != (self.judge is not None):
            raise ValueError("a judge section belongs to task safety, and to that task only")
        return self
