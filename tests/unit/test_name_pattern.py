"""Patterns of names match the names and nothing else, and stay short for a sweep's."""

import random
import re
from itertools import product

import pytest

from snaketune.plan.states import name_pattern

PARTS = ["a", "b", "lr", "_1", "_2", "-1of3", "-", "_", "1em05"]


@pytest.mark.parametrize("seed", range(30))
def test_matches_the_names_and_no_others(seed: int) -> None:
    words = {"".join(parts) for n in (1, 2, 3) for parts in product(PARTS, repeat=n)}
    draw = random.Random(seed)
    names = set(draw.sample(sorted(words), draw.randint(1, 200)))
    pattern = re.compile(name_pattern(names))
    assert {word for word in words if pattern.fullmatch(word)} == names


def test_no_name_at_all_matches_nothing() -> None:
    assert not re.fullmatch(name_pattern([]), "")
    assert not re.fullmatch(name_pattern([]), "a")


def test_grows_with_the_values_of_a_sweep_not_with_their_combinations() -> None:
    def length(count: int) -> int:
        sizes = [range(count)] * 3
        return len(name_pattern(f"r_lr_{i}_r_{j}_seed_{k}" for i, j, k in product(*sizes)))

    assert length(10) < 250, "1,000 runs"
    assert length(20) < 2.5 * length(10), "8,000 runs"
