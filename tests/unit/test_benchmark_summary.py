"""A bar that was missed fails the benchmarks, when all of them have run."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))
from summary import Entry, main, missed, record  # noqa: E402


def test_missed_bars_are_found_in_the_file(tmp_path):
    file = tmp_path / "summary.json"
    assert missed(file) == []
    fast = Entry("fast", 9.0, 2.0, "rows/s", 4.0, "higher")
    slow = Entry("slow", 3.0, 2.0, "rows/s", 4.0, "higher")
    close = Entry("close", 1e-5, 1.0, "error", 1e-4, "lower")
    record([fast, close], file)
    record([slow], file)
    assert missed(file) == [slow]
    with pytest.raises(SystemExit, match=r"slow: 3 / 2 rows/s = 1.500, bar >= 4.0: MISSED"):
        main(file)
    record([Entry("slow", 8.0, 2.0, "rows/s", 4.0, "higher")], file)
    assert missed(file) == []
    main(file)
