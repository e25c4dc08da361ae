import pytest

from snaketune.training.step import learning_rate


def rates(schedule, warmup, total=10):
    return [learning_rate(step, total, 1.0, schedule, warmup) for step in range(total)]


def test_warm_up_rises_in_equal_parts_and_wastes_no_step():
    assert rates("constant", 0.4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_decay_starts_at_the_peak_and_falls_towards_zero(schedule):
    found = rates(schedule, 0.0)
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] <= 0.1
    assert found[5] == pytest.approx(0.5)


def test_a_training_of_one_step_moves():
    assert learning_rate(0, 1, 0.5, "cosine", 0.03) == 0.5
