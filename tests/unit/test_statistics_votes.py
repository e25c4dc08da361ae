"""Votes, best of n and their chances against an enumeration of all subsets."""

import random
from itertools import combinations

import pytest

from snaketune.statistics.votes import best, best_chance, majority, majority_chance, pass_chance


def winners_of(answers):
    """The places of the most frequent answers, by counting each answer anew. No code of ours."""
    parsed = [a for a in answers if a is not None]
    most = max((parsed.count(a) for a in parsed), default=0)
    return [i for i, a in enumerate(answers) if a is not None and parsed.count(a) == most]


def majority_of(answers):
    winners = winners_of(answers)
    return winners[0] if winners else None


def bests_of(rewards):
    known = [r for r in rewards if r is not None]
    return [i for i, r in enumerate(rewards) if r == (max(known) if known else None)]


def enumerated(answers, right, rewards, n):
    """Shares of all subsets of n samples: majority right, best right, any right. Equals share."""
    hits, subsets = [0, 0, 0], list(combinations(range(len(answers)), n))
    for subset in subsets:
        won = winners_of([answers[i] for i in subset])
        hits[0] += sum(right[subset[i]] for i in won) / len(won) if won else 0
        best_ones = bests_of([rewards[i] for i in subset])
        hits[1] += sum(right[subset[i]] for i in best_ones) / len(best_ones)
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
def test_chances_do_not_depend_on_the_order_of_samples(seed):
    draw = random.Random(seed)
    answers, right, rewards = drawn(draw, 12)
    rows = list(zip(answers, right, rewards, strict=True))
    for n in (1, 4, 7, 12):
        found = majority_chance(answers, right, n), best_chance(rewards, right, n)
        draw.shuffle(rows)
        mixed, are_right, rewarded = zip(*rows, strict=True)
        assert majority_chance(mixed, are_right, n) == found[0]
        assert best_chance(rewarded, are_right, n) == found[1]


@pytest.mark.parametrize("answers", [["1", "2", "1", "2"], ["2", "1", "2", "1"]])
def test_a_tie_is_half_a_vote_in_any_order(answers):
    right = [answer == "1" for answer in answers]
    assert majority_chance(answers, right, 4) == 0.5
    assert majority(answers) == 0, "of the first n the one that comes first wins"


@pytest.mark.parametrize("seed", range(20))
def test_of_all_samples_the_first_of_equals_is_picked(seed):
    answers, _, rewards = drawn(random.Random(seed), 40)
    assert majority(answers) == majority_of(answers)
    assert best(rewards) == bests_of(rewards)[0]


def test_many_samples_against_drawn_subsets():
    """Where enumeration is out of reach: C(40, 20) is 1e11."""
    draw = random.Random(7)
    answers, right, rewards = drawn(draw, 40)
    hits, tries = [0, 0, 0], 20_000
    for _ in range(tries):
        subset = sorted(draw.sample(range(40), 20))
        won = winners_of([answers[i] for i in subset])
        hits[0] += sum(right[subset[i]] for i in won) / len(won) if won else 0
        best_ones = bests_of([rewards[i] for i in subset])
        hits[1] += sum(right[subset[i]] for i in best_ones) / len(best_ones)
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
