"""What several samples of one question come to: majority vote, best of n, any right one.

A sample whose answer is None (unparsed) has no vote, and one without a reward wins only where none
has one. Of the first n samples, in the order in which they were drawn, the answer (or the reward)
that comes first wins among equals.

The chances are exact over all subsets of n of the N samples in any order: equals share a chance
alike, so that it does not matter how the samples were drawn. They are counted, not enumerated:
C(64, 32) subsets have 19 digits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import comb
from typing import Any

Answers = Sequence[str | None]
Rewards = Sequence[float | None]


def majority(answers: Answers) -> int | None:
    """The first sample of the most frequent answer; None where nothing was parsed."""
    votes = Counter(answer for answer in answers if answer is not None)
    # A Counter keeps the order of first sight, and `max` takes the first of equals.
    return answers.index(max(votes, key=votes.__getitem__)) if votes else None


def best(rewards: Rewards) -> int:
    """The sample with the highest reward."""
    return _ranked(rewards)[0]


def _ranked(rewards: Rewards) -> list[int]:
    """Samples, the best first."""

    def place(i: int) -> tuple[bool, float, int]:
        reward = rewards[i]
        return (True, 0.0, i) if reward is None else (False, -reward, i)

    return sorted(range(len(rewards)), key=place)


def pass_chance(right: Sequence[bool], n: int) -> float:
    """How likely n of the samples hold a right one."""
    total = comb(len(right), n)
    return float(1 - Fraction(comb(len(right) - sum(right), n), total))


def best_chance(rewards: Rewards, right: Sequence[bool], n: int) -> float:
    """How likely the best of n of the samples is right. Those of one reward are the best where the
    subset has one of them and none of a higher one; then each of them is as likely."""
    total, chance, left = len(rewards), Fraction(0), len(rewards)
    levels: dict[float | None, list[int]] = {}
    for i in _ranked(rewards):
        levels.setdefault(rewards[i], []).append(i)
    for members in levels.values():
        won = comb(left, n) - comb(left - len(members), n)
        chance += Fraction(won * sum(right[i] for i in members), len(members))
        left -= len(members)
    return float(chance / comb(total, n))


def majority_chance(answers: Answers, right: Sequence[bool], n: int) -> float:
    """How likely the vote of n of the samples is won by a right answer."""
    totals, hits = Counter(answers), Counter(a for a, r in zip(answers, right, strict=True) if r)
    blank = totals.pop(None, 0)
    chance = Fraction(0)
    for answer, count in hits.items():
        if answer is not None:
            others = [total for other, total in totals.items() if other != answer]
            won = _subsets_won(totals[answer], others, blank, n)
            chance += won * Fraction(count, totals[answer])
    return float(chance / comb(len(answers), n))


def _subsets_won(own: int, others: Sequence[int], blank: int, n: int) -> Fraction:
    """Subsets of n samples whose vote goes to an answer that `own` samples give; one in which t
    others have as many votes counts as 1 / (t + 1).

    With k votes for it, every other answer has fewer than k, or k and is tied; of unparsed samples
    there is any number. The choices for one answer do not touch those for another, so their counts
    multiply as polynomials in the number of samples; one for each number of ties.
    """
    won = Fraction(0)
    for k in range(1, min(own, n) + 1):
        rest = n - k
        ways = [[comb(blank, size) for size in range(rest + 1)]]  # by ties
        for count in others:
            few = [comb(count, size) for size in range(min(k, rest + 1))]
            grown = [_product(row, few, rest) for row in ways]
            if k <= min(rest, count):
                tied = [[0] * k + [comb(count, k) * x for x in row[: rest + 1 - k]] for row in ways]
                grown.append([0] * (rest + 1))
                for ties, row in enumerate(tied):
                    grown[ties + 1] = [a + b for a, b in zip(grown[ties + 1], row, strict=True)]
            ways = grown[: rest // k + 1]
        shares = (Fraction(row[rest], ties + 1) for ties, row in enumerate(ways))
        won += comb(own, k) * sum(shares, Fraction(0))
    return won


def _product(one: list[int], other: list[int], degree: int) -> list[int]:
    """The product of two polynomials, up to a degree."""
    found = [0] * (degree + 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other[: degree + 1 - i]):
            found[i + j] += a * b
    return found


MAJORITY, BEST, BOTH = "majority", "best_of_n", "both"
"""Which pick missed a right answer that was there."""


def missed_by(score: Mapping[str, Any]) -> str | None:
    """Which of the two failed on a question whose samples, up to the largest n, hold a right
    answer; None: neither did, or no sample is right."""
    if not score["present"]:
        return None
    best = score["best_correct"] is False
    if score["correct"]:
        return BEST if best else None
    return BOTH if best else MAJORITY


def most_answers(score: Mapping[str, Any]) -> tuple[int, str]:
    """The order of failures."""
    return -score["unique_answers"], score["id"]


def best_answer(score: Mapping[str, Any]) -> str | None:
    """The answer of the sample with the highest reward at the largest n; None: unparsed, or there
    are no rewards."""
    return None if score["best"] is None else score["answers"][score["best"][-1]]
