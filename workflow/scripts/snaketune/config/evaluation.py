"""Sections of an eval that only some tasks have."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from snaketune.config.base import Number, Strict
from snaketune.config.label import Label


class SamplingSpec(Strict):
    """Several replies to each question, drawn at a temperature, and what is made of them."""

    samples: int = Field(8, ge=2)
    """Replies to each question."""
    temperature: Number = Field(0.7, gt=0)
    """Divides the logits before a token is drawn."""
    top_p: Number = Field(0.95, gt=0, le=1)
    """Tokens are drawn from the smallest set that holds this probability."""
    seed: int = 42
    """A sample's random numbers follow from this seed, the example's id and its number: the first
    4 of 8 are the 4 of 4."""
    at: list[int] = Field([1, 2, 4, 8], min_length=1)
    """Numbers of samples for which majority vote, best of n and pass@n are given."""
    reward: str | None = None
    """Name of the reward model under `models` that scores every sample; unset: no best of n. In
    float32 a score is the same to 1e-4 whatever else is scored with it; in 16 bits the hidden
    states are rounded, the head's sum is not."""
    unique_at_least: int = Field(3, ge=1)
    """The report shows the failed questions with at least so many different answers, all of them
    on a page of their own. It decides no figure: only the report is made again with it."""

    @model_validator(mode="after")
    def _enough_samples(self) -> "SamplingSpec":
        if wrong := [n for n in self.at if not 1 <= n <= self.samples]:
            raise ValueError(
                f"at: found {wrong[0]}, expected numbers from 1 to samples ({self.samples})"
            )
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
