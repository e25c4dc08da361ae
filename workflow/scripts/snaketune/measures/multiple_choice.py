"""Scores of task `multiple_choice`: the option with the best log-probability against the gold one.

An option is chosen by the mean log-probability of its tokens; choices by the sum and by the mean
per character stand beside it. Ties go to the first letter. Probabilities are the softmax of the
scores that the choice is made by, over the options of a question.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example
from snaketune.data.formats.choices import LETTERS
from snaketune.errors import UserError
from snaketune.measures.calibration import calibration_error
from snaketune.measures.metrics import ALL, Metric, Outcome, Score, mean, plain, proportions
from snaketune.measures.task import Answered, Measurer
from snaketune.tasks.conversation import worded
from snaketune.tasks.wording import options_protocol

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("question", pa.string()),
        ("prompt", pa.string()),  # before any chat template
        ("options", pa.list_(pa.string())),
        ("gold", pa.string()),  # a letter
        ("choice", pa.string()),  # by the mean per token
        ("choice_sum", pa.string()),
        ("choice_per_character", pa.string()),
        ("correct", pa.bool_()),
        ("correct_sum", pa.bool_()),
        ("correct_per_character", pa.bool_()),
        ("sums", pa.list_(pa.float64())),  # log-probability of each option
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


def score(row: Answered) -> Score:
    """The row of one question."""
    example, found = row.example, row.prediction
    return {
        "id": example.id,
        "question": example.prompt,
        "prompt": _prompt(row),
        "options": example.choices,
        "gold": example.label,
        "tokens": found["tokens"],
        "characters": found["characters"],
        "finish": found.get("finish"),
        **(_unscored() if found.get("finish") == "overlong" else _scored(example, found)),
    }


def _scored(example: Example, found: dict[str, Any]) -> Score:
    sums, tokens, characters = (found[key] for key in ("sums", "tokens", "characters"))
    _require_all(example.choices, sums, example.id)
    by_mean = [s / n for s, n in zip(sums, tokens, strict=True)]
    by_character = [s / n for s, n in zip(sums, characters, strict=True)]
    choices = [_best(by_mean), _best(sums), _best(by_character)]
    shares = softmax(by_mean)
    gold = LETTERS.index(example.label)
    return {
        "choice": LETTERS[choices[0]],
        "choice_sum": LETTERS[choices[1]],
        "choice_per_character": LETTERS[choices[2]],
        "correct": choices[0] == gold,
        "correct_sum": choices[1] == gold,
        "correct_per_character": choices[2] == gold,
        "sums": sums,
        "probabilities": shares,
        "brier": sum((p - (i == gold)) ** 2 for i, p in enumerate(shares)),
    }


def _unscored() -> Score:
    """A question that was never answered: it stays in the count, as a wrong one."""
    missing = ("choice", "choice_sum", "choice_per_character", "sums", "probabilities", "brier")
    wrong = ("correct", "correct_sum", "correct_per_character")
    return dict.fromkeys(missing) | dict.fromkeys(wrong, False)


def _require_all(options: Sequence[str] | None, sums: Sequence[float], name: str) -> None:
    if len(options or ()) != len(sums):
        raise UserError(
            f"question {name}: found scores of {len(sums)} options, expected {len(options or ())}"
        )


def _best(scores: Sequence[float]) -> int:
    """The place of the highest; of equal ones the first."""
    return max(range(len(scores)), key=lambda i: (scores[i], -i))


def softmax(scores: Sequence[float]) -> list[float]:
    """Shares that add up to 1."""
    powers = np.exp(np.asarray(scores) - max(scores))
    return [float(p) for p in powers / powers.sum()]


def _prompt(row: Answered) -> str:
    protocol = options_protocol(EvalSpec.model_validate(row.protocol))
    return worded(protocol["context"], "multiple_choice", row.example, protocol["line"])


def metrics(eval_name: str, scores: list[Score]) -> list[Metric]:
    """Accuracies, the primary one corrected for chance, calibration, and how often each letter is
    chosen: of all questions, and by the gold letter, which shows a bias for positions."""
    rows = proportions(eval_name, ALL, scores, OUTCOMES)
    rows.append(_corrected(rows[0], scores))
    known = [s for s in scores if s["choice"] is not None]
    rows.append(plain(eval_name, ALL, "ece", _calibration_error(known), len(known)))
    rows.append(mean(eval_name, ALL, "brier", [s["brier"] for s in known]))
    rows += proportions(eval_name, ALL, scores, {"overlong": lambda s: s["finish"] == "overlong"})
    count = max((len(s["options"]) for s in scores), default=0)
    picked = {f"picked_{k}": _picks(k) for k in LETTERS[:count]}
    rows += proportions(eval_name, ALL, scores, picked)
    for letter in sorted({s["gold"] for s in scores}):
        members = [s for s in scores if s["gold"] == letter]
        hits = {"accuracy": OUTCOMES["accuracy"], **picked}
        rows += proportions(eval_name, f"gold={letter}", members, hits)
    return rows


def _picks(letter: str) -> Outcome:
    return lambda score: score["choice"] == letter


def _corrected(accuracy: Metric, scores: list[Score]) -> Metric:
    """0 is guessing, 1 is all right: (accuracy - chance) / (1 - chance)."""
    if not scores:
        return accuracy | {"metric": "chance_corrected"}
    chance = sum(1 / len(s["options"]) for s in scores) / len(scores)
    moved = {k: (accuracy[k] - chance) / (1 - chance) for k in ("value", "low", "high")}
    return accuracy | {"metric": "chance_corrected"} | moved


def _calibration_error(scores: list[Score]) -> float | None:
    sure = [s["probabilities"][LETTERS.index(s["choice"])] for s in scores]
    return calibration_error(sure, [s["correct"] for s in scores])


def counts(scores: list[Score]) -> dict[str, int]:
    """What `final_metrics` prints."""
    return {"correct": sum(score["correct"] for score in scores), "total": len(scores)}


def option_lines(score: Score) -> str:
    """The options with their probabilities, to read."""
    if score["probabilities"] is None:
        return "overlong: no option was scored"
    rows = zip(LETTERS, score["options"], score["probabilities"], strict=False)
    return "\n".join(f"{letter}: {text} ({100 * share:.1f} %)" for letter, text, share in rows)


MEASURER = Measurer(
    schema=SCHEMA, score=score, metrics=metrics, counts=counts, paired=dict(OUTCOMES)
)
