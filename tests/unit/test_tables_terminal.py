"""The table that a run ends with."""

import subprocess
import sys
from pathlib import Path

import pytest

from snaketune.tables.terminal import WIDTH, format_summary

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def _result(value, n=100, protocol="gsm8k", metric="accuracy", **counts):
    ends = (None, None) if value is None else (value - 0.05, value + 0.05)
    return {
        "metric": metric,
        "protocol": protocol,
        "value": value,
        "n": n,
        "low": ends[0],
        "high": ends[1],
        "counts": {"total": n, **counts},
    }


def _run(name, evals, base_evals, kind="undecided"):
    return {
        "verdicts": {eval_name: {"kind": kind} for eval_name in evals},
        "run": name,
        "evals": evals,
        "base_state": "base-tiny",
        "base_evals": base_evals,
    }


def _comparison(run, difference, verdict):
    return {
        "run": run,
        "eval": "gsm8k",
        "metric": "accuracy",
        "subset": "all",
        "difference": difference,
        "verdict": verdict,
    }


NO_GATE = {"outcome": "skipped", "checks": []}


def _format(*runs, comparisons=(), gate=NO_GATE):
    final = {"experiment": "e", "headline": [], "runs": list(runs)}
    return format_summary(final, comparisons, gate)


def test_a_run_stands_under_its_base_with_its_gain():
    evals, base = {"gsm8k": _result(0.43, unparsed=7)}, {"gsm8k": _result(0.2)}
    run = _run("simple", evals, base, kind="form")
    text = _format(run, comparisons=[_comparison("simple", "0.23", "better")])
    lines = text.splitlines()
    assert lines[0] == "gsm8k"
    assert lines[2].split() == ["base-tiny", "20.0", "%", "15.0", "to", "25.0", "100"]
    assert lines[3].split()[:7] == ["simple", "43.0", "%", "38.0", "to", "48.0", "100"]
    assert lines[3].split()[7:] == ["+23.0", "form", "7", "unparsed"], "the verdict, not p alone"


def test_a_metric_that_is_no_share_has_neither_percent_nor_points():
    metric = "token_probability"
    evals, base = {"gsm8k": _result(0.153, metric=metric)}, {"gsm8k": _result(0.125, metric=metric)}
    compared = _comparison("simple", "0.028", "better") | {"metric": metric}
    lines = _format(_run("simple", evals, base, kind="better"), comparisons=[compared]).splitlines()
    assert lines[2].split() == ["base-tiny", "0.125", "0.075", "to", "0.175", "100"]
    assert lines[3].split() == [
        *["simple", "0.153", "0.103", "to", "0.203", "100", "+0.028", "better"]
    ]


def test_the_answer_comes_first_and_keeps_to_the_width():
    evals = {"gsm8k": _result(0.43)}
    sentence = "gsm8k: " + "learned the answer's form, no significant gain in content, " * 3
    final = {"experiment": "e", "headline": [sentence], "runs": [_run("a", evals, evals)]}
    lines = format_summary(final, [], NO_GATE).splitlines()
    assert lines[0].startswith("gsm8k: learned the answer's form")
    assert lines[1].startswith("  ")
    assert max(map(len, lines)) <= WIDTH


def test_a_base_stands_once_for_each_protocol():
    base, other = {"gsm8k": _result(0.2)}, {"gsm8k": _result(0.2, protocol="gsm8k-few_shot_5")}
    text = _format(_run("a", base, base), _run("b", base, base), _run("c", other, other))
    starts = [line.split("  ")[0] for line in text.splitlines() if line.startswith("base")]
    assert starts == ["base-tiny", "base-tiny (few_shot_5)"]


def test_what_is_missing_is_called_missing():
    run = _run("a", {"gsm8k": _result(None, n=0)}, {"gsm8k": _result(None, n=0)})
    comparison = _comparison("a", "", "nothing to compare")
    text = _format(run, comparisons=[comparison])
    assert text.count("missing") == 2
    assert "0.0 %" not in text


@pytest.mark.parametrize(
    ("difference", "shown"),
    [
        ("0.0", "0.0"),
        ("0.0004", "+0.04"),
        ("-0.000001", "0.0"),
        ("0.125", "+12.5"),
        ("-0.02", "−2.0"),
    ],
)
def test_differences_are_written_as_in_the_headline(difference, shown):
    evals = {"gsm8k": _result(0.43)}
    text = _format(_run("a", evals, evals), comparisons=[_comparison("a", difference, "better")])
    assert f" {shown}  undecided" in text


@pytest.mark.parametrize(
    ("outcome", "message", "line"),
    [
        ("failed", "found 20.0 %", "✗ a: gsm8k.accuracy at least 30.0 %: found 20.0 %"),
        ("undecided", "about 9 rows needed", "? a: gsm8k.accuracy at least 30.0 %: about 9 rows"),
        ("skipped", "left out", "– a: gsm8k.accuracy at least 30.0 %: left out"),
    ],
)
def test_the_gate_comes_last_with_what_was_not_passed(outcome, message, line):
    check = {"run": "a", "check": "gsm8k.accuracy at least 30.0 %", "outcome": outcome}
    evals = {"gsm8k": _result(0.43)}
    passed = check | {"outcome": "passed", "message": "found 43.0 %"}
    gate = {"outcome": outcome, "checks": [check | {"message": message}, passed]}
    text = _format(_run("a", evals, evals), gate=gate)
    assert f"\ngate: {outcome} (1 of 2 checks passed: tables/gate.md)\n  {line}" in text
    assert "found 43.0 %" not in text.partition("gate")[2]
    assert "gate" not in _format(_run("a", evals, evals)), "nothing was asked"
    gate["checks"][0]["message"] = "long words " * 20
    lines = _format(_run("a", evals, evals), gate=gate).splitlines()
    assert max(map(len, lines)) <= WIDTH


def test_long_names_are_cut_to_the_width():
    evals = {"gsm8k": _result(0.43, unparsed=1000, empty=1000)}
    text = _format(_run("r" * 120, evals, evals))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "rrr…" in text


def test_the_snakefile_can_import_it_without_heavy_libraries():
    code = (
        "import sys; import snaketune.tables.terminal; "
        "print([m for m in ('numpy', 'pandas', 'pyarrow', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPTS, check=True
    )
    assert done.stdout.strip() == "[]"
