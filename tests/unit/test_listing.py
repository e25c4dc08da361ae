"""What a start says in the terminal: a line a job, what a failed one's log ends with, once."""

import io
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from snaketune.runtime import job_lines
from snaketune.runtime.job import LINES, LISTING, duration
from snaketune.runtime.job_lines import ListedJob, how_far, log_end, plain_fault, why_it_runs
from snaketune.runtime.listing import STOPPED, Listing, take_over

NAMES = {"tiny-problems-a1b0c0": "for simple, medium"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tell(listing: Listing, event: str | None, message: str = "", level=logging.INFO, **more):
    record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
    record.__dict__.update(more, event=event)
    listing.handle(record)


def start(
    listing: Listing, jobid: int, rule: str, log="", output="", resources=None, **wildcards: str
) -> None:
    tell(
        listing, "job_info", jobid=jobid, rule_name=rule, wildcards=wildcards, reason="",
        log=[log] if log else [], output=[output] if output else [],
        resources=resources or {},
    )  # fmt: skip


def end(listing: Listing, jobid: int) -> None:
    tell(listing, "job_finished", job_id=jobid)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def listing(stream: io.StringIO) -> Listing:
    listing = Listing(stream, NAMES)
    stats = {"prepare": 3, "tokenize": 1, "train_adapter_0": 1, "train_adapter_2": 1, "measure": 1}
    tell(listing, "run_info", "Job stats: …", stats=stats | {"all": 1, "total": 8})
    return listing


def lines(stream: io.StringIO) -> list[str]:
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def test_a_start_begins_with_what_it_will_do(listing, stream) -> None:
    assert lines(stream) == ["8 jobs: prepare 3, tokenize, train 2, measure"]


def test_jobs_without_a_run_share_a_line_when_the_last_is_done(listing, stream) -> None:
    for n, split in enumerate(("train", "dev", "test")):
        start(listing, n, "prepare", dataset="problems", split=split)
        assert len(lines(stream)) == 1
        end(listing, n)
    assert lines(stream)[1:] == ["✓ prepare 0 s 3 jobs"]


def test_checks_and_what_looks_at_replies_share_a_line_too(stream) -> None:
    listing = Listing(stream, {})
    tell(listing, "run_info", stats={"prompts": 2, "judge": 1, "all": 1, "total": 4})
    for n, run in enumerate(("simple", "medium")):
        start(listing, n, "prompts", run=run)
        end(listing, n)
    start(listing, 3, "judge", state="simple", protocol="safety")
    end(listing, 3)
    assert lines(stream)[1:] == ["✓ prompts 0 s 2 jobs", "✓ judge simple safety 0 s"]


def test_a_runs_jobs_have_a_line_each_with_their_loss_or_score(listing, stream, tmp_path) -> None:
    log, metrics = tmp_path / "train.log", tmp_path / "metrics/simple/math.json"
    metrics.parent.mkdir(parents=True)
    row = {"subset": "all", "metric": "accuracy", "value": 0.765625, "n": 320, "low": 0.7}
    metrics.write_text(json.dumps({"rows": [row | {"subset": "hard", "value": 0.1}, row]}))
    start(listing, 1, "train_adapter_2", log=str(log), run="medium")
    log.write_text(
        "71/72 steps, 0.6 steps/s, 0:00:01 left, loss 0.2468, 728 tokens/s\nstep 72: dev loss 0.2\n"
        "72/72 steps, 0.645 steps/s, 0:00:00 left, loss 0.1966, 758 tokens/s\n"
    )
    end(listing, 1)
    start(listing, 2, "measure", output=str(metrics), state="medium", protocol="math")
    end(listing, 2)
    start(listing, 3, "tokenize", tokens="tiny-problems-a1b0c0")
    end(listing, 3)
    assert lines(stream)[1:] == [
        "✓ train medium 0 s 72 steps, loss 0.1966",
        "✓ measure medium math 0 s accuracy 76.6 % of 320",
        "✓ tokenize for simple, medium 0 s",
    ]


def test_what_snakemake_says_to_itself_is_left_out_and_the_rest_is_not(listing, stream) -> None:
    for text in ("Select jobs to execute...", "Elapsed time: 0:01", "Using shell: /bin/bash"):
        tell(listing, None, text)
    tell(listing, "workflow_started", "Workflow has started!")
    tell(listing, None, "a debug line", logging.DEBUG)
    for _ in range(2):  # once is enough
        tell(listing, None, "Job 3 has been submitted with SLURM jobid 12")
    tell(listing, None, "Nothing to be done (all requested files are present and up to date).")
    assert lines(stream)[1:] == [
        "Job 3 has been submitted with SLURM jobid 12",
        "Nothing to be done (all requested files are present and up to date).",
    ]


def test_a_failed_job_says_its_fault_once_and_the_start_ends_with_what_failed(
    listing, stream, tmp_path
) -> None:
    log = tmp_path / "a.log"
    for n, run in enumerate(("simple", "medium", "simple")):
        log.unlink(missing_ok=True)
        start(listing, n, "train_adapter_0", log=str(log), run=run)
        log.write_text("error: an earlier one\n120/320 rows\nerror: no room\nWhat to do: do\n")
        raised = "RuleException:\nCalledProcessError in file train.smk, line 98:\nCommand …"
        tell(listing, "error", raised, logging.ERROR)
        tell(listing, "job_error", "Error in rule", logging.ERROR, jobid=n)
    tell(listing, "error", "WorkflowError:\nAt least one job did not complete successfully.")
    said = lines(stream)[1:]
    assert said.count("error: no room") == 2 and "earlier" not in stream.getvalue()
    assert "the same as train simple" in said, "of another run"
    assert said[-1] == (
        "failed: train simple, train medium. finished steps stay finished; the same command goes on"
    )


def test_of_a_traceback_the_end_is_shown(tmp_path) -> None:
    log = tmp_path / "a.log"
    trace = "\n".join(f"  line {n}" for n in range(60))
    log.write_text(
        f"before\nTraceback (most recent call last):\n{trace}\nValueError: x\nWhat to do"
    )
    job = ListedJob("train a", "train", False, [str(log), str(tmp_path / "none.log")], [])
    said = log_end(job).splitlines()
    assert len(said) == 26 and said[0] == "…" and said[-2:] == ["ValueError: x", "What to do"]
    log.write_text("38/72 steps, 0.5 steps/s, 0:00:59 left\nstopped: SIGTERM said so\nWhat to do")
    assert log_end(job) == "stopped: SIGTERM said so\nWhat to do"


def test_a_job_that_ends_without_a_word_is_told_what_ended_it(tmp_path, monkeypatch) -> None:
    """The system counts whom it kills for memory."""
    log, counts = tmp_path / "a.log", tmp_path / "vmstat"
    monkeypatch.setattr(job_lines, "_STATISTICS", counts)
    job = ListedJob("train a", "train", False, [str(log)], [])
    log.write_text("loading\n3/9 steps, 1 steps/s, 0:00:06 left\n")
    for before, now, words in (
        (None, "", "error: it was ended from outside"),
        (4, "pgfault 1\noom_kill 4\n", "error: it was ended from outside"),
        (4, "pgfault 1\noom_kill 5\n", "error: out of memory: the system killed it"),
    ):
        counts.write_text(now)
        shown = log_end(job, before).splitlines()
        assert shown[:2] == ["loading", "3/9 steps, 1 steps/s, 0:00:06 left"]
        assert shown[2].startswith(words) and shown[3].startswith("What to do: ")


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"runtime": 5}, True),
        ({"runtime": 5, "limit": 5}, False),
        ({"runtime": 6}, False),
        ({}, False),
    ],
)
def test_a_job_that_takes_longer_than_expected_is_told_once(
    listing, stream, resources, told
) -> None:
    start(listing, 1, "train_adapter_0", run="simple", resources=resources)
    listing.running[1].start -= 5 * 60 + 1
    listing._tell_late()
    listing._tell_late()
    line = "train simple takes longer than the 5 min expected; it goes on"
    assert lines(stream).count(line) == told


