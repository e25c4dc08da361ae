"""Order of the rows over the steps, and their layout in memory."""

import itertools

import numpy as np
import pytest
import torch

from snaketune.prompts import rows as written
from snaketune.training import batches
from snaketune.training.batches import Order, deal_out, group_by_length, pack_first_fit


def test_an_epoch_takes_every_row_once_in_an_order_of_its_own():
    order = Order(rows=10, batch=4, epochs=2, seed=1)
    assert order.steps_per_epoch == 3
    assert order.total_steps == 6
    epochs = [np.concatenate([order.window(e * 3 + s) for s in range(3)]) for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert list(epochs[0]) != list(epochs[1])
    assert [len(order.window(s)) for s in range(6)] == [4, 4, 2, 4, 4, 2]


def test_the_order_follows_from_the_seed_alone():
    one, same, other = (Order(50, 8, 1, seed) for seed in (1, 1, 2))
    assert list(one.window(3)) == list(same.window(3)) != list(other.window(3))


@pytest.mark.parametrize(
    ("epochs", "limit", "steps", "last"),
    [(0.5, None, 2, 1), (1.5, None, 5, 1), (1, 2, 2, 4), (0.01, None, 1, 1), (3, 100, 9, 2)],
)
def test_parts_of_epochs_and_limits(epochs, limit, steps, last):
    order = Order(rows=10, batch=4, epochs=epochs, seed=0, max_steps=limit)
    assert order.total_steps == steps
    assert len(order.window(steps - 1)) == last


def test_epochs_done_are_counted_in_rows():
    order = Order(rows=10, batch=4, epochs=2, seed=0)
    assert [order.epoch_after(s) for s in range(4)] == [0.4, 0.8, 1.0, 1.4]


@pytest.mark.parametrize("epochs", [0.5, 0.4, 0.1, 1.5, 2.0])
def test_at_the_end_as_many_epochs_are_done_as_were_asked_for(epochs):
    order = Order(rows=10, batch=4, epochs=epochs, seed=0)
    assert order.epoch_after(order.total_steps - 1) == epochs
    rows = sum(len(order.window(step)) for step in range(order.total_steps))
    assert rows == round(10 * epochs)


def layouts(lengths, budget):
    """Every split of the sorted rows into runs that hold the budget."""
    longest = sorted(lengths, reverse=True)
    for cuts in itertools.product([False, True], repeat=len(lengths) - 1):
        ends = [i + 1 for i, is_cut in enumerate(cuts) if is_cut] + [len(lengths)]
        runs = [longest[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        if all(run[0] * len(run) <= budget or len(run) == 1 for run in runs):
            yield runs


@pytest.mark.parametrize("overhead", [0, 10, 1000])
def test_grouping_is_the_cheapest_of_all_splits(overhead):
    rng = np.random.default_rng(3)
    for _ in range(20):
        lengths = rng.integers(1, 40, 8)
        found = [lengths[part] for part in group_by_length(lengths, 100, overhead)]
        cost = sum(part.max() * len(part) + overhead for part in found)
        assert cost == min(
            sum(run[0] * len(run) + overhead for run in runs) for runs in layouts(lengths, 100)
        )


@pytest.mark.parametrize(
    "split", [lambda n: group_by_length(n, 64, 5), lambda n: pack_first_fit(n, 64)]
)
def test_every_row_lies_in_one_micro_batch_and_long_ones_alone(split):
    lengths = np.array([5, 70, 30, 64, 1, 33, 70])
    parts = split(lengths)
    assert sorted(np.concatenate(parts)) == list(range(7))
    assert {tuple(part) for part in parts} >= {(1,), (6,), (3,)}


def test_packs_hold_the_budget():
    lengths = np.random.default_rng(0).integers(1, 60, 50)
    assert all(lengths[part].sum() <= 64 for part in pack_first_fit(lengths, 64))


def test_processes_share_all_rows_evenly():
    lengths = np.random.default_rng(0).integers(1, 60, 41)
    parts = [deal_out(lengths, rank, 3) for rank in range(3)]
    assert sorted(np.concatenate(parts)) == list(range(41))
    sums = [lengths[part].sum() for part in parts]
    assert max(sums) - min(sums) <= lengths.max()


def test_rows_are_read_with_the_label_that_they_were_written_with():
    """Training imports nothing of prompts: the files are what they share."""
    assert batches.IGNORED == written.IGNORED == torch.nn.CrossEntropyLoss().ignore_index
