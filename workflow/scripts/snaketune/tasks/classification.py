"""Scores of task `classification`: the predicted label against the gold one.

The prediction is the label with the highest probability after the prompt; probabilities are
renormalised among the labels (a softmax of their log-probabilities), and the mass that the labels
hold together in the whole vocabulary stands beside them. Ties go to the first label. Read as text
instead, a reply has no probabilities, and one that is no label is `unparsed`: wrong, counted apart.
"""

import json
from collections.abc import Mapping, Sequence
from math import exp
from statistics import mode
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from snaketune.config.evaluation import ClassesSpec
from snaketune.prompts.thoughts import without_thoughts
from snaketune.runtime.errors import UserError
from snaketune.statistics import predictions as confusion
from snaketune.statistics.intervals import shared
from snaketune.statistics.predictions import (
    calibration_error,
    calibration_interval,
    roc_auc,
    roc_interval,
)
from snaketune.tasks.multiple_choice import softmax
from snaketune.tasks.task import (
    ALL,
    FINISHES,
    Answered,
    Metric,
    Outcome,
    Score,
    Task,
    cluster_of,
    mean_score,
    once,
    share_of_hits,
    shares_of_hits,
    task,
    with_interval,
    without_interval,
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("cluster", pa.string()),  # solutions of one problem share it; null: none is known
        ("question", pa.string()),
        ("context", pa.string()),
        ("gold", pa.string()),
        ("predicted", pa.string()),  # null: unparsed
        ("correct", pa.bool_()),  # an unparsed prediction is not correct
        ("confidence", pa.float64()),  # probability of the prediction; null: read as text
        ("labels", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float64())),  # by label; they add up to 1
        ("positive", pa.string()),  # of two labels the one that ROC AUC is about
        ("mass", pa.float64()),  # what the labels hold of the whole vocabulary
        ("brier", pa.float64()),
        ("by", pa.string()),  # the field that groups
        ("group", pa.string()),  # and its value
        ("output", pa.string()),  # the reply; null: probabilities were read
        ("finish", pa.string()),
        ("new_tokens", pa.int64()),
    ]
)

_OVERALL: dict[str, confusion.Statistic] = {
    "balanced_accuracy": confusion.balanced_accuracy,
    "macro_f1": confusion.macro_f1,
}
OUTCOMES: dict[str, Outcome] = {
    "accuracy": lambda score: score["correct"],
    "unparsed": lambda score: score["predicted"] is None,
}