@pytest.mark.parametrize("own", [True, False], ids=["jobs here", "on a cluster"])
def test_ctrl_c_is_no_fault_and_is_told_once(listing, stream, monkeypatch, own) -> None:
    """Where jobs run here, the line stands where the signal came (runtime/alive.py)."""
    monkeypatch.setenv(LISTING, LINES if own else "")
    start(listing, 1, "train_adapter_0", run="simple")
    tell(listing, None, "Terminating processes on user request, this might take some time.")
    tell(listing, "job_error", "Error in rule", logging.ERROR, jobid=1)
    tell(listing, "error", "WorkflowError:\nAt least one job did not complete successfully.")
    stopping = [] if own else ["stopping: what runs saves what it has and ends"]
    assert lines(stream)[1:] == [*stopping, STOPPED]


def test_a_config_fault_is_told_without_where_the_code_met_it() -> None:
    text = (
        'WorkflowError in file "/a/Snakefile", line 43:\nconfig.yaml: runs.a: no such\n'
        '  File "in the message", as it is\n  File "/a/Snakefile", line 43, in <module>\n'
        '  File "/a/rules/x.smk", line 4, in <module>'
    )
    assert plain_fault(text) == ('config.yaml: runs.a: no such\n  File "in the message", as it is')
    ours = 'NameError in file "/a/Snakefile", line 43:\nname x'
    assert plain_fault(ours) == ours, "a fault of the program's: the place tells something"


