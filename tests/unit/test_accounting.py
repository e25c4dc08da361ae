"""What goes in comes out or is counted, from records to numbers."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest

from snaketune.runtime.errors import UserError
from snaketune.tables.accounting import require_whole_chain
from snaketune.tables.sources import TableSources

PLAN: Any = SimpleNamespace(runs=[SimpleNamespace(run="first", train_data="own")])
WHOLE: dict[str, Any] = {
    "manifests": {
        "own": {
            "splits": {
                "train": {"in": 12, "out": 10, "rejected": {"no answer": 2}},
                "test": {"in": 5, "out": 5, "rejected": {}},
            }
        }
    },
    "stats": {"first": {"splits": {"train": {"in": 10, "out": 7, "dropped": {"long": 3}}}}},
    "train_meta": {"first": {"rows": 7}},
    "metrics": {
        ("first", "quiz"): {
            "protocol": {"dataset": "own", "split": "test", "sample": None},
            "counts": {"total": 5},
        }
    },
}


def found(**changes: Any) -> str:
    """What is said of the whole chain after changes of places, `a.b`, that nobody counted."""
    whole = deepcopy(WHOLE)
    for path, value in changes.items():
        *places, last = path.split("__")
        at = whole
        for place in places:
            at = at[("first", "quiz")] if place == "quiz" else at[place]
        at[last] = value
    try:
        require_whole_chain(PLAN, TableSources(scores={}, chosen={}, **whole))
    except UserError as fault:
        return str(fault)
    return ""


def test_a_whole_chain_is_no_fault() -> None:
    assert found() == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"manifests__own__splits__train__in": 13},
            "data/own/manifest.json: train: found 13 in, 10 out and 2 rejected",
        ),
        (
            {"stats__first__splits__train__dropped": {"long": 2}},
            "tokens of first, stats.json: train: found 10 in, 7 out and 2 dropped",
        ),
        (
            {"stats__first__splits__train": {"in": 9, "out": 7, "dropped": {"long": 2}}},
            "tokens of first, stats.json: train: found 9 examples in, of 10 that were prepared",
        ),
        (
            {"train_meta__first__rows": 6},
            "train/first/train_meta.json: found 6 rows, of 7 that were tokenized",
        ),
        (
            {"metrics__quiz__counts__total": 4},
            "metrics/first/quiz.json: found 4 rows, expected 5 of 5 that were prepared",
        ),
    ],
)
def test_what_was_lost_is_told_with_place_and_counts(change: dict[str, Any], said: str) -> None:
    assert said in found(**change).splitlines()[1]


@pytest.mark.parametrize(
    ("sample", "total", "whole"),
    [
        ({"count": 3}, 3, True),
        ({"count": 3}, 2, False),
        ({"count": 9}, 5, True),
        ({"count": 9}, 6, False),
        ({"fraction": 0.5, "count": None}, 5, True),
        ({"fraction": 0.5, "count": None}, 6, False),
    ],
)
def test_of_a_sample_so_many_rows_are_measured(sample: dict, total: int, whole: bool) -> None:
    change = {"metrics__quiz__protocol__sample": sample, "metrics__quiz__counts__total": total}
    assert (found(**change) == "") == whole


def test_rows_beyond_the_first_of_an_example_and_of_a_mixture_are_counted() -> None:
    split = {"in": 10, "out": 7, "dropped": {"long": 3}}
    for more, rows in (({"further_rows": 4}, 11), ({"occurrences": 21}, 21)):
        learned = {"stats__first__splits__train": split | more}
        assert found(**learned, train_meta__first__rows=rows) == ""
        assert f"of {rows} that were tokenized" in found(**learned, train_meta__first__rows=7)


def test_predictions_from_elsewhere_and_unknown_datasets_are_left_alone() -> None:
    assert found(metrics__quiz__protocol__dataset="other") == ""
    assert found(train_meta={}) == "" and found(stats={}) == ""
