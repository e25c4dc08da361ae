"""Task `math`: the number that a worked solution arrives at, against the gold one.

An eval reads by one of the `RULES`, which ask for a format; `flexible` stands beside it and asks
whether the model arrived at the number whatever the format.

Numbers are `Decimal`s and compared as such, so that 18, 18.0 and $18.00 are one answer and no
binary rounding takes part.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import ClassVar

import pyarrow as pa

from snaketune.tasks.task import (
    ALL,
    FINISHES,
    Answered,
    Metric,
    Outcome,
    Score,
    Task,
    cluster_of,
    shares_of_hits,
    task,
)

_STRICT = re.compile(r"#### (-?[0-9.,]+)")

# A number as people and models write it. The branches are tried in this order at each place:
# \frac{3}{4}, 1 1/2, 3/4, 2,125.50, 2125.50, .5
_NUMBER = re.compile(
    r"""
    (?P<sign>-\s?)? (?:[$€£]\s?)? (?P<inner>-)?
    (?:
      \\[dt]?frac\{(?P<over>[0-9]+)\}\{(?P<under>0*[1-9][0-9]*)\}
    | (?<![A-Za-z_0-9]) (?<![0-9]\.)
      (?: (?:(?P<whole>[0-9]+)[ ])? (?<!/) (?P<top>[0-9]+)\s?/\s?(?P<bottom>0*[1-9][0-9]*)
          (?!\s?/) (?![0-9.,]*[0-9])
        | (?P<plain> (?: [0-9]{1,3}(?:,[0-9]{3})+(?![0-9]) | [0-9]+ ) (?:\.[0-9]+)? )
      )
    | (?<![0-9.]) (?P<point>\.[0-9]+)
    )
    """,
    re.VERBOSE,
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_ANSWER_IS = re.compile(r"answer(?:\s+is|\s*[:=])((?:[^.\n]|\.(?=[0-9]))*)", re.IGNORECASE)
# Colons and, in Markdown, asterisks may stand between the words and the number.
_FINAL_ANSWER = re.compile(r"final\s+answer[\s*]*:", re.IGNORECASE)
_ANSWER = re.compile(r"answer[\s*]*:", re.IGNORECASE)
_LATEX = str.maketrans({"−": "-", "–": "-", "\u00a0": " ", "\u202f": " "})


def strict(text: str) -> Decimal | None:
    """The reference's rule: the first `#### (-?[0-9.,]+)`, commas removed. None: unparsed."""
    found = _STRICT.search(text)
    return _decimal(found[1].replace(",", "")) if found else None


def flexible(text: str) -> Decimal | None:
    """The number that a reader would take for the answer, or None.

    The first number after the last `####`; else the one in the last `\\boxed{}`; else the one
    after the last "the answer is" (behind its last `=`, where it writes an equation); else the
    last number of the text. Currency and percent signs are dropped: $29.00 is 29, and 25 % is 25,
    which is how GSM8K's gold answers are written.
    """
    text = _plain(text)
    _, mark, tail = text.rpartition("####")
    places = [tail] if mark else []
    places += [found[1] for found in _BOXED.finditer(text)][-1:]
    places += [found[1].rpartition("=")[2] for found in _ANSWER_IS.finditer(text)][-1:]
    for place in places:
        if numbers := _numbers(place):
            return numbers[0]
    return _last_number(text)


def final_answer(text: str) -> Decimal | None:
    """The last number after the last `Final answer:`; where that is not written, after the last
    `Answer:`; where neither is, the last number of the text. None: unparsed.

    A reply that breaks off behind its mark is unparsed: numbers before it are steps, no answer.
    """
    text = _plain(text)
    for mark in (_FINAL_ANSWER, _ANSWER):
        if ends := [found.end() for found in mark.finditer(text)]:
            text = text[ends[-1] :]
            break
    return _last_number(text)


@dataclass(frozen=True)
class Rule:
    """How an eval reads an answer, and when two answers are one."""

    read: Callable[[str], Decimal | None]
    tolerance: Decimal = Decimal(0)
    """How far apart two answers may be that count as equal."""

    def right(self, found: Decimal | None, gold: Decimal) -> bool:
        """An unparsed answer is not right."""
        return found is not None and (found == gold or abs(found - gold) <= self.tolerance)

    def spelled(self, number: Decimal | None) -> str | None:
        """One spelling for equal answers, as a vote needs it: rounded to the tolerance."""
        if number is None or not self.tolerance:
            return canonical(number)
        digits = Context(prec=max(28, number.adjusted() + 8))
        return canonical(number.quantize(self.tolerance, context=digits))


RULES = {
    "hashes": Rule(strict),
    "final_answer": Rule(final_answer, Decimal("0.000001")),
}


