"""Paired comparison of two states."""

import pytest

from snaketune.runtime.errors import UserError
from snaketune.statistics.paired import compare


def _scores(hits):
    return [{"id": str(i), "hit": hit} for i, hit in enumerate(hits)]


def _compare(base, tuned):
    return compare(_scores(base), _scores(tuned), lambda score: score["hit"])


def test_better():
    found = _compare([False] * 12 + [True] * 8, [True] * 10 + [False] * 2 + [True] * 8)
    assert (found["only_base"], found["only_tuned"]) == (0, 10)
    assert found["difference"] == 0.5
    assert found["p"] == 2 / 2**10
    assert found["low"] < 0.5 < found["high"]
    assert found["verdict"] == "better"


def test_worse():
    assert _compare([True] * 20, [False] * 20)["verdict"] == "worse"


def test_fifteen_rows_show_nothing():
    found = _compare([True] + [False] * 14, [True] * 3 + [False] * 12)
    assert found["difference"] > 0
    assert found["verdict"] == "no significant difference"


def test_equal_answers_give_no_interval():
    found = _compare([True] * 4, [True] * 4)
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0, None, None, 1)
    assert found["verdict"] == "no significant difference"


def test_pairs_with_a_missing_side_are_left_out_and_counted():
    found = _compare([True, None, False, True], [True, True, None, False])
    assert (found["n"], found["left_out"]) == (2, 2)
    assert (found["base"], found["tuned"]) == (1.0, 0.5)


def test_nothing_to_compare_is_missing():
    found = _compare([None], [True])
    assert found["verdict"] == "nothing to compare"
    assert found["difference"] is found["p"] is None


def test_rows_are_paired_by_id_not_by_place():
    base, tuned = _scores([True, False]), _scores([True, False])[::-1]
    assert compare(base, tuned, lambda score: score["hit"])["only_base"] == 0


def test_other_rows_are_refused():
    with pytest.raises(UserError, match="2 and 1, 1 of them on one side only, such as '1'"):
        _compare([True, True], [True])
