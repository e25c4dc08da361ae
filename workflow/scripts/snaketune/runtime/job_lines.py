"""The words of a line about a job: how far it is and what came of it, by its log and its files;
what the log of a failed one ends with; why it runs."""

import json
import math
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from snaketune.plan.table_plan import percent_figure
from snaketune.runtime.errors import in_terminal, visible
from snaketune.runtime.job import duration

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
    speaks: bool = False
    """It says what it finds, and fails by that."""
    minutes: float = math.inf
    """What it was expected to take at most."""
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it started."""
        return time.monotonic() - self.start


def in_columns(sign: str, label: str, seconds: str, note: str) -> str:
    """A line; the label as wide as it needs."""
    return f"{sign} {label:<44} {seconds:>9}  {note}".strip()


_REASONS = {
    "Missing output files": "not there yet",
    "Input files updated by another job": "after what it reads",
    "Updated input files": "its input changed",
    "Params have changed since last execution": "its settings changed",
    "Set of input files has changed since last execution": "it reads other files",
    "Software environment definition has changed since last execution": "its environment changed",
}


def why_it_runs(text: str) -> str:
    """Why a job runs, without the names of files."""
    found = [part.partition(":") for part in text.split("; ")]
    said = [_REASONS.get(head, head) for head, _, _ in found]
    line = ", ".join(dict.fromkeys(part.splitlines()[0] for part in said if part))
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _tail(job: ListedJob, size: int) -> str:
    """The last `size` bytes of the job's logs, which Snakemake empties before each attempt."""
    found = []
    for log in job.logs:
        with suppress(OSError), Path(log).open("rb") as opened:
            opened.seek(max(0, Path(log).stat().st_size - size))
            found.append(opened.read().decode("utf-8", errors="replace"))
    return "\n".join(found)


def _last_progress(job: ListedJob) -> re.Match[str] | None:
    found = list(_PROGRESS.finditer(_tail(job, 4000)))
    return found[-1] if found else None


def how_far(job: ListedJob) -> str:
    """How far a job is, by its log."""
    match = _last_progress(job)
    if match is None:
        return f" {duration(round(job.seconds))}"
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
_STATISTICS = Path("/proc/vmstat")


def kills_for_memory() -> int | None:
    """How many processes of this machine its system has killed for want of memory since it began;
    None where it doesn't tell."""
    try:
        found = re.search(r"^oom_kill (\d+)$", _STATISTICS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def killed_words(before: int | None) -> str:
    """What to say of a job that ended without a word, where so many had been killed for want of
    memory before it."""
    now = kills_for_memory()
    if before is not None and now is not None and now > before:
        return (
            "error: out of memory: the system killed it, as main memory was full\n"
            "What to do: run fewer jobs at once (--cores, --resources gpu=1) or take a smaller "
            "model, a smaller batch_size or more memory (`resources: {memory_gb: N}` on a "
            "cluster), then start the same command again; finished steps stay finished."
        )
    return (
        "error: it was ended from outside, or by a crash in a library, before it could say why\n"
        "What to do: start the same command again; if it ends alike, report it with its log."
    )


def log_end(job: ListedJob, kills: int | None = None) -> str:
    """What a failed job's log ends with: its last fault and what to do; of a traceback the end.
    Where it tells no fault, what ended the job: `kills` is as `killed_words` takes it."""
    text = in_terminal(_tail(job, 40_000)).strip()
    starts = [
        match.start() for match in re.finditer(r"^(error: |stopped|Traceback \()", text, re.M)
    ]
    lines = text[starts[-1] if starts else 0 :].splitlines()
    shown = lines if len(lines) <= _SHOWN else ["…", *lines[-_SHOWN:]]
    return "\n".join(shown if starts or job.speaks else [*shown[-3:], killed_words(kills)])


# `WorkflowError in file "…/Snakefile", line 43:`, and where Python was, below the message.
_RAISED = re.compile(r"\AWorkflowError(?: in .*?)?:?\n")
_PLACE = re.compile(r'\n  File "[^"\n]*", line \d+, in [^\n]*(?=\n  File |\s*\Z)')


def plain_fault(text: str) -> str:
    """What Snakemake says of an error, without where its own code and the Snakefile raised it."""
    message = _RAISED.sub("", text)
    if message == text:  # no fault of the user's: then the place tells something
        return text
    while (shorter := _PLACE.sub("", message)) != message:
        message = shorter
    return message.strip()
