"""The words of a line about a job: how far it is and what came of it, by its log and its files;
what the log of a failed one ends with; why it runs."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snaketune.plan.table_plan import percent_figure
from snaketune.runtime.errors import in_terminal, visible

WIDTH = 100
# What a line of `snaketune.runtime.job.Progress` says: done/total unit, rate, time left, note.
_PROGRESS = re.compile(r"^(\d+)/(\d+) (\S+), .*?, (\d+:\d\d:\d\d) left(?:, (.*))?$", re.MULTILINE)


@dataclass
class ListedJob:
    """A job that runs."""

    label: str
    """The rule, and the run, state or eval that it is for."""
    rule: str
    grouped: bool
    """It shares a line with all of its rule."""
    logs: list[str]
    outputs: list[str]
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it started."""
        return time.monotonic() - self.start


def in_columns(sign: str, label: str, seconds: str, note: str) -> str:
    """A line; the label as wide as it needs."""
    return f"{sign} {label:<44} {seconds:>9}  {note}".strip()


def time_in_words(seconds: float) -> str:
    """`12 s`, `3 min 05 s`, `2 h 10 min`"""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole // 60 % 60:02} min"


_REASONS = {
    "Missing output files": "not there yet",
    "Input files updated by another job": "after what it reads",
    "Updated input files": "its input changed",
}


def why_it_runs(text: str) -> str:
    """Why a job runs, without the names of files."""
    found = [part.partition(":") for part in text.split("; ")]
    said = [_REASONS.get(head, head) for head, _, _ in found]
    line = ", ".join(dict.fromkeys(part.splitlines()[0] for part in said if part))
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _tail(file: str, size: int) -> str:
    path = Path(file)
    try:
        with path.open("rb") as opened:
            opened.seek(max(0, path.stat().st_size - size))
            return opened.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _last_progress(job: ListedJob) -> re.Match[str] | None:
    found = [match for log in job.logs for match in _PROGRESS.finditer(_tail(log, 4000))]
    return found[-1] if found else None


def how_far(job: ListedJob) -> str:
    """How far a job is, by its log."""
    match = _last_progress(job)
    if match is None:
        return f" {time_in_words(job.seconds)}"
    done, total, unit, left, note = match.groups()
    first = f", {visible(note).split(', ')[0]}" if note else ""
    return f" {done}/{total} {unit}, {left} left{first}"


def outcome(job: ListedJob) -> str:
    """What came of a job: the score that it measured, else how much it did and its last loss."""
    for file in job.outputs:
        if job.rule == "measure" and "/metrics/" in file and (score := _score(Path(file))):
            return score
    match = _last_progress(job)
    if match is None:
        return ""
    _, total, unit, _, note = match.groups()
    first = f", {visible(note).split(', ')[0]}" if note and note.startswith("loss") else ""
    return f"{total} {unit}{first}"


def _score(file: Path) -> str:
    """The first metric of all rows: each task's own comes first."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        row = next(row for row in rows if row["subset"] == "all")
    except (OSError, ValueError, KeyError, StopIteration):
        return ""
    if row["value"] is None:
        return f"{row['metric']} missing"
    share = row["low"] is not None and 0 <= row["value"] <= 1
    value = f"{percent_figure(row['value'])} %" if share else f"{row['value']:.4g}"
    return f"{row['metric'].replace('_', ' ')} {value} of {row['n']}" if share else value


_SHOWN = 25


def log_end(logs: Sequence[str]) -> str:
    """What a failed job's log ends with: its last fault and what to do; of a traceback the end."""
    text = in_terminal("\n".join(_tail(log, 40_000) for log in logs)).strip()
    starts = [
        match.start() for match in re.finditer(r"^(error: |stopped|Traceback \()", text, re.M)
    ]
    lines = text[starts[-1] if starts else 0 :].splitlines()
    return "\n".join(lines if len(lines) <= _SHOWN else ["…", *lines[-_SHOWN:]])
