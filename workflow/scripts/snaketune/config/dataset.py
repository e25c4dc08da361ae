"""Datasets: where records come from and how they become examples."""

from typing import Literal

from pydantic import Field

from snaketune.config.base import Number, Strict

SplitName = Literal["train", "dev", "test"]
FormatName = Literal["gsm8k", "ailuminate"]


class FewShotSpec(Strict):
    """Worked examples that are shown before the question."""

    count: int = Field(8, ge=0)
    """Examples drawn from the training records; an eval uses the first `few_shot` of them."""
    seed: int = 42
    """`random.Random(seed).sample(range(n), count)` over the n training records in file order."""
    file: str | None = None
    """A file made earlier (JSON list of `question` and `answer`) to use instead of drawing."""


class DatasetSpec(Strict):
    """Records from one source, as examples with splits train, dev and test."""

    source: str | dict[SplitName, str]
    """`hub:OWNER/NAME`, an `https://` address of a file, a file (.jsonl, .json, .csv, .parquet),
    or a folder (`save_to_disk`, or one file a split, named for it); or one of these a split."""
    format: FormatName
    """The adapter that reads a record."""
    subset: str | None = None
    """The hub dataset's configuration, such as `main`."""
    revision: str | None = None
    """The hub dataset's revision; it is resolved to a commit, which is recorded."""
    sha256: dict[SplitName, str] = Field(default_factory=dict)
    """Expected SHA-256 of the file of a split, for downloads."""
    dev: int = Field(0, ge=0)
    """Training records held out as the dev split, drawn with `seed`, where the source has none."""
    seed: int = 42
    """Seed of the dev split: the first `dev` of `numpy.random.default_rng(seed).permutation(n)`
    that are no few-shot example."""
    limit: int | None = Field(None, ge=1)
    """At most this many records of each split, the first ones."""
    few_shot: FewShotSpec = FewShotSpec()
    """The dataset's few-shot examples."""
    rejected_at_most: Number = Field(0.0, ge=0, le=1)
    """Share of the records that may be rejected before the step fails; every rejected record is
    listed with its reason in any case."""
    overlap: Literal["report", "drop"] = "report"
    """Test records whose question also stands in train or dev: only reported, or left out too."""
    licence: str | None = None
    """The data's licence, for the manifest and the report."""
