"""What several samples of one question come to: majority vote, best of n, any right one.

Samples stand in the order in which they were drawn, and a subset keeps that order. A sample whose
answer is None (unparsed) has no vote. Of equally frequent answers, and of equal rewards, the one
that comes first wins. A sample without a reward wins only where none has one.

The chances are exact over all subsets of n of the N samples. They are counted, not enumerated:
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
    """How likely the best of n of the samples is right: it is the one of rank r where the n - 1
    others are of lower rank."""
    total = len(rewards)
    hits = sum(comb(total - 1 - rank, n - 1) for rank, i in enumerate(_ranked(rewards)) if right[i])
    return float(Fraction(hits, comb(total, n)))


def majority_chance(answers: Answers, right: Sequence[bool], n: int) -> float:
    """How likely the vote of n of the samples is won by a right answer."""
    hits = sum(_subsets_won_by(answers, i, n) for i in range(len(answers)) if right[i])
    return float(Fraction(hits, comb(len(answers), n)))


def _subsets_won_by(answers: Answers, first: int, n: int) -> int:
    """Subsets of n samples whose vote goes to the answer of sample `first`, with that sample as
    the answer's first one in the subset.

    With k votes for it the subset has `first`, k - 1 later samples of that answer and none
    earlier. Of every other answer it has fewer than k samples, or k that all come after `first`,
    since ties go to the answer that came first; of unparsed samples any number. The choices for
    one answer do not touch those for another, so their counts multiply as polynomials in the
    number of samples.
    """
    totals, later = Counter(answers), Counter(answers[first + 1 :])
    mine = answers[first]
    blank = totals.pop(None, 0)
    own = later[mine]
    hits = 0
    for k in range(1, min(own + 1, n) + 1):
        rest = n - k
        ways = [comb(blank, size) for size in range(rest + 1)]
        for answer, count in totals.items():
            if answer != mine:
                few = [comb(count, size) for size in range(min(k, rest + 1))]
                tied = [comb(later[answer], k)] if k <= rest else []
                ways = _product(ways, few + tied, rest)
        hits += comb(own, k - 1) * ways[rest]
    return hits


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
