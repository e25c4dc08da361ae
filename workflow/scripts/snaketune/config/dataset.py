"""Datasets: where records come from and how they become examples."""

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from snaketune.config.base import (
    COUNTED,
    FORMATS,
    Count,
    CountFrom0,
    CountOrShare,
    Label,
    Prefix,
    Seed,
    Sha256,
    Share,
    Source,
    SplitName,
    Strict,
    Thinking,
    split_of,
)

if TYPE_CHECKING:
    FormatName = str
else:
    # One of the files in data/formats.
    FormatName = Literal[tuple(FORMATS)]

_FILE = re.compile(
    r"\.(parquet|(jsonl|ndjson|json|csv|tsv|txt)(\.(gz|bz2|xz|zst))?)$", re.IGNORECASE
)
FORM = ("system", "prompt", "chat", "reply_prefix", "template_args", "thinking")
"""What evals and runs take from their dataset, unless they say otherwise."""


class SampleSpec(Strict):
    """A seeded subset: the first n of `numpy.random.default_rng(seed).permutation(N)`, in that
    order."""

    fraction: Annotated[float, Field(gt=0, le=1), COUNTED] | None = None
    """Share of the split; n is rounded down."""
    count: Count | None = None
    """Number of records; at most the whole split."""
    seed: Seed = 42
    """Seed of the permutation."""

    @model_validator(mode="after")
    def _one_size(self) -> "SampleSpec":
        if (self.fraction is None) == (self.count is None):
            raise ValueError("give either fraction or count")
        return self


class FewShotSpec(Strict):
    """Worked examples that are shown before the question."""

    count: CountFrom0 = 8
    """Examples drawn from the training records, or all where there are fewer; an eval uses the
    first `few_shot` of them."""
    seed: Seed = 42
    """`random.Random(seed).sample(range(n), count)` over the n training records in file order."""
    file: str | None = None
    """A file made earlier (JSON list of `question` and `answer`, such as a `few_shot.json`) to use
    instead of drawing: all of it, in its order."""


class ColumnsSpec(Strict):
    """Which columns of a table, or fields of its records, hold what (format `table`)."""

    question: str
    """The question or instruction."""
    context: str | None = None
    """A text that goes with the question; it may be empty."""
    choices: str | list[str] | None = None
    """The options: a column that holds a list, an object by letter, or an object with lists `text`
    and `label` (in a CSV as JSON or as Python prints it), or a column an option. Unset: the
    questions are open."""
    answer: str | None = None
    """The answer: which option is right, or the text of an open answer."""
    label: str | None = None
    """Instead of an answer: the class, one of the dataset's `labels`."""
    keep: list[str] = []  # noqa: RUF012
    """Further columns that stay with the example, for tables."""
    answer_is: Literal["text", "letter", "index", "index_from_1"] = "text"
    """How `answer` names an option: by its text, by its letter (A is the first; where options have
    a `label` each, by that), or by its number, counted from 0 or from 1."""
    id: str | None = None
    """A unique id; unset: the record's number."""

    @model_validator(mode="after")
    def _letters_need_options(self) -> "ColumnsSpec":
        if (self.answer is None) == (self.label is None):
            raise ValueError("give either answer or label")
        if self.label is not None and self.choices is not None:
            raise ValueError("a label has no choices")
        if self.choices is None and self.answer_is != "text":
            raise ValueError(f"answer_is {self.answer_is} needs choices")
        return self


class CatalogueSpec(Strict):
    """A table that says more about the records; each of its rows belongs to exactly one record."""

    source: Source
    """A file."""
    join_on: list[str] = Field(min_length=1)
    """Fields that the catalogue and the records share and that together name a record."""
    columns: list[str] = Field(min_length=1)
    """Columns that are taken over."""


