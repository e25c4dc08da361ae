"""Seeded subsets are the recipe's."""

import numpy as np
import pytest

from snaketune.config.dataset import SampleSpec
from snaketune.data.example import take_sample

# Printed by the recipe's own line; they pin NumPy's generator too.
FIRST = [30, 754, 429, 1010, 1284, 953, 751, 954]


def test_fifth_of_gsm8k_test_is_the_recipe_subset():
    taken = take_sample(range(1319), SampleSpec(fraction=0.2, seed=42))
    assert len(taken) == 263
    assert taken == np.random.default_rng(42).permutation(1319)[:263].tolist()
    assert taken[:8] == FIRST


@pytest.mark.parametrize(
    ("total", "sample", "size"),
    [
        (10, None, 10),
        (10, SampleSpec(count=4), 4),
        (3, SampleSpec(count=4), 3),
        (3, SampleSpec(fraction=0.2), 1),
        (0, SampleSpec(fraction=0.2), 0),
        (1319, SampleSpec(fraction=1.0), 1319),
    ],
)
def test_sizes(total, sample, size):
    taken = take_sample(range(total), sample)
    assert len(taken) == len(set(taken)) == size


def test_without_a_sample_the_order_stays():
    assert take_sample([3, 1, 2], None) == [3, 1, 2]
