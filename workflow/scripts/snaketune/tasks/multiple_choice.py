"""Scores of task `multiple_choice`: the option with the best log-probability against the gold one.

An option is chosen by the mean log-probability of its tokens; choices by the sum and by the mean
per character stand beside it. Ties go to the first letter. Probabilities are the softmax of the
scores that the choice is made by, over the options of a question.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example
from snaketune.data.formats.values import LETTERS
from snaketune.prompts.conversation import format_prompt
from snaketune.prompts.wording import options_protocol
from snaketune.runtime.errors import UserError
from snaketune.statistics.predictions import calibration_error
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
    shares_of_hits,
    task,
    without_interval,
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("cluster", pa.string()),  # questions of one problem share it; null: none is known
        ("question", pa.string()),
        ("prompt", pa.string()),  # before any chat template
        ("options", pa.list_(pa.string())),
        ("gold", pa.string()),  # a letter
        ("choice", pa.string()),  # by the mean per token, or by scores made elsewhere
        ("choice_sum", pa.string()),
        ("choice_per_character", pa.string()),
        ("correct", pa.bool_()),
        ("correct_sum", pa.bool_()),
        ("correct_per_character", pa.bool_()),
        ("scores", pa.list_(pa.float64())),  # what the choice is made by
        # Log-probability of each option, its tokens and characters; null where only scores were
        # brought from elsewhere, and so for what follows from them.
        ("sums", pa.list_(pa.float64())),
        ("tokens", pa.list_(pa.int64())),
        ("characters", pa.list_(pa.int64())),
        ("probabilities", pa.list_(pa.float64())),
        ("brier", pa.float64()),  # 0 to 2
        ("finish", pa.string()),  # overlong: no room in the context, so no sums and no choice
    ]
)

OUTCOMES: dict[str, Outcome] = {
    "accuracy": lambda score: score["correct"],
    "accuracy_sum": lambda score: score["correct_sum"],
    "accuracy_per_character": lambda score: score["correct_per_character"],
}


@task(
    goals=("accuracy", "accuracy_sum", "accuracy_per_character", "chance_corrected"),
    unpaired=("chance_corrected",),
)
class MultipleChoice(Task):
    """The option with the best log-probability against the gold one."""

    schema = SCHEMA
    paired = OUTCOMES

    def score(self, row: Answered) -> Score:
        """The row of one question."""
        example, found = row.example, row.prediction
        return {
            "id": example.id,
            "cluster": cluster_of(example),
            "question": example.prompt,
            "prompt": _prompt(row),
            "options": example.choices,
            "gold": example.label,
            "sums": found.get("sums"),
            "tokens": found.get("tokens"),
            "characters": found.get("characters"),
            "finish": found.get("finish"),
            **(
                _unscored()
                if found.get("finish") == "overlong"
                else _scored(example, row.label, found)
            ),
        }

    def metrics(self, eval_name: str, scores: list[Score]) -> list[Metric]:
        """Accuracies, the primary one corrected for chance, calibration, and how often each letter
        is chosen: of all questions, and by the gold letter, which shows a bias for positions."""
        rows = shares_of_hits(eval_name, ALL, scores, OUTCOMES)
        rows.append(_corrected(rows[0], scores))
        known = [s for s in scores if s["choice"] is not None]
        rows.append(without_interval(eval_name, ALL, "ece", _calibration_error(known), len(known)))
        rows.append(mean_score(eval_name, ALL, "brier", known, lambda score: score["brier"]))
        rows += shares_of_hits(eval_name, ALL, scores, {"overlong": FINISHES["overlong"]})
        count = max((len(s["options"]) for s in scores), default=0)
        picked = {f"picked_{k}": _picks(k) for k in LETTERS[:count]}
        rows += shares_of_hits(eval_name, ALL, scores, picked)
        for letter in sorted({s["gold"] for s in scores}):
            members = [s for s in scores if s["gold"] == letter]
            hits = {"accuracy": OUTCOMES["accuracy"], **picked}
            rows += shares_of_hits(eval_name, f"gold={letter}", members, hits)
        return rows

    def counts(self, scores: list[Score]) -> dict[str, int]:
        """What `final_metrics` prints."""
        return {"correct": sum(score["correct"] for score in scores), "total": len(scores)}

    def guesses(self, scores: list[Score]) -> tuple[str, list[bool | float]] | None:
        """An option at random."""
        return "guessing", [1 / len(score["options"]) for score in scores]

    def output(self, score: Score) -> str:
        """The options with their probabilities."""
        if score["probabilities"] is None:
            return "overlong: no option was scored"
        rows = zip(LETTERS, score["options"], score["probabilities"], strict=False)
        return "\n".join(f"{letter}: {text} ({100 * share:.1f} %)" for letter, text, share in rows)

    def reading(self, score: Score) -> str:
        return "overlong" if score["choice"] is None else f"chose {score['choice']}"


def _unscored() -> Score:
    """A question that was never answered: it stays in the count, as a wrong one."""
    missing = ("choice", "choice_sum", "choice_per_character", "scores", "probabilities", "brier")
    wrong = ("correct", "correct_sum", "correct_per_character")
    return dict.fromkeys(missing) | dict.fromkeys(wrong, False)


def _scored(example: Example, label: str, found: dict[str, Any]) -> Score:
    sums = found.get("sums")
    _require_all(example, found["scores"] if sums is None else sums)
    by_mean = found["scores"] if sums is None else _each(sums, found["tokens"])
    by_character = None if sums is None else _each(sums, found["characters"])
    choice, choice_sum, choice_per_character = map(_best, (by_mean, sums, by_character))
    shares = softmax(by_mean)
    gold = LETTERS.index(label)
    return {
        "choice": choice,
        "choice_sum": choice_sum,
        "choice_per_character": choice_per_character,
        "correct": _right(choice, label),
        "correct_sum": _right(choice_sum, label),
        "correct_per_character": _right(choice_per_character, label),
        "scores": by_mean,
        "probabilities": shares,
        "brier": sum((p - (i == gold)) ** 2 for i, p in enumerate(shares)),
    }


def _require_all(example: Example, scores: Sequence[float]) -> None:
    options = example.choices or ()
    if len(options) != len(scores):
        raise UserError(
            f"question {example.id}: found scores of {len(scores)} options, expected {len(options)}"
        )
    if odd := [LETTERS[i] for i, score in enumerate(scores) if not isfinite(score)]:
        raise UserError(
            f"question {example.id}: found a log-probability that is no finite number for option "
            f"{odd[0]}; the model's numbers overflow, or its weights are broken"
        )


def _each(sums: Sequence[float], counts: Sequence[int]) -> list[float]:
    return [s / n for s, n in zip(sums, counts, strict=True)]


def _best(scores: Sequence[float] | None) -> str | None:
    """The letter of the highest; ties go to the first."""
    if scores is None:
        return None
    return LETTERS[max(range(len(scores)), key=lambda i: (scores[i], -i))]


def _right(choice: str | None, gold: str) -> bool | None:
    return None if choice is None else choice == gold


def softmax(scores: Sequence[float]) -> list[float]:
    """Shares that add up to 1."""
    powers = np.exp(np.asarray(scores) - max(scores))
    return [float(p) for p in powers / powers.sum()]


def _prompt(row: Answered) -> str:
    protocol = _asked(row.protocol)
    return format_prompt(protocol["context"], "multiple_choice", row.example, protocol["line"])


@once
def _asked(protocol: Mapping[str, Any]) -> dict[str, Any]:
    return options_protocol(EvalSpec.model_validate(protocol))


def _picks(letter: str) -> Outcome:
    return lambda score: score["choice"] == letter


def _corrected(accuracy: Metric, scores: list[Score]) -> Metric:
    """0 is guessing, 1 is all right: (accuracy - chance) / (1 - chance)."""
    if not scores:
        return {**accuracy, "metric": "chance_corrected"}
    chance = sum(1 / len(s["options"]) for s in scores) / len(scores)

    def moved(share: float | None) -> float | None:
        return None if share is None else (share - chance) / (1 - chance)

    return {
        **accuracy,
        "metric": "chance_corrected",
        "value": moved(accuracy["value"]),
        "low": moved(accuracy["low"]),
        "high": moved(accuracy["high"]),
    }


def _calibration_error(scores: list[Score]) -> float | None:
    sure = [s["probabilities"][LETTERS.index(s["choice"])] for s in scores]
    return calibration_error(sure, [s["correct"] for s in scores])
