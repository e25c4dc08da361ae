"""Scores of task `math` with several samples of each question: majority vote and best of n.

For each n of the eval's `at`: what the first n samples come to, and the exact chance over all
subsets of n samples (`_expected`), which says the same with less noise. `pass_at_n` is the chance
that n samples hold a right one: what an oracle could pick (1 - C(N-c, n) / C(N, n), unbiased).
`accuracy` is the mean of single samples. Over all rows (subset `all`) stands the largest n.

Questions are what is drawn at random, so intervals are over questions, never over samples: Wilson
where each question is a yes or no, else the bootstrap; where questions share a template, over
templates (`clusters`).
"""

from collections import Counter
from decimal import Decimal
from math import isfinite
from typing import Any, ClassVar

import pyarrow as pa

from snaketune.config.evaluation import SamplingSpec
from snaketune.runtime.errors import UserError
from snaketune.statistics.votes import best, best_chance, majority, majority_chance, pass_chance
from snaketune.tasks.math import Math
from snaketune.tasks.math_rules import rule_of
from snaketune.tasks.task import (
    ALL,
    Answered,
    Metric,
    Outcome,
    Score,
    Task,
    cluster_of,
    mean_score,
    share_of_hits,
    task,
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("question", pa.string()),
        ("gold", pa.string()),
        ("cluster", pa.string()),  # questions of one template share it; null: none is known
        # of every sample, in order
        ("outputs", pa.list_(pa.string())),
        ("answers", pa.list_(pa.string())),  # by the eval's rule; null: unparsed
        ("right", pa.list_(pa.bool_())),
        # null: there are none; in it: an empty or overlong reply's
        ("rewards", pa.list_(pa.float64())),
        ("finish", pa.list_(pa.string())),
        ("new_tokens", pa.list_(pa.int64())),
        ("accuracy", pa.float64()),  # share of right samples
        ("unparsed", pa.float64()),  # share of samples without an answer
        # for every n
        ("at", pa.list_(pa.int64())),
        ("majority", pa.list_(pa.string())),  # null: no sample was parsed
        ("majority_right", pa.list_(pa.bool_())),
        ("majority_expected", pa.list_(pa.float64())),
        ("best", pa.list_(pa.int64())),  # number of the sample, from 0
        ("best_right", pa.list_(pa.bool_())),
        ("best_expected", pa.list_(pa.float64())),
        ("pass_at", pa.list_(pa.float64())),
        # at the largest n
        ("parsed", pa.string()),  # the majority's answer
        ("correct", pa.bool_()),
        ("best_correct", pa.bool_()),  # null: there are no rewards
        ("present", pa.bool_()),  # a right answer is
        ("unique_answers", pa.int64()),  # different answers, unparsed samples aside
    ]
)

_LARGEST: dict[str, Outcome] = {
    "majority": lambda score: score["correct"],
    "best_of_n": lambda score: score["best_correct"],
    "pass_at_n": lambda score: score["pass_at"][-1],
    "accuracy": lambda score: score["accuracy"],
    "unparsed": lambda score: score["unparsed"],
    "unrewarded": lambda score: _without_reward(score["rewards"]),
}
_BY_N = {
    "majority": "majority_right",
    "majority_expected": "majority_expected",
    "best_of_n": "best_right",
    "best_of_n_expected": "best_expected",
    "pass_at_n": "pass_at",
}


