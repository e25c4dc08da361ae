"""The table that a run ends with, in plain text. Light: the Snakefile's own process calls it."""

import csv
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snaketune.plan.table_plan import GATE_SIGNS, PLAIN, change_figure, level_figure
from snaketune.runtime.content import FINAL_METRICS
from snaketune.runtime.errors import in_terminal
from snaketune.runtime.files import read_json

Json = dict[str, Any]
Row = dict[str, str]
Compared = dict[tuple[str, str], Row]
"""Comparisons by run and eval, of the eval's primary metric."""

WIDTH = 100

_NOTES = (
    "Intervals are 95 %. vs base: points on the same rows. Better: p < 0.05 (adjusted for all of\n"
    "an eval's runs by Holm), in content too, above guessing, without rows that training held."
)


def summary_of(folder: Path) -> str:
    """The text for an experiment's folder."""
    final, gate = (read_json(folder / name) for name in (FINAL_METRICS, "tables/gate.json"))
    with (folder / "tables/comparisons.csv").open(newline="", encoding="utf-8") as file:
        return in_terminal(format_summary(final, list(csv.DictReader(file)), gate))


def format_summary(final: Json, comparisons: Iterable[Row], gate: Json) -> str:
    """The answer first, a sentence an eval; then a block an eval: each base, and under it the runs
    with the same protocol; the gate last.

    `final` is `final_metrics.json`, `comparisons` the rows of `comparisons.csv`, `gate` is
    `gate.json`. Lines have at most 100 columns, names are cut where they would need more.
    """
    rows = list(comparisons)
    names = dict.fromkeys(name for run in final["runs"] for name in run["evals"])
    joined = final.get("joined", [])
    blocks = [_block(name, final["runs"], joined, rows) for name in names]
    judged = [_gate(gate)] if gate["checks"] else []
    answer = "\n".join(_wrapped(sentence) for sentence in final["headline"])
    blocks = [answer, *blocks] if answer else blocks
    return "\n\n".join([*blocks, _NOTES, *judged]) + "\n"


def _wrapped(sentence: str, first: str = "", then: str = "  ") -> str:
    return textwrap.fill(
        sentence, WIDTH, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
    )


def _block(name: str, runs: list[Json], joined: list[Json], comparisons: list[Row]) -> str:
    runs = [run for run in runs if name in run["evals"]]
    metric = runs[0]["evals"][name]["metric"]
    compared = {
        (row["run"], row["eval"]): row
        for row in comparisons
        if (row["metric"], row["subset"]) == (metric, "all")
    }
    lines: list[tuple[str, ...]] = [
        ("", metric.replace("_", " "), "interval", "n", "vs base", "", "")
    ]
    named = {run["run"] for run in runs}
    shown: list[tuple[str, str]] = []
    for run in runs:
        base = run["base_evals"].get(name)
        # Runs under one protocol share their base's line.
        known = run["base_state"] in named
        if base and not known and (run["base_state"], base["protocol"]) not in shown:
            shown.append((run["base_state"], base["protocol"]))
            lines.append(
                (
                    _under(base, name, run["base_state"]),
                    *_result(base),
                    "",
                    "",
                    _apart(base),
                )
            )
        result = run["evals"][name]
        change = _change(compared.get((run["run"], name)), run["verdicts"][name])
        lines.append((f"  {run['run']}", *_result(result), *change, _apart(result)))
    for row in joined:
        if result := row["evals"].get(name):
            change = _change(compared.get((row["run"], name)), row["verdicts"][name])
            seeds = f"  {row['run']}: {len(row['runs'])} seeds"
            lines.append((seeds, *_result(result), *change, _between(result)))
    return f"{name}\n" + _aligned(lines)


def _under(result: Json, name: str, state: str) -> str:
    """The state, and its protocol where that differs from the eval's own settings."""
    changed = result["protocol"].removeprefix(name).lstrip("-")
    return f"{state} ({changed})" if changed else state


def _result(result: Json) -> tuple[str, str, str]:
    if result["value"] is None:
        return "missing", "", "0"
    known = result["low"] is not None
    low, high = (
        level_figure(result[end], result["metric"]).removesuffix(" %") if known else ""
        for end in ("low", "high")
    )
    value = level_figure(result["value"], result["metric"])
    return value, f"{low} to {high}" if known else "", str(result["n"])


def _apart(result: Json) -> str:
    """What has no verdict or no number: `12 unparsed, 1 empty`."""
    counts = result["counts"]
    kinds = [kind for kind in ("unparsed", "empty") if counts.get(kind)]
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds)


def _between(result: Json) -> str:
    """How far seeds lie apart: `SD 1.2 between seeds`, in points where the metric is a share."""
    found, plain = result["between_seeds"], result["metric"] in PLAIN
    if found is None:
        return ""
    return f"SD {found:.3f} between seeds" if plain else f"SD {100 * found:.1f} between seeds"


def _change(row: Row | None, said: Json) -> tuple[str, str]:
    if row is None or not row["difference"]:
        return "", "" if said["kind"] == "not compared" else said["kind"]
    return change_figure(float(row["difference"]), row["metric"]), said["kind"]


def _aligned(lines: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell: words to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    widths[0] = max(8, min(widths[0], WIDTH - 2 * len(widths) - sum(widths[1:])))
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *numbers, mark, apart = cells
    text = [_cut(first, widths[0]).ljust(widths[0])]
    text += [cell.rjust(width) for cell, width in zip(numbers, widths[1:-2], strict=True)]
    text += [mark.ljust(widths[-2]), apart]
    return "  ".join(text).rstrip()


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _gate(gate: Json) -> str:
    """What came of it, and each check that was not passed: `snakemake gate` ends by the same."""
    checks = gate["checks"]
    passed = sum(check["outcome"] == "passed" for check in checks)
    lines = [f"gate: {gate['outcome']} ({passed} of {len(checks)} checks passed: tables/gate.md)"]
    for check in checks:
        if check["outcome"] != "passed":
            sign = GATE_SIGNS[check["outcome"]]
            said = f"{sign} {check['run']}: {check['check']}: {check['message']}"
            lines.append(_wrapped(said, "  ", "    "))
    return "\n".join(lines)