def rule_of(protocol: dict[str, object]) -> Rule:
    """The rule that an eval asks for."""
    return RULES[str(protocol.get("answer_rule", "hashes"))]


def canonical(number: Decimal | None) -> str | None:
    """One spelling a number: no exponent, no trailing zeros, no minus before 0."""
    if number is None:
        return None
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _plain(text: str) -> str:
    """`text` with typographic minus signs and LaTeX's separators (`2{,}125`, `\\$`) made plain."""
    text = text.translate(_LATEX).replace("{,}", ",").replace("\\,", "").replace("\\!", "")
    return text.replace("\\$", "$").replace("\\%", "%")


def _numbers(text: str) -> list[Decimal]:
    """All numbers of `text`, in order."""
    return [_value(found, text) for found in _NUMBER.finditer(text)]


def _last_number(text: str) -> Decimal | None:
    numbers = _numbers(text)
    return numbers[-1] if numbers else None


def _value(found: re.Match[str], text: str) -> Decimal:
    part = found.groupdict()
    if part["over"]:
        size = Decimal(part["over"]) / Decimal(part["under"])
    elif part["top"]:
        size = Decimal(part["whole"] or 0) + Decimal(part["top"]) / Decimal(part["bottom"])
    else:
        size = Decimal((part["plain"] or part["point"]).replace(",", ""))
    before = text[max(0, found.start() - 9) : found.start()]
    signed = part["inner"] or (part["sign"] and _is_sign(part["sign"], before))
    return -size if signed else size


def _is_sign(minus: str, before: str) -> bool:
    """Whether a minus is a sign, by the few characters `before` it.

    In "7-3", "7 - 3", "x-3" and "(1)-3" it subtracts, and with a space behind it ("- 3 apples")
    it opens a list's item or a clause.
    """
    operand = re.search(r"[0-9)%]\s*$|\w$", before)
    return minus == "-" and operand is None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("cluster", pa.string()),  # questions of one template share it; null: none is known
        ("question", pa.string()),
        ("gold", pa.string()),
        ("output", pa.string()),
        ("parsed", pa.string()),  # the number by the eval's rule; null: unparsed
        ("parsed_flexible", pa.string()),
        ("correct", pa.bool_()),  # an unparsed answer is not correct
        ("correct_flexible", pa.bool_()),
        ("finish", pa.string()),
        ("new_tokens", pa.int64()),
    ]
)

OUTCOMES: dict[str, Outcome] = {
    "accuracy": lambda score: score["correct"],
    "accuracy_flexible": lambda score: score["correct_flexible"],
    "unparsed": lambda score: score["parsed"] is None,
    "unparsed_flexible": lambda score: score["parsed_flexible"] is None,
    **FINISHES,
}


@task(goals=("accuracy", "accuracy_flexible"))
class Math(Task):
    """The final number against the gold one."""

    schema = SCHEMA
    paired: ClassVar = {name: OUTCOMES[name] for name in ("accuracy", "accuracy_flexible")}
    groups: ClassVar = {
        **Task.groups,
        "Wrong in both": lambda base, tuned: (
            not tuned["correct"] and not base["correct"] and tuned["parsed"] is not None
        ),
        "Unparsed: no number in the asked-for form": lambda base, tuned: tuned["parsed"] is None,
    }

    def score(self, row: Answered) -> Score:
        """The row of one example. An overlong prompt was never answered: it stays in the count, as
        unparsed."""
        gold, rule = Decimal(row.gold), rule_of(row.protocol)
        output = row.prediction["output"]
        parsed, loose = rule.read(output), flexible(output)
        return {
            "id": row.example.id,
            "cluster": cluster_of(row.example),
            "question": row.example.question,
            "gold": row.example.gold,
            "output": output,
            "parsed": canonical(parsed),
            "parsed_flexible": canonical(loose),
            "correct": rule.right(parsed, gold),
            "correct_flexible": loose == gold,
            "finish": row.prediction["finish"],
            "new_tokens": row.prediction["new_tokens"],
        }

    def metrics(self, eval_name: str, scores: list[Score]) -> list[Metric]:
        """Every outcome over all rows."""
        return shares_of_hits(eval_name, ALL, scores, OUTCOMES)

    def counts(self, scores: list[Score]) -> dict[str, int]:
        """What `final_metrics` prints."""
        correct = sum(score["correct"] for score in scores)
        unparsed = sum(score["parsed"] is None for score in scores)
        return {"correct": correct, "unparsed": unparsed, "total": len(scores)}

    def reading(self, score: Score) -> str:
        if score["parsed"] is not None:
            return f"read as {score['parsed']}"
        loose = score["parsed_flexible"]
        return f"unparsed; read flexibly: {loose}" if loose is not None else "unparsed"