class DrawnSplitsSpec(Strict):
    """Splits drawn from a source that has only one: its records in the order of
    `numpy.random.default_rng(seed).permutation(n)`, as `datasets.shuffle` orders them."""

    test: CountOrShare
    """The first so many records; a number below 1 is a share of all, rounded down."""
    train: CountOrShare | None = None
    """The next so many, or such a share of all; unset: all others."""
    at_most: Count | None = None
    """Test records at most, where `test` is a share."""
    seed: Seed = 42
    """Seed of the permutation."""
    stratify: str | None = None
    """A field, such as the label's: test and train have of each of its values the share that all
    records have (of what is left after rounding down, the values nearest to one more get one). With
    the dataset's `group`, of 1,000 draws of whole groups the one in which test is nearest to that;
    the log says how near."""

    unless_there: bool = False
    """Draw only where the source has no test split, which a dataset of the hub shows once it is
    loaded."""

    @model_validator(mode="after")
    def _shares_fit(self) -> "DrawnSplitsSpec":
        shares = [x for x in (self.test, self.train) if isinstance(x, float)]
        if sum(shares) > 1:
            raise ValueError(f"found the shares {self.test} and {self.train}, expected 1 at most")
        if self.at_most and not isinstance(self.test, float):
            raise ValueError(f"at_most: found {self.at_most} beside test: {self.test}, no share")
        return self

    @model_serializer(mode="wrap")
    def _as_it_was(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without keys that came later, where they are unset: nothing is drawn anew for them."""
        later = {"stratify": None, "at_most": None, "unless_there": False}
        return {k: v for k, v in handler(self).items() if k not in later or v != later[k]}


class DatasetSpec(Strict):
    """Records from one source, as examples with splits train, dev and test."""

    source: Source | Annotated[dict[SplitName, Source], Field(min_length=1)]
    """`hub:OWNER/NAME`, an `https://` address of a file, a file (.jsonl, .json, .csv, .tsv,
    .parquet, .txt; all but Parquet also as .gz, .bz2, .xz, .zst), or a folder (`save_to_disk`, one
    file a split, named for it, or a snapshot of the hub); or one of these a split. A lone file
    belongs to the split that its name speaks of (`gsm8k_test.jsonl`; `validation` is dev), else to
    train, or to test where the format has no answers to train on. Encoding, separator and shape are
    recognised, and told."""
    format: FormatName
    """The adapter that reads a record."""
    columns: ColumnsSpec | None = None
    """For format `table`: which columns hold what."""
    labels: list[Label] = []  # noqa: RUF012
    """For classification: all classes. A record of another class is rejected."""
    catalogue: CatalogueSpec | None = None
    """A further table, joined to the records one to one."""
    repeated_options: Literal["reject", "keep"] = "reject"
    """Multiple-choice records in which an option stands twice: rejected, or kept. Either way the
    manifest and the report name them."""
    subset: str | None = None
    """The hub dataset's configuration, such as `main`; of a local snapshot with several the folder
    of one."""
    revision: str | None = None
    """The hub dataset's revision; it is resolved to a commit, which is recorded."""
    sha256: dict[SplitName, Sha256] = Field(default_factory=dict)
    """Expected SHA-256 of the file of a split, downloaded or local."""
    dev: CountFrom0 = 0
    """Training records held out as the dev split, drawn with `seed`, where the source has none."""
    seed: Seed = 42
    """Seed of the dev split: the first `dev` of `numpy.random.default_rng(seed).permutation(n)`
    that are no few-shot example nor, where enough are left, would be one under a larger
    `few_shot.count` (up to 5, 21, 85, …), in file order; and of the letters that options get where
    the source has none."""
    draw: DrawnSplitsSpec | None = None
    """Draws train and test from a source that has one split. Unset, where an eval asks for a test
    split and the source has none: `{test: 0.2, at_most: 1000}`."""
    limit: Count | None = None
    """At most this many records of each split, the first ones."""
    group: str | None = None
    """A field that records share which belong together, such as a patient or a problem: intervals
    and tests are over groups, and a draw of splits (`draw`, `dev`) puts a group on one side, so
    that a split may be larger than asked for by a part of one. Unset: `original_id` or `index`,
    for intervals, where a format keeps them."""
    few_shot: FewShotSpec = FewShotSpec()
    """The dataset's few-shot examples."""
    rejected_at_most: Share = 0.0
    """Share of a split's records that may be rejected before the step fails; every rejected
    record is listed with its reason in any case."""
    overlap: Literal["report", "drop"] = "report"
    """Test records whose question also stands in train, dev or the few-shot examples, in the same
    words, nearly so or rephrased: only reported, or left out too. What the dataset shares with
    another one that a run trains on is only reported."""
    system: str | None = None
    """The form in which examples are put, for training and evaluation alike. This: the system turn;
    unset: the task's own; empty: none."""
    prompt: str | None = None
    """The user turn (or, without `chat`, the whole prompt), with `{question}`, `{context}` and, for
    multiple choice, `{options}`; unset: the task's own, which names the labels of a classification
    where no system turn is set either."""
    chat: bool = True
    """Under the model's chat template; `false`: plain text."""
    reply_prefix: Prefix = ""
    """Text that opens the reply and belongs to the prompt."""
    template_args: dict[str, Any] = Field(default_factory=dict)
    """What the chat template is handed beside the turns, such as `{enable_thinking: false}`."""
    thinking: Thinking | None = None
    """`on`: replies begin with thoughts, which the prompt leaves open; `{budget: N}`: with thoughts
    of N tokens at most; `off`: the template is told that there are none; unset: it is told nothing,
    and a reply stands where the template prints one that has none. Thoughts are cut before a reply
    is scored."""
    train_on: Literal["all", "last", "marked"] = "all"
    """For format `chat`: which replies of a conversation are learned. `all`, the `last` one, or the
    `marked` ones, which have `weight: 1`; the others are context."""
    licence: str | None = None
    """The data's licence, for the manifest and the report."""

    @model_validator(mode="after")
    def _columns_go_with_table(self) -> "DatasetSpec":
        if (self.format == "table") != (self.columns is not None):
            raise ValueError("a columns section belongs to format table, and to that format only")
        return self

    @model_validator(mode="before")
    @classmethod
    def _text_is_no_conversation(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("format") == "text":
            return {"chat": False, **value}
        return value

    @model_validator(mode="after")
    def _turns_are_given(self) -> "DatasetSpec":
        if self.train_on != "all" and self.format != "chat":
            raise ValueError("train_on belongs to format chat, and to that format only")
        if self.format in ("chat", "text") and self.prompt is not None:
            raise ValueError(f"prompt: a dataset of format {self.format} stands as it is")
        if self.format == "text":
            form = {key: getattr(self, key) for key in FORM if key != "prompt"}
            if odd := [key for key, value in form.items() if value]:
                raise ValueError(f"{odd[0]}: a dataset of format text is no conversation")
        return self

    @model_validator(mode="after")
    def _form_fits(self) -> "DatasetSpec":
        if self.prompt is not None and "{question}" not in self.prompt:
            raise ValueError("prompt: found no {question} in it")
        if self.system and not self.chat:
            raise ValueError("a system turn needs a chat template; put its text into the prompt")
        return self

    @model_validator(mode="after")
    def _labels_go_with_classes(self) -> "DatasetSpec":
        if self.task == "classification" and len(set(self.labels)) < 2:
            raise ValueError(f"labels: found {self.labels}, expected at least two classes")
        if self.task != "classification" and self.labels:
            raise ValueError("labels belong to datasets of classes")
        return self

    @property
    def task(self) -> str:
        """The task whose prompt the records are trained with."""
        if self.columns:
            if self.columns.label:
                return "classification"
            return "multiple_choice" if self.columns.choices else "open_qa"
        return FORMATS[self.format].task


def may_have_dev(spec: DatasetSpec) -> bool:
    """Whether the dataset has a dev split as far as the config tells: a folder or a hub dataset may
    bring its own, a lone file may be one by its name."""
    if spec.dev:
        return True
    if isinstance(spec.source, dict):
        return "dev" in spec.source
    return not _FILE.search(spec.source) or split_of(PurePosixPath(spec.source).stem) == "dev"
