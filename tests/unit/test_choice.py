"""The best snapshot: numeric order, ties to the earliest, never a missing value."""

import json
from pathlib import Path

import pytest

from snaketune.runtime.errors import UserError
from snaketune.tables.choose_snapshot import choose_snapshot


def metrics(folder: Path, values: list[float | None]) -> list[Path]:
    files = []
    for i, value in enumerate(values):
        rows = [
            {"eval": "math", "subset": "all", "metric": "accuracy", "value": value},
            {"eval": "math", "subset": "hard", "metric": "accuracy", "value": 1.0},
        ]
        files.append(folder / f"{i}.json")
        files[-1].write_text(json.dumps({"rows": rows}))
    return files


@pytest.mark.parametrize(
    ("values", "best"), [([0.1, 0.3, 0.2], 1), ([0.3, 0.3, 0.2], 0), ([0.0, 0.0, 0.1], 2)]
)
def test_the_best_wins_and_of_equals_the_earliest(
    tmp_path: Path, values: list[float], best: int
) -> None:
    names = ["1of3", "2of3", "3of3"]
    choice = choose_snapshot(metrics(tmp_path, values), names, "math.accuracy")
    assert (choice["index"], choice["snapshot"]) == (best, names[best])
    assert choice["scores"] == dict(zip(names, values, strict=True))


@pytest.mark.parametrize("choose", ["math.f1", "safety.accuracy"])
def test_a_metric_that_is_not_there(tmp_path: Path, choose: str) -> None:
    with pytest.raises(UserError, match=f"no value for {choose}"):
        choose_snapshot(metrics(tmp_path, [0.1]), ["1of1"], choose)


def test_a_missing_value_is_not_zero(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no value for math\.accuracy"):
        choose_snapshot(metrics(tmp_path, [0.1, None]), ["1of2", "2of2"], "math.accuracy")
