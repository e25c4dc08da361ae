"""Any text, and any bytes: no parser or reader ends in an exception but a fault that is told, and
none takes longer than the text is long."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from snaketune.data.formats.values import canonical_number, final_number, read_printed
from snaketune.data.record import RecordError, describe, is_blank
from snaketune.data.sources.local import READERS
from snaketune.prompts.thoughts import answer_apart, without_thoughts
from snaketune.runtime.errors import UserError, in_cell, in_markdown, in_terminal, visible
from snaketune.tasks.math_rules import RULES
from snaketune.tasks.numbers import in_plain, last_number
from snaketune.tasks.text_overlap import fold, relaxed, rouge_l, squad, token_f1, tokens_of
from snaketune.tasks.verdicts import read_verdict

MARKS = [
    "####", "#### ", "\\boxed{", "\\frac{1}{2}", "{", "}", "Final answer:", "The answer is ", "= ",
    "1,234.5", "-", "−", "$", "%", "½", "٣", "10^5", "1/0", "0/0", "1e999", "9" * 40, ",", ".",
    "<think>", "</think>", "<think>\n", "safe", "unsafe", "SAFE\n", "S1, S2", "Categories: none",
    '{"verdict": "safe"}', "```json\n", "```", "Answer: Yes", "no", "\n", "\r", "\t", " ", "\0",
    "\x1b[31m", "\u202e", "\u200b", "\ufeff", "中", "ไ", "é", "e\u0301", "'", '"', "array(", "[",
    "]", "nan", "None", "(", ")", ";", "|", "::error::", "</script>", "=1+1", "😀", "\u2028",
]  # fmt: skip
"""What the parsers look for, and what lies at their edges."""
TEXTS = st.text() | st.lists(st.sampled_from(MARKS) | st.text(max_size=4), max_size=12).map("".join)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def printed(text: str) -> None:
    with suppress(ValueError):  # says that it is no printed list or dict
        read_printed(text)


PARSERS: dict[str, Callable[[str], object]] = {
    **{f"rule {name}": rule.read for name, rule in RULES.items()},
    **{
        f"verdict {form}": lambda text, form=form: read_verdict(text, {"format": form})
        for form in ("plain", "llama_guard", "qwen3guard", "shieldgemma")
    },
    "verdict by patterns": lambda text: read_verdict(text, {"safe": "safe", "unsafe": "unsafe"}),
    "thoughts": without_thoughts,
    "answer apart": answer_apart,
    "numbers in plain": in_plain,
    "last number": lambda text: last_number(in_plain(text)),
    "canonical number": canonical_number,
    "final number": final_number,
    "printed": printed,
    "folded": fold,
    "squad": squad,
    "tokens": lambda text: tokens_of(fold(text)),
    "token f1": lambda text: token_f1(tokens_of(fold(text)), ["a", "b"]),
    "relaxed": lambda text: relaxed(fold(text), "a b", True, True),
    "rouge-l": lambda text: rouge_l(fold(text), "some words of a gold answer"),
    "blank": is_blank,
    "described": describe,
    "visible": visible,
    "in a terminal": in_terminal,
    "in Markdown": in_markdown,
    "in a cell": in_cell,
}


@pytest.mark.parametrize("name", PARSERS)
def test_any_text_is_read(name: str) -> None:
    read = PARSERS[name]

    @MANY
    @given(TEXTS)
    @example("")
    @example("\\boxed{" * 50 + "}" * 50)
    @example("[" * 3000)
    @example("{" * 3000 + "}" * 3000)
    def holds(text: str) -> None:
        read(text)

    holds()


_ROW = st.lists(st.sampled_from(MARKS) | st.text(max_size=6), max_size=4)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def _as_rows(rows: list[list[str]], separator: str) -> str:
    return "\n".join(separator.join(cells) for cells in rows)


CONTENTS = st.one_of(
    st.binary(max_size=300),
    TEXTS.map(lambda text: text.encode()),
    st.tuples(TEXTS, st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])).map(
        lambda pair: pair[0].encode(pair[1])
    ),
    TEXTS.map(lambda text: text.encode("cp1252", "replace")),
    st.builds(_as_rows, st.lists(_ROW, max_size=5), st.sampled_from(",;\t|")).map(str.encode),
    _JSON.map(lambda value: json.dumps(value).encode()),
    st.lists(_JSON, max_size=4).map(lambda v: "\n".join(map(json.dumps, v)).encode()),
    st.sampled_from([b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PAR1"]).flatmap(
        lambda start: st.binary(max_size=60).map(lambda rest: start + rest)
    ),
)
"""Text in every encoding that is recognised, tables, JSON, packed files that are none."""


@pytest.mark.parametrize("suffix", READERS)
def test_any_file_is_read_or_refused(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"any{suffix}"

    @settings(MANY, max_examples=100)
    @given(CONTENTS)
    def holds(content: bytes) -> None:
        file.write_bytes(content)
        try:
            table = READERS[suffix](file, str(file))
            records = list(table.records)
        except UserError as fault:
            assert str(file) in str(fault)
            return
        for number, record in enumerate(records, start=1):
            assert record.number >= 1 and (suffix == ".txt" or record.number >= number)
            assert isinstance(record.value, dict | RecordError)
            str(record.value)

    holds()


REPEATED = [
    *("#### ", "\\boxed{", "}", "<think>", "</think>", "{", "[", '"', "(", " ", "\n", "9", "1,"),
    *("answer is ", "Final answer: ", "a ", "safe\n", "½", "中", "\u200b", "= ", "1 1/2 ", "\\"),
    *("S1, ", "Categories: ", "` ", ".5", "$", "::", "<", "1/", "10^", "é", "Answer: **", "-", "*"),
    "unsafe. ",
]  # fmt: skip
SMALL, FACTOR = 8_000, 8
QUICK = 0.02
"""Seconds below which a ratio says nothing."""


def seconds(read: Callable[[str], object], text: str) -> float:
    """Of this process: others take their share of the cores."""
    start = time.process_time()
    read(text)
    return time.process_time() - start


@pytest.mark.parametrize("name", PARSERS)
def test_time_is_linear(name: str) -> None:
    """Eight times the text takes at most twenty times as long."""
    read = PARSERS[name]
    read("warm")
    for mark in REPEATED:
        text = mark * (SMALL // len(mark))
        once = seconds(read, text)
        assert once < 1, f"{mark!r}: {once:.1f} s for {SMALL:,} letters"
        often = seconds(read, text * FACTOR)
        assert often < max(QUICK, once) * 20, f"{mark!r}: {once:.3f} s, then {often:.3f} s"


@pytest.mark.parametrize(
    ("suffix", "mark"),
    [
        *((".csv", mark) for mark in ("a,b\n", '"', ",", "a,", "\n", "é;ü\n", "x")),
        *((".jsonl", mark) for mark in ("{}\n", '"', "[", "\n")),
        *((".json", mark) for mark in ("{}\n", '{"a":', "[")),
        (".txt", "x\n\n"),
    ],
)
def test_a_megabyte_is_read_in_time(suffix: str, mark: str, tmp_path: Path) -> None:
    file = tmp_path / f"any{suffix}"

    def read(text: str) -> None:
        file.write_text(text, encoding="utf-8")
        with suppress(UserError):
            list(READERS[suffix](file, str(file)).records)

    small = mark * (125_000 // len(mark))
    once, often = seconds(read, small), seconds(read, small * 8)
    assert often < max(QUICK, once) * 20, f"{mark!r}: {once:.3f} s, then {often:.3f} s"
