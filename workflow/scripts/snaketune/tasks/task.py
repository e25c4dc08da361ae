"""What a task is: how its replies are scored, counted, compared and shown.

A task is a file of this folder whose class `task` registers under the file's name. A score is a row
of what became of one example; a metric is a row of what was measured on which subset, from how
many, how sure. What a task is asked with is apart from it, in the eval's protocol and
`prompts/wording.py`: another way to read replies must not make them anew.

Whoever imports this depends on the code of all tasks, as `task_of` may import any.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from typing import Any, ClassVar, TypedDict, TypeVar

import pyarrow as pa

from snaketune.data.example import GROUP, Example
from snaketune.runtime.errors import UserError
from snaketune.statistics.intervals import mean_interval, spread, wilson

Score = dict[str, Any]
"""A row of `scores/{state}/{protocol}.parquet`."""

Outcome = Callable[[Score], bool | float | None]
"""Whether a row is a hit, or how much it scored; None: it takes no part."""

PairTest = Callable[[Score, Score], bool]
"""Whether an example's scores (of the base, of the tuned model) belong to a group."""

V = TypeVar("V")

ALL = "all"
"""The subset of all rows."""
LESS_IS_BETTER = ("perplexity", "word_perplexity", "bits_per_byte")
"""Metrics that are compared, and of which less is better. None is a goal."""

FIELDS = (GROUP, "original_id", "index")
"""What a row shares with others: the dataset's own group, or what formats keep of its origin, its
template or its problem."""


class Metric(TypedDict):
    """One number. `value`, `low` and `high` are None where n is 0: missing is not 0."""

    eval: str
    subset: str
    """`all`, or `key=value`"""
    metric: str
    value: float | None
    n: int
    """Rows that the value is a share or mean of."""
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Answered:
    """An example with what was made of it."""

    example: Example
    prediction: dict[str, Any]
    """A line of `predictions/{state}/{protocol}.jsonl`."""
    verdict: dict[str, Any] | None
    """A line of `verdicts/…`; None where the eval has no judge."""
    protocol: dict[str, Any] = field(default_factory=dict)
    """The eval under which it was asked."""

    @property
    def gold(self) -> str:
        """The example's answer, as text."""
        return self._required("gold answer", self.example.gold)

    @property
    def label(self) -> str:
        """The example's label: a letter, or a class."""
        return self._required("label", self.example.label)

    @property
    def judged(self) -> str | None:
        """The judge's words; None: it wasn't asked."""
        return self._required("verdict", self.verdict)["raw"]

    def _required(self, what: str, found: V | None) -> V:
        if found is None:
            raise UserError(f"example {self.example.id}: found no {what}, which its task needs")
        return found


def once(read: Callable[[dict[str, Any]], V]) -> Callable[[dict[str, Any]], V]:
    """`read`, of a protocol, once an eval: its rows share the protocol, the same object."""
    last: list[Any] = [None, None]

    @wraps(read)
    def found(protocol: dict[str, Any]) -> V:
        if last[0] is not protocol:
            last[:] = protocol, read(protocol)
        return last[1]

    return found


class Task(ABC):
    """How replies to one kind of question are measured and shown."""

    version: ClassVar[int] = 1
    """Rises with every change of how replies are read or scored: it is part of the protocol's hash,
    so that a changed reader is a changed protocol."""
    schema: ClassVar[pa.Schema]
    """Columns of the scores."""
    paired: ClassVar[dict[str, Outcome]]
    """The metrics by which two states are compared row by row."""
    subsets: ClassVar[dict[str, Callable[[Score], bool]]] = {}
    """The parts on which they are compared too: which rows belong to each."""
    content: ClassVar[tuple[str, Outcome] | None] = None
    """The primary metric with the answer's form set aside: how, in words, and the outcome. None:
    form plays no part, or nobody can tell."""
    groups: ClassVar[dict[str, PairTest]] = {
        "Right now, wrong in the base": lambda base, tuned: (
            tuned["correct"] and not base["correct"]
        ),
        "Wrong now, right in the base": lambda base, tuned: (
            base["correct"] and not tuned["correct"]
        ),
        "Right in both": lambda base, tuned: tuned["correct"] and base["correct"],
        "Wrong in both": lambda base, tuned: not tuned["correct"] and not base["correct"],
    }
    """Of which examples the report shows some, by title."""

    @abstractmethod
    def score(self, row: Answered) -> Score:
        """The row of one example."""

    def scores(self, rows: Sequence[Answered]) -> list[Score]:
        """The rows of all examples."""
        return [self.score(row) for row in rows]

    @abstractmethod
    def metrics(self, eval_name: str, scores: list[Score]) -> list[Metric]:
        """Every number of an eval."""

    @abstractmethod
    def counts(self, scores: list[Score]) -> dict[str, int]:
        """Whole numbers for `final_metrics`; always with `total`."""

    def guesses(self, scores: list[Score]) -> tuple[str, list[bool | float]] | None:
        """How one would guess, in words, and what each row's primary outcome would be. None: there
        is no such level."""
        return None

    def members(self, scores: list[Score]) -> dict[str, list[Score]]:
        """All rows, and those of each subset."""
        parts = {name: [s for s in scores if among(s)] for name, among in self.subsets.items()}
        return {ALL: scores, **parts}

    def question(self, score: Score) -> str:
        """What was asked, to read."""
        return score.get("question") or score.get("prompt") or ""

    def output(self, score: Score) -> str:
        """What came back, to read."""
        return score["output"]

    def reading(self, score: Score) -> str:
        """What it was taken for, in a few words."""
        return "right" if score["correct"] else "wrong"


