"""What is granted is known to the jobs too, and shared out so that all GPUs can work."""

import pytest

from snaketune.plan.resources import gpus_at_once, threads_for


@pytest.mark.parametrize("limit", [None, 0, 4])
def test_a_job_knows_the_limit_that_it_was_submitted_under(monkeypatch, limit) -> None:
    monkeypatch.setenv("SNAKETUNE_GPUS", "7")  # of a start around this one
    assert gpus_at_once(limit, is_main=True) == limit
    assert gpus_at_once(None, is_main=False) == limit


def test_a_job_without_that_environment_goes_by_what_it_was_given(monkeypatch) -> None:
    monkeypatch.delenv("SNAKETUNE_GPUS", raising=False)
    assert gpus_at_once(2, is_main=False) == 2


@pytest.mark.parametrize(
    ("gpu", "cores", "gpus", "threads"),
    [
        (1, 16, 4, 4),
        (1, 64, 4, 8),
        (4, 16, 4, 8),
        (2, 16, 8, 4),
        (1, 4, 8, 1),
        (0, 16, 4, 4),
        (1, 16, 0, 8),
        (0, 2, 0, 8),
        (1, 16, None, 8),
        (1, None, 8, 8),
    ],
)
def test_threads_leave_cores_for_jobs_on_the_other_gpus(gpu, cores, gpus, threads) -> None:
    assert threads_for(gpu, cores, gpus) == threads
