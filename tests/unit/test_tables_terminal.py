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


def _run(name, evals, base_evals, thresholds=(), kind="undecided"):
    return {
        "verdicts": {eval_name: {"kind": kind} for eval_name in evals},
        "run": name,
        "evals": evals,
        "base_state": "base-tiny",
        "base_evals": base_evals,
        "thresholds": list(thresholds),
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


def _format(*runs, comparisons=()):
    final = {"experiment": "e", "headline": [], "runs": list(runs)}
    return format_summary(final, comparisons)


def test_a_run_stands_under_its_base_with_its_gain():
    evals, base = {"gsm8k": _result(0.43, unparsed=7)}, {"gsm8k": _result(0.2)}
    run = _run("simple", evals, base, kind="form")
    text = _format(run, comparisons=[_comparison("simple", "0.23", "better")])
    lines = text.splitlines()
    assert lines[0] == "gsm8k"
    assert lines[2].split() == ["base-tiny", "20.0", "%", "15.0", "to", "25.0", "100"]
    assert lines[3].split()[:7] == ["simple", "43.0", "%", "38.0", "to", "48.0", "100"]
    assert lines[3].split()[7:] == ["+23.0", "form", "7", "unparsed"], "the verdict, not p alone"


def test_the_answer_comes_first_and_keeps_to_the_width():
    evals = {"gsm8k": _result(0.43)}
    sentence = "gsm8k: " + "learned the answer's form, no significant gain in content, " * 3
    final = {"experiment": "e", "headline": [sentence], "runs": [_run("a", evals, evals)]}
    lines = format_summary(final, []).splitlines()
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
    ("value", "passed", "line"),
    [
        (0.43, True, "✓ a: gsm8k.accuracy 43.0 % (at least 30.0 %)"),
        (0.2, False, "✗ a: gsm8k.accuracy 20.0 % (at least 30.0 %)"),
        (None, None, "? a: gsm8k.accuracy was not evaluated (at least 30.0 %)"),
    ],
)
def test_thresholds(value, passed, line):
    entry = {"metric": "gsm8k.accuracy", "at_least": 0.3, "value": value, "passed": passed}
    evals = {"gsm8k": _result(0.43)}
    assert line in _format(_run("a", evals, evals, [entry]))


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
