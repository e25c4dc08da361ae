"""Progress lines: the rate is of this start alone, the time left is of what is missing."""

import pytest

from snaketune.runtime import job as module
from snaketune.runtime.job import Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_rate_after_a_resume_leaves_out_what_was_done_before(clock, capsys):
    progress = Progress(300, "replies", done=200)
    clock[0] += 10
    progress.advance(20)
    assert capsys.readouterr().err == "220/300 replies, 2 replies/s, 0:00:40 left\n"


def test_a_line_is_due_every_few_seconds_and_at_the_end(clock, capsys):
    progress = Progress(4, "rows", every=5)
    for seconds in (1, 3, 2, 1):
        clock[0] += seconds
        progress.advance(note="loss 0.41")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "3/4 rows, 0.5 rows/s, 0:00:02 left, loss 0.41",
        "4/4 rows, 0.571 rows/s, 0:00:00 left, loss 0.41",
    ]


def test_long_times_and_no_rate_yet(clock):
    progress = Progress(10_000, "rows")
    assert progress.line(100.0) == "0/10000 rows, 0 rows/s, 0:00:00 left"
    progress.done = 1
    assert progress.line(101.0).endswith("1 rows/s, 2:46:39 left")