@task(
    goals=("majority", "best_of_n", "pass_at_n", "accuracy"),
    unpaired=("pass_at_n",),
    samples_of="math",
)
class MathSamples(Task):
    """Several samples of each question: majority vote and best of n."""

    version = 2
    schema = SCHEMA
    paired: ClassVar = {name: _LARGEST[name] for name in ("majority", "best_of_n", "accuracy")}
    content: ClassVar = (
        "where both could be read",
        lambda score: None if score["parsed"] is None else score["correct"],
    )
    groups = Math.groups  # by the majority vote

    def score(self, row: Answered) -> Score:
        """The row of one question."""
        example, samples = row.example, row.prediction["samples"]
        spec, rule = SamplingSpec.model_validate(row.protocol["sampling"]), rule_of(row.protocol)
        gold = Decimal(row.gold)
        numbers = [rule.read(sample["output"]) for sample in samples]
        answers = [rule.spelled(number) for number in numbers]
        right = [rule.right(number, gold) for number in numbers]
        rewards = _rewards(example.id, samples)
        largest = spec.at[-1]
        votes = [_majority(answers, right, n) for n in spec.at]
        bests = [_best(rewards, right, n) for n in spec.at] if rewards is not None else None
        return {
            "id": example.id,
            "question": example.question,
            "gold": example.gold,
            "cluster": cluster_of(example),
            "outputs": [sample["output"] for sample in samples],
            "answers": answers,
            "right": right,
            "rewards": rewards,
            "finish": [sample.get("finish") for sample in samples],
            "new_tokens": [sample.get("new_tokens") for sample in samples],
            "accuracy": sum(right) / len(right),
            "unparsed": answers.count(None) / len(answers),
            "at": spec.at,
            **_columns(("majority", "majority_right", "majority_expected"), votes),
            **_columns(("best", "best_right", "best_expected"), bests),
            "pass_at": [pass_chance(right, n) for n in spec.at],
            "parsed": votes[-1][0],
            "correct": votes[-1][1],
            "best_correct": bests[-1][1] if bests else None,
            "present": any(right[:largest]),
            "unique_answers": len(set(answers[:largest]) - {None}),
        }

    def metrics(self, eval_name: str, scores: list[Score]) -> list[Metric]:
        """At the largest n, then at every n (subsets `n=1`, `n=2`, …)."""
        rows = [_shares(eval_name, ALL, name, of, scores) for name, of in _LARGEST.items()]
        rows.append(mean_score(eval_name, ALL, "unique_answers", scores, _unique))
        for place, n in enumerate(scores[0]["at"] if scores else []):
            for name, column in _BY_N.items():
                rows.append(_shares(eval_name, f"n={n}", name, _at(column, place), scores))
        if any(score["rewards"] is not None for score in scores):
            return rows
        return [row for row in rows if not row["metric"].startswith(("best", "unrewarded"))]

    def counts(self, scores: list[Score]) -> dict[str, int]:
        """What `final_metrics` prints: questions, by the majority; and the samples behind them."""
        return {
            "correct": sum(score["correct"] for score in scores),
            "unparsed": sum(score["parsed"] is None for score in scores),
            "total": len(scores),
            "samples": sum(len(score["answers"]) for score in scores),
            "unparsed_samples": sum(score["answers"].count(None) for score in scores),
        }

    def output(self, score: Score) -> str:
        """The answers at the largest n with their votes."""
        answers = score["answers"][: score["at"][-1]]
        votes = Counter(answers).most_common()
        return "\n".join(f"{answer or 'unparsed'}: {n} of {len(answers)}" for answer, n in votes)

    def reading(self, score: Score) -> str:
        return f"majority {score['parsed']}" if score["parsed"] is not None else "unparsed"


def _rewards(id_: str, samples: list[dict[str, Any]]) -> list[float | None] | None:
    known = ["reward" in sample for sample in samples]
    if any(known) and not all(known):
        raise UserError(
            f"question {id_}: found rewards of {sum(known)} of {len(known)} samples, expected all"
        )
    rewards = [sample["reward"] for sample in samples] if all(known) else None
    for number, reward in enumerate(rewards or ()):
        if reward is not None and not isfinite(reward):
            raise UserError(f"question {id_}, sample {number}: found reward {reward}, no number")
    return rewards


def _majority(answers: list, right: list[bool], n: int) -> tuple[str | None, bool, float]:
    """The answer of the first n samples, whether it is right, and the chance over all subsets."""
    first = majority(answers[:n])
    chance = majority_chance(answers, right, n)
    return (None, False, chance) if first is None else (answers[first], right[first], chance)


def _best(rewards: list, right: list[bool], n: int) -> tuple[int, bool, float]:
    """The best of the first n samples, likewise."""
    place = best(rewards[:n])
    return place, right[place], best_chance(rewards, right, n)


def _columns(names: tuple[str, ...], rows: list[tuple] | None) -> dict[str, list | None]:
    columns = zip(*rows, strict=True) if rows is not None else [None] * len(names)
    return {n: None if c is None else list(c) for n, c in zip(names, columns, strict=True)}


def _at(column: str, place: int) -> Outcome:
    return lambda score: None if score[column] is None else score[column][place]


def _without_reward(rewards: list[float | None] | None) -> float | None:
    """The share of samples that the reward model did not score: empty ones, and those that are too
    long for it."""
    return None if rewards is None else rewards.count(None) / len(rewards)


def _shares(eval_name: str, subset: str, name: str, of: Outcome, scores: list[Score]) -> Metric:
    """A mean of yes and no, or of chances, over the questions. Where every chance is 0 or 1, as
    that of the one subset of all samples, it is a yes or no too."""
    outcomes = all(of(score) in (0, 1, None) for score in scores)
    return (share_of_hits if outcomes else mean_score)(eval_name, subset, name, scores, of)


def _unique(score: Score) -> int:
    return score["unique_answers"]