def test_a_terminal_has_a_live_line_and_colours_and_nothing_else_has(
    monkeypatch, tmp_path, stream
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    log = tmp_path / "a.log"
    shown = Terminal()
    listing = Listing(shown, {})
    listing.total = 4
    start(listing, 1, "generate", log=str(log), state="simple", protocol="math")
    log.write_text("120/320 replies, 38 replies/s, 0:00:05 left\n")
    assert listing.now() == "0 of 4  generate simple math 120/320 replies, 0:00:05 left"
    start(listing, 2, "generate", log=str(log), state="medium", protocol="math")
    assert len(listing.now()) == 59 and listing.now().endswith("…")
    end(listing, 1)
    assert "\033[32m✓\033[0m generate simple math" in shown.getvalue()
    listing.finish()
    assert shown.getvalue().endswith("\r\033[K")

    monkeypatch.setenv("NO_COLOR", "1")
    assert Listing(Terminal(), {}).live and not Listing(Terminal(), {}).coloured
    assert not Listing(Terminal(), {}, nocolor=True).coloured
    assert not Listing(Terminal(), {}, dryrun=True).live
    plain = Listing(stream, {})
    start(plain, 1, "generate", log=str(log), state="simple", protocol="math")
    end(plain, 1)
    plain.finish()
    assert "\033" not in stream.getvalue() and "\r" not in stream.getvalue()


def test_a_dry_run_tells_each_job_and_why_without_names_of_files(stream) -> None:
    listing = Listing(stream, {}, dryrun=True)
    for _ in range(2):  # Snakemake counts twice
        tell(listing, "run_info", stats={"report": 1, "all": 1, "total": 2})
    reason = "Missing output files: a.json, b.json; Input files updated by another job: c.json"
    for rule in ("report", "all"):
        tell(
            listing, "job_info", jobid=1, rule_name=rule, wildcards={}, reason=reason, log=[],
            output=[],
        )  # fmt: skip
    assert lines(stream) == ["2 jobs: report", "report not there yet, after what it reads"]
    changed = "Params have changed since last execution: before: 1 now: 2"
    assert why_it_runs(changed) == "its settings changed"


def test_the_last_loss_and_the_time_left_are_of_the_log(tmp_path) -> None:
    log = tmp_path / "a.log"
    job = ListedJob("train a", "train", False, [str(log)], [])
    assert how_far(job) == " 0 s", "no log yet"
    log.write_text("4/72 steps, 0.5 steps/s, 0:02:16 left, loss 0.41, 5 tokens/s\nother lines\n")
    assert how_far(job) == " 4/72 steps, 0:02:16 left, loss 0.41"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.5, "0.5 s"), (38, "38 s"), (59, "59 s"), (60, "1 min"), (245, "4 min 5 s"),
        (3599, "59 min 59 s"), (3600, "1 h"), (7800, "2 h 10 min"), (90000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_times_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("changed", "taken"),
    [({}, True), ({"verbose": True}, False), ({"debug_dag": True}, False)],
)
def test_snakemakes_own_listing_is_there_when_asked_for(
    changed: dict, taken: bool, monkeypatch
) -> None:
    monkeypatch.delenv("SNAKETUNE_LISTING", raising=False)
    kept = lambda record: True  # noqa: E731
    settings = {"verbose": False, "debug_dag": False, "stdout": False, "nocolor": True} | changed
    workflow = SimpleNamespace(
        output_settings=SimpleNamespace(**settings, dryrun=False),
        is_main_process=True,
        non_local_exec=False,
    )

    def logger_of_snakemake() -> logging.Logger:
        logger = logging.Logger("snakemake")
        handler = logging.StreamHandler()
        handler.name = "DefaultStreamHandler"
        handler.addFilter(kept)
        logger.addHandler(handler)
        return logger

    logger = logger_of_snakemake()
    listing = take_over(logger, workflow, {})
    assert (listing is not None) == taken
    assert len(logger.handlers) == 1, "one of the two"
    if listing:
        assert logger.handlers == [listing] and listing.filters == [kept], "--quiet is heard"
    monkeypatch.setenv("SNAKETUNE_LISTING", "snakemake")
    assert take_over(logger_of_snakemake(), workflow, {}) is None
    monkeypatch.delenv("SNAKETUNE_LISTING")
    workflow.is_main_process = False
    assert take_over(logger_of_snakemake(), workflow, {}) is None, "a job of a cluster"


def test_the_words_are_those_of_this_snakemake() -> None:
    """What the listing listens for is what Snakemake says."""
    import snakemake
    from snakemake.common import NOTHING_TO_BE_DONE_MSG
    from snakemake_interface_logger_plugins.common import LogEvent

    assert NOTHING_TO_BE_DONE_MSG.startswith("Nothing to be done")
    root = Path(snakemake.__file__).parent
    scheduler = (root / "scheduling/job_scheduler.py").read_text()
    assert "Terminating processes on user request" in scheduler
    assert "At least one job did not complete successfully" in (root / "workflow.py").read_text()
    assert '"DefaultStreamHandler"' in (root / "logging.py").read_text()
    for name in ("job_info", "job_finished", "job_error", "run_info", "progress", "error"):
        assert name in {str(event) for event in LogEvent}
