"""Votes, best of n and their chances against an enumeration of all subsets."""

import random
from itertools import combinations

import pytest

from snaketune.statistics.votes import best, best_chance, majority, majority_chance, pass_chance


def majority_of(answers):
    """The winner's first place, by counting each answer anew. No code of ours."""
    parsed = [a for a in answers if a is not None]
    winners = [a for a in parsed if all(parsed.count(a) >= parsed.count(b) for b in parsed)]
    return answers.index(winners[0]) if winners else None


def best_of(rewards):
    known = [r for r in rewards if r is not None]
    return rewards.index(max(known)) if known else 0


def enumerated(answers, right, rewards, n):
    """Shares of all subsets of n samples: majority right, best right, any right."""
    hits, subsets = [0, 0, 0], list(combinations(range(len(answers)), n))
    for subset in subsets:
        voted = majority_of([answers[i] for i in subset])
        hits[0] += voted is not None and right[subset[voted]]
        hits[1] += right[subset[best_of([rewards[i] for i in subset])]]
        hits[2] += any(right[i] for i in subset)
    return [count / len(subsets) for count in hits]


def drawn(draw, size):
    """A question with ties, unparsed samples, equal and missing rewards."""
    answers = draw.choices([None, "1", "2", "3", "4"], k=size)
    rewards = draw.choices([None, -1.5, 0.0, 2.0], k=size)
    return answers, [a == "1" for a in answers], rewards


@pytest.mark.parametrize("seed", range(300))
def test_chances_are_those_of_all_subsets(seed):
    draw = random.Random(seed)
    answers, right, rewards = drawn(draw, draw.randint(1, 9))
    for n in range(1, len(answers) + 1):
        found = [
            majority_chance(answers, right, n),
            best_chance(rewards, right, n),
            pass_chance(right, n),
        ]
        assert found == pytest.approx(enumerated(answers, right, rewards, n), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_of_all_samples_the_chance_is_the_outcome(seed):
    answers, right, rewards = drawn(random.Random(seed), 40)
    voted = majority(answers)
    assert voted == majority_of(answers)
    assert majority_chance(answers, right, 40) == (voted is not None and right[voted])
    assert best(rewards) == best_of(rewards)
    assert best_chance(rewards, right, 40) == right[best(rewards)]


def test_many_samples_against_drawn_subsets():
    """Where enumeration is out of reach: C(40, 20) is 1e11."""
    draw = random.Random(7)
    answers, right, rewards = drawn(draw, 40)
    hits, tries = [0, 0, 0], 20_000
    for _ in range(tries):
        subset = sorted(draw.sample(range(40), 20))
        voted = majority_of([answers[i] for i in subset])
        hits[0] += voted is not None and right[subset[voted]]
        hits[1] += right[subset[best_of([rewards[i] for i in subset])]]
        hits[2] += any(right[i] for i in subset)
    found = [f(*x, right, 20) for f, *x in
             ((majority_chance, answers), (best_chance, rewards), (pass_chance,))]  # fmt: skip
    assert found == pytest.approx([h / tries for h in hits], abs=0.02)


@pytest.mark.parametrize(
    ("answers", "first"),
    [
        (["7", "5", "5"], 1),
        (["7", "5"], 0),  # a tie goes to the answer that came first
        (["5", "7", "7", "5"], 0),
        ([None, None, None, "5"], 3),  # unparsed samples have no vote
        ([None, None], None),
    ],
)
def test_majority(answers, first):
    assert majority(answers) == first


@pytest.mark.parametrize(
    ("rewards", "place"),
    [([1, 3, 2], 1), ([1, 3, 3], 1), ([None, -9.0], 1), ([None, None], 0), ([0, None], 0)],
)
def test_best(rewards, place):
    assert best(rewards) == place


def test_subsets_of_one_are_single_samples():
    right = [True, False, False, True, False]
    answers = ["1", "2", None, "1", "3"]
    assert majority_chance(answers, right, 1) == 0.4
    assert best_chance([None, 1, 2, 3, 4], right, 1) == 0.4
    assert pass_chance(right, 1) == 0.4