T = TypeVar("T", bound=type[Task])
REGISTERED: dict[str, Task] = {}
"""By the name of its file, as far as one was imported: ask `task_of`."""


def task(
    *, goals: tuple[str, ...], unpaired: tuple[str, ...] = (), samples_of: str | None = None
) -> Callable[[T], T]:
    """Makes a class the task that its file is named for. The arguments, all of them literals, are
    what `TaskInfo` says: they are read without running the file."""

    def register(kind: T) -> T:
        REGISTERED[kind.__module__.rpartition(".")[2]] = kind()
        return kind

    return register


def _finished(how: str) -> Outcome:
    return lambda score: None if score["finish"] is None else score["finish"] == how


FINISHES: dict[str, Outcome] = {
    "truncated": _finished("length"),
    "overlong": _finished("overlong"),
}
"""How replies ended. Predictions made elsewhere may not say: missing, not 0."""


def cluster_of(example: Example) -> str | None:
    """What the example shares with others; None where nothing of the kind is known."""
    meta = json.loads(example.meta)
    found = next((meta[name] for name in FIELDS if meta.get(name) is not None), None)
    return None if found is None else str(found)


def shares_of_hits(
    eval_name: str, subset: str, scores: list[Score], outcomes: dict[str, Outcome]
) -> list[Metric]:
    """A row an outcome."""
    return [share_of_hits(eval_name, subset, name, scores, hit) for name, hit in outcomes.items()]


def share_of_hits(
    eval_name: str, subset: str, metric: str, scores: list[Score], of: Outcome
) -> Metric:
    """The share of hits among the rows that have the outcome; its interval is over clusters, where
    rows share some."""
    known, values = _taking_part(scores, of)
    return _with_spread(proportion(eval_name, subset, metric, values), values, known)


def mean_score(
    eval_name: str, subset: str, metric: str, scores: list[Score], of: Outcome
) -> Metric:
    """The mean of what the rows scored, likewise."""
    known, values = _taking_part(scores, of)
    return _with_spread(_mean(eval_name, subset, metric, values), values, known)


def _taking_part(scores: list[Score], of: Outcome) -> tuple[list[Score], list[bool | float]]:
    """The rows that have the outcome, and their outcomes."""
    outcomes = [(score, of(score)) for score in scores]
    known = [(score, value) for score, value in outcomes if value is not None]
    return [score for score, _ in known], [value for _, value in known]


def proportion(
    eval_name: str, subset: str, metric: str, outcomes: Iterable[float | None]
) -> Metric:
    """The share of hits among the outcomes that are not None, with its Wilson interval."""
    known = [outcome for outcome in outcomes if outcome is not None]
    low, high = wilson(sum(known), len(known)) or (None, None)
    value = sum(known) / len(known) if known else None
    return Metric(
        eval=eval_name, subset=subset, metric=metric, value=value, n=len(known), low=low, high=high
    )


def without_interval(
    eval_name: str, subset: str, metric: str, value: float | None, n: int
) -> Metric:
    """A number that has no interval, or none yet."""
    return Metric(
        eval=eval_name, subset=subset, metric=metric, value=value, n=n, low=None, high=None
    )


def with_interval(row: Metric, interval: tuple[float, float] | None) -> Metric:
    """The number with another interval; None: it has none."""
    low, high = interval or (None, None)
    return {**row, "low": low, "high": high}


def _mean(eval_name: str, subset: str, metric: str, values: Sequence[float]) -> Metric:
    """The mean of the rows with its interval; none where all are equal, but for 0 and 1."""
    value = sum(values) / len(values) if values else None
    row = without_interval(eval_name, subset, metric, value, len(values))
    return with_interval(row, mean_interval(values))


def _with_spread(row: Metric, values: Sequence[float], scores: list[Score]) -> Metric:
    """Where rows share clusters the interval is over these; else it stays."""
    found = spread(values, scores)
    return {**row, "low": found["low"], "high": found["high"]} if found else row


def task_of(name: str) -> Task:
    """The task by the name that evals use, or `math_samples`; no other one is imported."""
    import_module(f"snaketune.tasks.{name}")
    return REGISTERED[name]