@task(
    goals=("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "mass"),
    unpaired=("balanced_accuracy", "macro_f1", "roc_auc", "mass"),
)
class Classification(Task):
    """The predicted label against the gold one."""

    version = 2
    schema = SCHEMA
    paired: ClassVar = {"accuracy": OUTCOMES["accuracy"]}
    content: ClassVar = (
        "where both could be read",
        lambda score: None if score["predicted"] is None else score["correct"],
    )

    def score(self, row: Answered) -> Score:
        """The row of one example."""
        spec = _spec(row.protocol)
        example, found = row.example, row.prediction
        if example.label not in spec.labels:
            raise UserError(
                f"example {example.id}: found label {example.label!r}, "
                f"expected one of {spec.labels}"
            )
        if found.get("finish") == "overlong" and "output" not in found:
            read = _unscored(found)
        elif "output" in found:
            read = _unscored(found) | {"predicted": parse_label(found["output"], spec.labels)}
        else:
            shares, mass = _shares(found, spec.labels, example.id)
            read = _unscored(found) | _from_shares(shares, mass, spec.labels, example.label)
        return {
            "id": example.id,
            "cluster": cluster_of(example),
            "question": example.question,
            "context": example.context,
            "gold": example.label,
            "correct": read["predicted"] == example.label,
            "labels": spec.labels,
            "positive": _positive(spec),
            "by": spec.by,
            "group": _group(row, spec.by),
            **read,
        }

    def metrics(self, eval_name: str, scores: list[Score]) -> list[Metric]:
        """Accuracy overall, by label and by group; what the probabilities are worth."""
        labels = scores[0]["labels"] if scores else []
        rows = shares_of_hits(eval_name, ALL, scores, OUTCOMES)
        rows += _of_labels(eval_name, labels, scores)
        rows += _of_probabilities(eval_name, [s for s in scores if s["probabilities"] is not None])
        if replies := [s for s in scores if s["output"] is not None]:
            rows += shares_of_hits(eval_name, ALL, replies, {"truncated": FINISHES["truncated"]})
        rows += shares_of_hits(eval_name, ALL, scores, {"overlong": FINISHES["overlong"]})
        for by, group in sorted({(s["by"], s["group"]) for s in scores if s["group"] is not None}):
            members = [s for s in scores if s["group"] == group]
            rows += shares_of_hits(eval_name, f"{by}={group}", members, OUTCOMES)
        return rows

    def counts(self, scores: list[Score]) -> dict[str, int]:
        correct = sum(score["correct"] for score in scores)
        unparsed = sum(score["predicted"] is None for score in scores)
        return {"correct": correct, "unparsed": unparsed, "total": len(scores)}

    def guesses(self, scores: list[Score]) -> tuple[str, list[bool | float]] | None:
        most = mode(score["gold"] for score in scores) if scores else None
        return "always saying the most frequent class", [s["gold"] == most for s in scores]

    def question(self, score: Score) -> str:
        """A class is asked of the context: it stands below the question."""
        asked = super().question(score)
        return f"{asked}\n\n{score['context']}" if score["context"] else asked

    def output(self, score: Score) -> str:
        if score["probabilities"] is None:
            return "overlong: no label was scored" if score["output"] is None else score["output"]
        pairs = zip(score["labels"], score["probabilities"], strict=True)
        return "\n".join(f"{label}: {100 * share:.1f} %" for label, share in pairs)

    def reading(self, score: Score) -> str:
        return "unparsed" if score["predicted"] is None else f"predicted {score['predicted']}"


@once
def _spec(protocol: Mapping[str, Any]) -> ClassesSpec:
    return ClassesSpec.model_validate(protocol["classes"])


def _unscored(found: Score) -> Score:
    """What there is without probabilities: where the reply is read as text, or where the prompt was
    too long for an answer, which is no prediction."""
    kept = {key: found.get(key) for key in ("output", "finish", "new_tokens")}
    return dict.fromkeys(("predicted", "confidence", "probabilities", "mass", "brier")) | kept


def _shares(found: Score, labels: Sequence[str], name: str) -> tuple[list[float], float]:
    """The labels' probabilities, and what they hold together. Predictions made elsewhere have
    probabilities, our own the logarithms."""
    values = found["probabilities"] if "probabilities" in found else found["sums"]
    if len(values) != len(labels):
        raise UserError(
            f"example {name}: found scores of {len(values)} labels, expected {len(labels)}: "
            f"{', '.join(labels)}"
        )
    if "probabilities" in found:
        total = sum(values)
        return [p / total for p in values], total
    return softmax(values), sum(exp(s) for s in values)


def _from_shares(shares: list[float], mass: float, labels: Sequence[str], gold: str) -> Score:
    best = max(range(len(labels)), key=lambda i: (shares[i], -i))
    squares = sum((p - (label == gold)) ** 2 for p, label in zip(shares, labels, strict=True))
    return {
        "predicted": labels[best],
        "confidence": shares[best],
        "probabilities": shares,
        "mass": mass,
        # Of two labels both deviate alike; one of them is the usual score, from 0 to 1.
        "brier": squares / 2 if len(labels) == 2 else squares,
    }


def _positive(spec: ClassesSpec) -> str | None:
    if len(spec.labels) != 2:
        return None
    return spec.labels[-1] if spec.positive is None else spec.positive


def _group(row: Answered, by: str | None) -> str | None:
    if by is None:
        return None
    meta = json.loads(row.example.meta)
    if by not in meta:
        raise UserError(
            f"classes.by: found no field {by} in example {row.example.id}, expected one of: "
            f"{', '.join(meta) or 'none'} (a catalogue's columns, or columns.keep of a table)"
        )
    return None if meta[by] is None else str(meta[by])


def _of_labels(eval_name: str, labels: list[str], scores: list[Score]) -> list[Metric]:
    """Balanced accuracy and macro F1, and precision, recall and F1 of each label."""
    gold, predicted = [s["gold"] for s in scores], [s["predicted"] for s in scores]
    clusters = shared(scores)
    counts = confusion.confusion(labels, gold, predicted)
    if clusters:
        counts = confusion.by_cluster(labels, gold, predicted, clusters)
    n, drawn = len(scores), confusion.redrawn(counts)
    rows = [
        _of_counts(without_interval(eval_name, ALL, name, None, n), counts, drawn, statistic)
        for name, statistic in _OVERALL.items()
    ]
    for place, label in enumerate(labels):
        subset = f"label={label}"
        found = [s for s in scores if s["predicted"] == label]
        members = [s for s in scores if s["gold"] == label]
        concerned = sum(label in pair for pair in zip(gold, predicted, strict=True))
        rows += [
            share_of_hits(eval_name, subset, "precision", found, OUTCOMES["accuracy"]),
            share_of_hits(eval_name, subset, "recall", members, OUTCOMES["accuracy"]),
        ]
        row = without_interval(eval_name, subset, "f1", None, concerned)
        rows.append(_of_counts(row, counts, drawn, _f1_of(place)))
    return rows


def _f1_of(place: int) -> confusion.Statistic:
    return lambda counts: confusion.f1s(counts)[..., place]


def _of_counts(
    row: Metric, counts: confusion.Counts, drawn: confusion.Counts | None, of: confusion.Statistic
) -> Metric:
    """A number with its bootstrap interval, of counts that were `drawn` anew; undefined is
    missing."""
    value = float(of(counts if counts.ndim == 2 else counts.sum(0)))
    if np.isnan(value):
        return {**row, "value": None, "n": 0}
    return with_interval({**row, "value": value}, confusion.bootstrap(drawn, of))


def _of_probabilities(eval_name: str, scores: list[Score]) -> list[Metric]:
    if not scores:
        return []
    sure, right = [s["confidence"] for s in scores], [s["correct"] for s in scores]
    clusters = shared(scores)
    error = without_interval(eval_name, ALL, "ece", calibration_error(sure, right), len(scores))
    names = clusters or [s["id"] for s in scores]
    rows = [
        with_interval(error, calibration_interval(sure, right, names)),
        mean_score(eval_name, ALL, "brier", scores, lambda score: score["brier"]),
        mean_score(eval_name, ALL, "mass", scores, lambda score: score["mass"]),
    ]
    if (positive := scores[0]["positive"]) is not None:
        place = scores[0]["labels"].index(positive)
        shares = [s["probabilities"][place] for s in scores]
        is_positive = [s["gold"] == positive for s in scores]
        area = roc_auc(shares, is_positive)
        n = 0 if area is None else len(scores)
        row = without_interval(eval_name, ALL, "roc_auc", area, n)
        rows.append(with_interval(row, roc_interval(shares, is_positive, clusters)))
    return rows


_DECORATION = " \t\r\n*_`'\".,:;!?#()[]<>"


def parse_label(reply: str, labels: Sequence[str]) -> str | None:
    """The label that all of the reply is behind its thoughts, in any case and whatever punctuation
    is around it, else None; to the letter where labels differ by no more than that."""
    said = (without_thoughts(reply) or "").strip()
    if said in labels:
        return said
    alike = [label for label in labels if _bare(label) and _bare(label) == _bare(said)]
    return alike[0] if len(alike) == 1 else None


def _bare(text: str) -> str:
    return text.strip(_DECORATION).casefold()
