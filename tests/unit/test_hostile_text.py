"""What strangers wrote does nothing at any door: tables, terminal, log, Markdown, LaTeX, XML, card.
(The pages have their own tests, in a browser too: test_report_page.py, test_report_examples.py.)"""

import csv
import io
import logging
import re
import sys
import xml.etree.ElementTree as Xml
from pathlib import Path

import pytest

from snaketune.data.example import Example, write_readable
from snaketune.report.card import _cell, _code
from snaketune.runtime.errors import UserError, fault_lines, in_cell, in_markdown, in_terminal
from snaketune.runtime.files import csv_text
from snaketune.runtime.job import job
from snaketune.runtime.job_lines import ListedJob, log_end
from snaketune.runtime.listing import Listing
from snaketune.tables.exports import _latex_row
from snaketune.tables.gate import gate_markdown, junit
from snaketune.tables.terminal import format_summary

CORPUS = [
    '=HYPERLINK("http://x.org","y")', "+1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1+1", "\r=1+1", "-1+1",
    "\uff1d1+1", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b]8;;http://x.org\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m", "\x85next", "a\u202eb\u2066c", "\u200bno width", "nul\0", "bell\a", "back\b\b",
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- x", "]]>", "&lt;",
    "[x](http://x.org)", "![x](http://x.org)", "a | b", "| --- |", "`code`", "# head", "**bold**",
    "\\input{/etc/passwd}", "$x^2$", "50% & #1 _a_ {b} ~", "\ufffe", "\ud7ff", "two\nlines",
    "::error file=a::b", "  ::set-output name=x::y", "one\n::add-mask::x", "##[error]x",
    "\r::error::x",
]  # fmt: skip
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""What a terminal, or an eye, would take for something else than text."""
COMMAND = re.compile(r"^\s*(::|##\[)", re.MULTILINE)


@pytest.fixture(autouse=True)
def _signals_stay_pytests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snaketune.runtime.job.end_on_preemption", lambda: None)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("TQDM_DISABLE", "1")


def harmless(text: str) -> None:
    assert not RAW.search(text), repr(text)
    assert not COMMAND.search(text), repr(text)


@pytest.mark.parametrize("text", CORPUS, ids=repr)
def test_a_table_holds_no_formula(text: str, tmp_path: Path) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text(["a"], [{"a": text}]), newline=""))
    assert not re.match("[=+\\-@\t\r\uff1d]", row["a"])
    assert row["a"].removeprefix("'") == text
    write_readable(tmp_path / "train", [Example("i", text, answer=text)])
    with (tmp_path / "train.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["question"] == in_cell(text) == row["answer"]


@pytest.mark.parametrize("text", ["-5", "-0.25", "-1,234.5", "5", "", "a=b", "'=1"])
def test_what_is_no_formula_stays(text: str) -> None:
    assert in_cell(text) == text


@pytest.mark.parametrize("text", CORPUS, ids=repr)
def test_a_terminal_is_told_words_alone(text: str, tmp_path: Path) -> None:
    harmless(in_terminal(text))
    harmless(in_terminal(str(UserError(f"found {text}\n{text}"))))
    log = tmp_path / "log"
    job = ListedJob("train a", "train", False, [str(log)], [])
    log.write_text(f"error: found {text}\n{text}\n", encoding="utf-8", errors="replace")
    harmless(log_end(job))
    stream = io.StringIO()
    listing = Listing(stream, {})
    for message in (text, f"WorkflowError:\n{text}"):
        record = logging.LogRecord("s", logging.ERROR, "", 0, message.replace("%", "%%"), (), None)
        record.event = "error" if message.startswith("Workflow") else None
        listing.emit(record)
    harmless(stream.getvalue())


@pytest.mark.parametrize("text", CORPUS, ids=repr)
def test_a_log_is_words_alone(text: str, tmp_path: Path) -> None:
    log, before = tmp_path / "log", (sys.stdout, sys.stderr)
    with pytest.raises(SystemExit), job(str(log)):
        print(f"gold {text}")
        print(text, file=sys.stderr)
        raise UserError(f"found {text}")
    assert (sys.stdout, sys.stderr) == before
    written = log.read_text(encoding="utf-8")
    harmless(written)
    assert "What to do: " in written
    harmless(in_terminal(fault_lines(UserError(text))))


@pytest.mark.parametrize("text", CORPUS, ids=repr)
def test_markdown_shows_it_as_it_stands(text: str) -> None:
    from markdown_it import MarkdownIt

    page = MarkdownIt("commonmark").enable("table")
    for shown in (f"- {in_markdown(text)}", f"| a |\n| --- |\n| {in_markdown(text)} |"):
        html = page.render(shown)
        assert not re.search("<(script|img|a|code|h1|strong|em|!--)", html), html
    assert len(re.split(r"(?<!\\)\|", f"| {_cell(text)} |")) == 3
    assert _code(text).count("`") == 2
    harmless(in_markdown(text).replace("::", ""))


@pytest.mark.parametrize("text", CORPUS, ids=repr)
def test_latex_is_a_row_of_cells(text: str) -> None:
    row = _latex_row([text, "x"])
    assert len(re.split(r"(?<!\\)&", row)) == 2
    assert not re.search(r"(?<!\\)[%#_$]", row.replace("$-$", ""))
    assert not RAW.search(row) and "\\input" not in row


@pytest.mark.parametrize("text", CORPUS, ids=repr)
def test_junit_is_xml_and_the_gates_table_a_table(text: str) -> None:
    check = {"run": "r", "check": text, "outcome": "failed", "message": text}
    judged = {"experiment": "e", "outcome": "failed", "checks": [check]}
    case = Xml.fromstring(junit(judged)).find(".//testcase")  # type: ignore[arg-type]
    assert case is not None and not RAW.search(case.attrib["name"])
    row = gate_markdown(judged).splitlines()[-1]  # type: ignore[arg-type]
    assert len(re.split(r"(?<!\\)\|", row)) == 6


@pytest.mark.parametrize("text", CORPUS, ids=repr)
def test_the_summary_says_words_alone(text: str) -> None:
    check = {"run": "r", "check": text, "outcome": "failed", "message": text}
    final = {"runs": [], "headline": [text]}
    harmless(in_terminal(format_summary(final, [], {"outcome": "failed", "checks": [check]})))
