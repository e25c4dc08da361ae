"""Task `perplexity`: how likely held-out text is, token by token.

All figures are of the whole text, whatever documents it comes in: `perplexity` is exp(-L / tokens)
with L the log-likelihood of all documents, `token_probability` its inverse, the geometric mean of
the tokens' probabilities; `bits_per_byte` is -L / ln 2 / bytes and `word_perplexity` exp(-L /
words), which models with different tokenizers can be compared by.

They are ratios of sums, not means. A document's part in one is the figure with the document's
influence on it (the first-order term of the delta method): the mean of the parts is the figure, and
their spread that of the figure over documents. So intervals and paired comparisons of means hold.
"""

from collections.abc import Callable, Sequence
from math import exp, log
from typing import ClassVar

import pyarrow as pa

from snaketune.tasks.task import (
    ALL,
    Answered,
    Metric,
    Outcome,
    Score,
    Task,
    cluster_of,
    mean_score,
    task,
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("cluster", pa.string()),
        ("text", pa.string()),
        ("log_likelihood", pa.float64()),  # natural, of all tokens
        ("tokens", pa.int64()),
        ("words", pa.int64()),  # between white space
        ("bytes", pa.int64()),  # as UTF-8
        ("document_perplexity", pa.float64()),  # per token, of this document alone
        # Parts in the figures of all documents.
        ("token_probability", pa.float64()),
        ("perplexity", pa.float64()),
        ("word_perplexity", pa.float64()),
        ("bits_per_byte", pa.float64()),
        ("finish", pa.string()),
    ]
)

# By figure: what L is divided by, and the figure of that ratio with its derivative.
_FIGURES: dict[str, tuple[str, Callable[[float], tuple[float, float]]]] = {
    "token_probability": ("tokens", lambda ratio: (exp(ratio), exp(ratio))),
    "perplexity": ("tokens", lambda ratio: (exp(-ratio), -exp(-ratio))),
    "word_perplexity": ("words", lambda ratio: (exp(-ratio), -exp(-ratio))),
    "bits_per_byte": ("bytes", lambda ratio: (-ratio / log(2), -1 / log(2))),
}


def _part_in(name: str) -> Outcome:
    return lambda score: score[name]


OUTCOMES: dict[str, Outcome] = {name: _part_in(name) for name in _FIGURES}


@task(goals=("token_probability",))
class Perplexity(Task):
    """How likely held-out text is."""

    schema = SCHEMA
    paired = OUTCOMES
    groups: ClassVar = {
        "Likelier now": lambda base, tuned: tuned["log_likelihood"] > base["log_likelihood"],
        "Less likely now": lambda base, tuned: tuned["log_likelihood"] < base["log_likelihood"],
        "As likely as before": lambda base, tuned: (
            tuned["log_likelihood"] == base["log_likelihood"]
        ),
    }

    def score(self, row: Answered) -> Score:
        """The row of one document, without its parts in the figures of all."""
        text, found = row.example.question, row.prediction
        total, tokens = found["sums"][0], found["tokens"][0]
        return {
            "id": row.example.id,
            "cluster": cluster_of(row.example),
            "text": text,
            "log_likelihood": total,
            "tokens": tokens,
            "words": len(text.split()),
            "bytes": len(text.encode()),
            "document_perplexity": exp(min(700.0, -total / tokens)),
            "finish": found["finish"],
        }

    def scores(self, rows: Sequence[Answered]) -> list[Score]:
        scores = super().scores(rows)
        for name in _FIGURES:
            for score, part in zip(scores, parts_of(name, scores), strict=True):
                score[name] = part
        return scores

    def metrics(self, eval_name: str, scores: list[Score]) -> list[Metric]:
        """Every figure; its n are documents."""
        return [mean_score(eval_name, ALL, name, scores, of) for name, of in OUTCOMES.items()]

    def counts(self, scores: list[Score]) -> dict[str, int]:
        """What `final_metrics` prints."""
        return {"tokens": sum(score["tokens"] for score in scores), "total": len(scores)}

    def question(self, score: Score) -> str:
        return score["text"]

    def output(self, score: Score) -> str:
        return f"{score['tokens']} tokens, log-likelihood {score['log_likelihood']:.2f}"

    def reading(self, score: Score) -> str:
        return f"perplexity {score['document_perplexity']:.2f}"


def parts_of(name: str, scores: Sequence[Score]) -> list[float]:
    """Each document's part in a figure."""
    if not scores:
        return []
    size, figure = _FIGURES[name]
    total = sum(score[size] for score in scores)
    ratio = sum(score["log_likelihood"] for score in scores) / total
    value, slope = figure(ratio)
    each = slope * len(scores) / total
    return [value + each * (s["log_likelihood"] - ratio * s[size]) for s in scores]
