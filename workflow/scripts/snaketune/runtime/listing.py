"""What a start says in the terminal, in the place of Snakemake's own listing: a line a job when it
ends, with what came of it; of a job that failed what its log ends with; in a terminal a last line
that shows what runs now.

What runs is read from the jobs' own logs, so that nothing has to be sent, on a cluster neither.
Rules that name no run and no state (data, models, checks) share a line when the last of their jobs
is done. Snakemake's own listing stays in `.snakemake/log`, and comes back with `--verbose` or
SNAKETUNE_LISTING=snakemake. Light: the Snakefile imports it. Events are known by their names, so
that nothing of Snakemake's is imported here; what has no known name is shown as it comes.
"""

import logging
import math
import os
import re
import shutil
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, TextIO

from snaketune.runtime.errors import in_terminal
from snaketune.runtime.job import LINES, LISTING, duration
from snaketune.runtime.job_lines import (
    WIDTH,
    ListedJob,
    how_far,
    in_columns,
    kills_for_memory,
    log_end,
    outcome,
    plain_fault,
    why_it_runs,
)

# Without a run or a state among its wildcards, a job is one of many like it.
_OWN_LINE = ("run", "state")
# Nor is one that checks, or that looks at replies before they are measured, which tells the score.
_ALIKE = ("prompts", "judge", "score_rewards")
_TARGETS = ("all", "ready", "download")
# They say in the terminal what they find, and nothing is painted over it.
_SPEAK = ("check", "preview", "talk", "gate")
_VARIANTS = re.compile(r"_(adapter|full)_\d+$|_vllm$|_gguf$|_shard$|_of_part$")

# Of what Snakemake says without an event's name, what a reader does without.
_CHATTER = (
    "Building DAG of jobs", "Using shell:", "Select jobs to execute", "Execute ", "Provided ",
    "Conda environments: ignored", "Singularity containers: ignored", "Group jobs: inactive",
    "DAG of jobs will be updated", "Updating ", "Shutting down", "Complete log(s):",
    "Elapsed time:", "Removing ", "Assuming unrestricted", "Rules with ", "Some jobs were trigg",
    "This was a dry-run", "The run involves checkpoint", "Workflow has started", "Reasons:",
    "Exiting because a job execution failed", "Trying to restart job", "Touching output",
    "Storing output", "Waiting for ", "Rules claiming more threads", "host:", "Shell command:",
)  # fmt: skip
_FAILED = "At least one job did not complete successfully"
_TERMINATING = "Terminating processes on user request"
STOPPED = "stopped by you; the same command goes on from here"
_LEFT = "finished steps stay finished; the same command goes on"


def take_over(logger: logging.Logger, workflow: Any, names: Mapping[str, str]) -> "Listing | None":
    """Puts a listing in the place of Snakemake's; None where its own is wanted, or where the
    terminal is another workflow's. `names` says what stands for a wildcard's value."""
    said = workflow.output_settings
    own = os.environ.get(LISTING) == "snakemake" or said.verbose or said.debug_dag
    if own or not workflow.is_main_process:
        return None
    for handler in list(logger.handlers):
        if handler.name == "DefaultStreamHandler":
            stream = sys.stdout if said.stdout else sys.stderr
            elsewhere = workflow.non_local_exec
            listing = Listing(stream, names, said.dryrun, said.nocolor, remote=elsewhere)
            listing.name = handler.name
            for wanted in handler.filters:  # --quiet
                listing.addFilter(wanted)
            logger.removeHandler(handler)
            logger.addHandler(listing)
            return listing
    return None


