"""Is it fit to release? Thresholds, figures that are refused, and whether a run is not worse.

A run is not worse than its base, or than the same run of an earlier experiment, where the whole
95 % interval of the difference on the same rows lies above the margin that may be lost
(non-inferiority); it is worse where the whole interval lies below it; else it is undecided, which
is an outcome of its own. `gate.json` holds every check, `gate.xml` is for what reads JUnit's, and
`gate.md` for a CI's summary.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, TypedDict
from xml.etree import ElementTree as Xml

from snaketune.plan.table_plan import (
    GATE_SIGNS,
    RunPlan,
    TablePlan,
    change_figure,
    level_figure,
)
from snaketune.runtime.content import FINAL_METRICS
from snaketune.runtime.errors import UserError, in_markdown, visible
from snaketune.runtime.files import read_json, read_rows, write_json, write_text
from snaketune.statistics.paired import compare
from snaketune.tables.sources import Row, TableSources
from snaketune.tasks.task import ALL, task_of

GateOutcome = Literal["passed", "failed", "undecided", "skipped"]
Json = Mapping[str, Any]


class GateCheck(TypedDict):
    """One thing that was judged."""

    run: str
    check: str
    """`gsm8k.accuracy at least 30.0 %`"""
    outcome: GateOutcome
    """`skipped`: there was nothing to judge it by."""
    message: str
    """What was found, and what was expected."""


class GateResult(TypedDict):
    """`gate.json`"""

    experiment: str
    outcome: GateOutcome
    """`skipped`: nothing was asked."""
    checks: list[GateCheck]


def judge_gate(
    plan: TablePlan, final: Json, compared: Iterable[Row], sources: TableSources, gate: Json
) -> GateResult:
    """Every check of the experiment. `gate` is the config's section, `final` final_metrics.json,
    `compared` the rows of comparisons.csv."""
    rows = {(r["run"], r["eval"], r["metric"]): r for r in compared if r["subset"] == ALL}
    checks = [check for result in final["runs"] for check in _of_figures(result)]
    for run in plan.runs:
        for key, margin in gate["not_worse"].items():
            name, _, metric = key.partition(".")
            if name in run.evals:
                checks.append(_than_base(run, key, margin, rows.get((run.run, name, metric))))
                if gate["against"]:
                    checks.append(_than_earlier(run, key, margin, sources, Path(gate["against"])))
    return GateResult(
        experiment=plan.experiment, outcome=_whole(checks, gate["undecided"]), checks=checks
    )


def _whole(checks: list[GateCheck], undecided: str) -> GateOutcome:
    found = {check["outcome"] for check in checks}
    if "failed" in found:
        return "failed"
    if "undecided" in found and undecided == "fail":
        return "undecided"
    return "passed" if found - {"skipped"} else "skipped"


def _of_figures(result: Json) -> Iterator[GateCheck]:
    """Thresholds, and figures that are refused whether or not there is a threshold on them."""
    run = result["run"]
    for entry in result["thresholds"]:
        check = f"{entry['metric']} at least {level_figure(entry['at_least'], _metric_of(entry))}"
        outcome, message = _of_threshold(entry)
        yield GateCheck(run=run, check=check, outcome=outcome, message=message)
    for name, found in result["evals"].items():
        if found["value"] is None:
            counts = found["counts"]
            apart = [f"{counts[kind]} {kind}" for kind in _APART if counts.get(kind)]
            listed = ", ".join(apart) or "no row has an outcome"
            message = f"refused: too little could be read ({listed}, {counts['total']} in all)"
            check = f"{name}.{found['metric']} has a figure"
            yield GateCheck(run=run, check=check, outcome="failed", message=message)


def _of_threshold(entry: Json) -> tuple[GateOutcome, str]:
    if entry["passed"] is None:
        return "skipped", "the run leaves this eval out"
    if entry["value"] is None:
        return "failed", "there is no figure"
    found = level_figure(entry["value"], _metric_of(entry))
    return "passed" if entry["passed"] else "failed", f"found {found}"


def _metric_of(entry: Json) -> str:
    return str(entry["metric"]).rpartition(".")[2]


_APART = ("unparsed", "empty")


def _than_base(run: RunPlan, key: str, margin: float, row: Row | None) -> GateCheck:
    than = run.base_state or "its base"
    if row is None:
        return _check(run, key, margin, than, "skipped", "there is nothing to compare with")
    return _within(run, key, margin, than, row)


def _than_earlier(
    run: RunPlan, key: str, margin: float, sources: TableSources, folder: Path
) -> GateCheck:
    """Against the run of the same name in the earlier experiment, on the same rows."""
    name, _, metric = key.partition(".")
    than, spec = f"{run.run} in {folder.name}", run.evals[name]
    final = read_json(folder / FINAL_METRICS)
    before = next((result for result in final["runs"] if result["run"] == run.run), None)
    if before is None or name not in before["evals"]:
        return _check(run, key, margin, than, "skipped", f"{folder} has no such run and eval")
    earlier = before["evals"][name]
    now = sources.document(run.state, spec)["protocol_hash"]
    if earlier["protocol_hash"] != now:
        found = f"measured under another protocol ({earlier['protocol_hash']}, now {now})"
        return _check(run, key, margin, than, "failed", f"{found}: figures don't compare")
    file = folder / "scores" / before["state"] / f"{earlier['protocol']}.parquet"
    if not file.is_file():
        return _check(run, key, margin, than, "failed", f"{file} is not there to compare with")
    try:
        outcome = task_of(spec.task).paired[metric]
        row = compare(read_rows(file), sources.rows(run.state, spec), outcome)
    except UserError as error:
        return _check(run, key, margin, than, "failed", str(error))
    return _within(run, key, margin, than, row)


def _within(run: RunPlan, key: str, margin: float, than: str, found: Json) -> GateCheck:
    """Where the interval of the difference lies to the margin."""
    low, high, n = found["low"], found["high"], found["n"]
    if not n:
        return _check(run, key, margin, than, "failed", "no row has an outcome for both")
    metric = key.rpartition(".")[2]
    said = f"difference {change_figure(found['difference'], metric, ' points')}"
    if low is None or high is None:
        return _check(run, key, margin, than, "undecided", f"{said}, without an interval")
    said += f" ({change_figure(low, metric)} to {change_figure(high, metric)}, {n:,} rows)"
    if low > -margin:
        return _check(run, key, margin, than, "passed", said)
    if high < -margin:
        return _check(run, key, margin, than, "failed", said)
    needed = rows_needed(found["difference"], low, high, n, margin)
    about = f"about {needed:,} rows needed" if needed else "no number of rows would settle it"
    return _check(run, key, margin, than, "undecided", f"undecided: {about}; {said}")


def rows_needed(
    difference: float, low: float, high: float, n: int, margin: float, power: float = 0.8
) -> int | None:
    """With so many rows, which differ as these do, the interval clears the margin with this power
    where both are alike; where as many are there already, at the difference that was found. To two
    figures; None where no number would do."""
    z, beta = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(power)
    error = (z + beta) / z * (high - low) / 2
    alike = n * (error / margin) ** 2 if margin else 0.0
    distance = abs(difference + margin)
    if alike <= n and distance < 1e-9:
        return None
    needed = alike if alike > n else n * (error / distance) ** 2
    step = 10 ** max(0, len(str(int(needed))) - 2)
    return max(n + 1, ceil(needed / step) * step)


def _check(
    run: RunPlan, key: str, margin: float, than: str, outcome: GateOutcome, message: str
) -> GateCheck:
    least = change_figure(margin, key.rpartition(".")[2], " points").removeprefix("+")
    lost = f" by more than {least}" if margin else ""
    check = f"{key} not worse than {than}{lost}"
    return GateCheck(run=run.run, check=check, outcome=outcome, message=message)


def write_gate(judged: GateResult, folder: Path) -> None:
    """`gate.json`, `gate.xml` and `gate.md`."""
    write_json(folder / "gate.json", judged)
    write_text(folder / "gate.xml", junit(judged))
    write_text(folder / "gate.md", gate_markdown(judged))


def junit(judged: GateResult) -> str:
    """The checks as JUnit's test cases, one suite a run. What is undecided is a failure of type
    `undecided` where it fails the gate, else skipped."""
    suites = Xml.Element("testsuites", name=visible(judged["experiment"]))
    for run in dict.fromkeys(check["run"] for check in judged["checks"]):
        checks = [check for check in judged["checks"] if check["run"] == run]
        kinds = [_case(check, judged) for check in checks]
        suite = Xml.SubElement(suites, "testsuite", name=visible(run), tests=str(len(checks)))
        suite.attrib |= {"failures": str(kinds.count("failure")), "errors": "0"}
        suite.set("skipped", str(kinds.count("skipped")))
        for check, kind in zip(checks, kinds, strict=True):
            case = Xml.SubElement(suite, "testcase", name=visible(check["check"]))
            case.set("classname", visible(f"{judged['experiment']}.{run}"))
            if kind:
                why = Xml.SubElement(case, kind, message=visible(check["message"]))
                why.attrib |= {"type": check["outcome"]} if kind == "failure" else {}
    Xml.indent(suites)
    return Xml.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def _case(check: GateCheck, judged: GateResult) -> str:
    if check["outcome"] == "undecided":
        return "skipped" if judged["outcome"] == "passed" else "failure"
    return {"passed": "", "failed": "failure", "skipped": "skipped"}[check["outcome"]]


def gate_markdown(judged: GateResult) -> str:
    """A table for a CI's summary."""
    lines = [f"**Gate {judged['experiment']}: {judged['outcome']}**", ""]
    lines += ["| | run | check | found |", "| --- | --- | --- | --- |"]
    for check in judged["checks"]:
        said = " | ".join(map(in_markdown, (check["run"], check["check"], check["message"])))
        lines.append(f"| {GATE_SIGNS[check['outcome']]} | {said} |")
    return "\n".join(lines) + "\n"


def require_passed(judged: Json, at: Path) -> str:
    """The gate's last line. Raises `UserError` with all that stands against a release."""
    checks = judged["checks"]
    lines = [f"  {c['run']}: {c['check']}: {c['message']}" for c in checks if c["outcome"] in _BAD]
    if judged["outcome"] == "skipped":
        raise UserError(
            "the gate has nothing to judge; expected `thresholds`, or `gate: {not_worse: "
            "{EVAL.METRIC: MARGIN}}`, of evals that the runs have"
        )
    if judged["outcome"] != "passed":
        listed = "\n".join(lines)
        raise UserError(f"the gate is {judged['outcome']} (all checks: {at}):\n{listed}")
    passed = sum(check["outcome"] == "passed" for check in checks)
    rest = ":\n" + "\n".join(lines) if lines else "."
    return f"Gate passed: {passed} of {len(checks)} checks{rest}"


_BAD = ("failed", "undecided", "skipped")