class Listing(logging.Handler):
    """Takes what Snakemake has to say, event by event."""

    def __init__(
        self,
        stream: TextIO,
        names: Mapping[str, str],
        dryrun: bool = False,
        nocolor: bool = False,
        remote: bool = False,
    ) -> None:
        super().__init__()
        self.stream, self.names, self.dryrun = stream, names, dryrun
        terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.live = terminal and not dryrun
        self.coloured = terminal and not nocolor and not os.environ.get("NO_COLOR")
        self.running: dict[int, ListedJob] = {}
        self.expected: Counter[str] = Counter()
        self.ended: dict[str, list[float]] = {}
        self.faults: dict[str, str] = {}
        self.told: set[str] = set()
        self.failed: dict[str, None] = {}
        self.done, self.total, self.stopped, self._counted = 0, 0, False, False
        self.kills, self.remote = kills_for_memory(), remote
        self._finished = threading.Event()
        self._watcher: threading.Thread | None = None

    # What Snakemake says.

    def emit(self, record: logging.LogRecord) -> None:
        told = {
            "job_info": self._job_info,
            "job_finished": self._job_finished,
            "job_error": self._job_error,
            "run_info": self._run_info,
            "progress": self._progress,
            "error": self._error,
        }
        event = str(getattr(record, "event", "") or "")
        try:
            if event in told:
                told[event](record.__dict__, record)
            elif not event and record.levelno > logging.DEBUG:
                self._message(record.getMessage())
        except Exception:  # a line that can't be made must not end a start
            self.handleError(record)

    def _job_info(self, about: dict[str, Any], record: logging.LogRecord) -> None:
        wildcards = dict(about["wildcards"] or {})
        rule = _VARIANTS.sub("", about["rule_name"])
        values = [self.names.get(str(value), str(value)) for value in wildcards.values()]
        job = ListedJob(
            label=" ".join([rule, *values]),
            rule=rule,
            grouped=self.expected[rule] > 1
            and (rule in _ALIKE or not any(key in wildcards for key in _OWN_LINE)),
            logs=list(about["log"]),
            outputs=list(about["output"]),
            speaks=rule in _SPEAK,
            # On a cluster the time of waiting counts too, and the site ends what takes too long.
            minutes=math.inf if self.remote else _minutes(about),
        )
        self.running[about["jobid"]] = job
        if self.dryrun and rule not in _TARGETS:
            self._say(in_columns("", job.label, "", why_it_runs(about["reason"])))
        elif self.live and rule in _SPEAK:
            print("\r\033[K", end="", file=self.stream, flush=True)
        elif not self.dryrun and not self._finished.is_set():
            self._watch()

    def _job_finished(self, about: dict[str, Any], record: logging.LogRecord) -> None:
        job = self.running.pop(about["job_id"], None)
        if job is None or job.rule in (*_TARGETS, *_SPEAK):
            return
        ended = self.ended.setdefault(job.rule, [])
        ended.append(job.seconds)
        if not job.grouped:
            self._line("✓", 32, job.label, job.seconds, outcome(job))
        elif len(ended) == self.expected[job.rule]:
            self._line("✓", 32, job.rule, sum(ended), f"{len(ended)} jobs")

    def _job_error(self, about: dict[str, Any], record: logging.LogRecord) -> None:
        job = self.running.pop(about["jobid"], None)
        if self.stopped or job is None:
            return
        self.failed[job.label] = None
        self._line("✗", 31, job.label, job.seconds, "failed")
        said = log_end(job, self.kills)
        self.kills = kills_for_memory()
        # What it did and what to do are printed once: attempts and jobs often fail alike.
        if self.faults.setdefault(said, job.label) != job.label:
            said = f"the same as {self.faults[said]}"
        self._say("\n".join(f"    {line}" for line in [*said.splitlines(), *_where(job.logs)]))

    def _run_info(self, about: dict[str, Any], record: logging.LogRecord) -> None:
        if self._counted:  # a dry run counts twice
            return
        self._counted = True
        for name, count in about["stats"].items():
            self.expected[_VARIANTS.sub("", name)] += count
        self.total = about["stats"]["total"]
        counts = [
            f"{name} {count}" if count > 1 else name
            for name, count in self.expected.items()
            if name not in ("total", *_TARGETS)
        ]
        self._say(_wrapped(f"{_jobs(self.total)}: {', '.join(counts)}"))

    def _progress(self, about: dict[str, Any], record: logging.LogRecord) -> None:
        self.done, self.total = about["done"], about["total"]

    def _error(self, about: dict[str, Any], record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "CalledProcessError" in text or (self.stopped and _FAILED not in text):
            return  # the job's own lines say it
        if _FAILED not in text:
            self._say(self._sign("error: ", 31) + in_terminal(plain_fault(text)))
        elif self.stopped:
            self._say(STOPPED)
        else:
            self._say(_wrapped(f"failed: {', '.join(self.failed) or 'see above'}. {_LEFT}"))

    def _message(self, text: str) -> None:
        if text.startswith(_TERMINATING):
            self.stopped = True
            if os.environ.get(LISTING) != LINES:  # else it was said where Ctrl-C came
                self._say("stopping: what runs saves what it has and ends")
        elif text and text not in self.told and not text.startswith(_CHATTER):
            self.told.add(text)
            self._say(in_terminal(text))

    # What is shown.

    def _sign(self, text: str, colour: int) -> str:
        return f"\033[{colour}m{text}\033[0m" if self.coloured else text

    def _line(self, sign: str, colour: int, label: str, seconds: float, note: str) -> None:
        self._say(in_columns(self._sign(sign, colour), label, duration(round(seconds)), note))

    def _say(self, text: str) -> None:
        print(("\r\033[K" if self.live else "") + text, file=self.stream, flush=True)

    def _watch(self) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._repaint, daemon=True)
            self._watcher.start()

    def _repaint(self) -> None:
        while not self._finished.wait(1):
            self._tell_late()
            if not self.live:
                continue
            line = self.now()
            self.acquire()
            try:
                speaks = any(job.rule in _SPEAK for job in self.running.values())
                if not speaks and not self._finished.is_set():
                    print(f"\r\033[K{line}", end="", file=self.stream, flush=True)
            finally:
                self.release()

    def _tell_late(self) -> None:
        for job in list(self.running.values()):
            if job.seconds > 60 * job.minutes:
                expected, job.minutes = duration(60 * job.minutes), math.inf
                self.acquire()
                self._say(f"{job.label} takes longer than the {expected} expected; it goes on")
                self.release()

    def now(self) -> str:
        """`12 of 37  train simple 120/320 steps, 0:00:05 left, loss 0.41`, as wide as the
        terminal."""
        jobs = [job for job in list(self.running.values()) if job.rule not in _TARGETS]
        parts = [f"{job.label}{how_far(job)}" for job in jobs]
        line = f"{self.done} of {self.total}  " + " · ".join(parts)
        columns = shutil.get_terminal_size((WIDTH, 24)).columns - 1
        return line if len(line) <= columns else line[: columns - 1] + "…"

    def finish(self) -> None:
        """Takes the live line away, before what a start ends with."""
        self._finished.set()
        if self.live:
            self.acquire()
            print("\r\033[K", end="", file=self.stream, flush=True)
            self.release()


def _minutes(about: Mapping[str, Any]) -> float:
    """What a job is expected to take; none where it ends at a limit of the user's."""
    asked = dict(about.get("resources") or {})
    minutes = asked.get("runtime")
    return minutes if isinstance(minutes, int) and not asked.get("limit") else math.inf


def interrupted(kind: type[BaseException], error: BaseException, place: Any) -> None:
    """In the place of `sys.excepthook`: Ctrl-C while the workflow is planned is no fault."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"\n{STOPPED}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, place)


def jobs_are_quiet() -> None:
    """From here on local jobs write to their logs alone, which the listing reads."""
    os.environ[LISTING] = LINES


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _where(logs: list[str]) -> list[str]:
    return [f"log: {', '.join(logs)}"] if logs else []
