"""Where the answer stands in a worked solution: the rules that evals of task `math` read by."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal

from snaketune.prompts.thoughts import without_thoughts
from snaketune.tasks.numbers import (
    NUMBER,
    as_decimal,
    canonical,
    first_number,
    in_plain,
    last_number,
    value_of,
)

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_BRACES = re.compile(r"(?P<box>\\f?boxed\s*\{)|\\[{}]|(?P<open>\{)|(?P<close>\})")
_MARK = re.compile(r"####[ \t]*")
# What may stand before the number of a `####` line: markdown, mathematics, a word for an answer.
_LEAD = re.compile(
    r"[\s*_`~≈=:$\\(\[{]*+ (?: (?:the\ )? (?:final\ )? (?:answer|result|total) \b"
    r" [\s*_]*+ (?:is|[:=]) )?"
    r"[\s*_`~≈=:\\(\[{]*+",
    re.IGNORECASE | re.VERBOSE,
)
_HEADING_NUMBER = re.compile(r"[0-9]{1,3}[.):][ \t]+[^\W\d]")
_ANSWER_IS = re.compile(r"answer(?:\s++is\b|[\s*_]*+[:=])((?:[^.\n]|\.(?=[0-9]))*+)", re.IGNORECASE)
# Where a clause stops to be the answer and begins to give reasons.
_REASON = re.compile(
    r"[,;(]\s*[^\W\d]|\s(?:because|since|as|and|which|where|when|if|for)\s", re.IGNORECASE
)
# Colons and, in Markdown, asterisks may stand between the words and the number.
_FINAL_ANSWER = re.compile(r"final\s++answer[\s*]*+:", re.IGNORECASE)
_ANSWER = re.compile(r"answer[\s*]*+:", re.IGNORECASE)

_UNIT = re.compile(
    r"\\(?:text|mathrm|textbf|textit|mbox|operatorname)\s*\{[^{}]*\}(?:\s*\^\s*(?:\{[^{}]*\}|[0-9]))?"
)
_HARMLESS = re.compile(
    r"\\(?:[dt]?frac|times|cdot|left|right|quad|qquad|circ|degree|displaystyle|approx)(?![A-Za-z])"
)
_COMMAND = re.compile(r"\\[A-Za-z]|√|π|[0-9)}]\s?\^")

# A line that opens the next question, or a turn that is not the model's.
_NEXT = re.compile(
    r"""
    ^[ \t]* (?: \#{1,6}[ \t]* )? (?: [*_]{1,2} )?
      (?: Question | Q | Problem | Exercise | Instruction | User | Human )
      [ \t]* [0-9]{0,4} [ \t]* (?: [*_]{1,2} )? [ \t]* : (?! [ \t]*// )
    | ^[ \t]* \#{2,6} [ \t]* (?: Instruction | Question | Problem | Input | User | Human )
      [ \t]* [0-9]{0,4} [ \t]* $
    | <\|im_(?:start|end)\|> | <\|endoftext\|> | <\|eot_id\|> | <\|user\|> | <end_of_turn>
    | </s> | \[INST\]
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)


def before_next_question(reply: str) -> str:
    """The reply up to the first line that opens another question behind a piece with a digit in
    it: a reply may well begin with the question that it was asked."""
    first = next((i for i, c in enumerate(reply) if c.isnumeric()), len(reply))
    found = _NEXT.search(reply, first)
    return reply[: found.start()] if found else reply


def strict(text: str) -> Decimal | None:
    """The reference's rule: the first `#### (-?[0-9.,]+)`, commas removed. None: unparsed."""
    found = _STRICT.search(text)
    return as_decimal(found[1].replace(",", "")) if found else None


def flexible(text: str) -> Decimal | None:
    """The number that a reader would take for the answer, or None.

    Of what stands behind the thoughts and before the next question: the number that opens the line
    of the last `####` that is no heading; else the one in the last `\\boxed{}`, which must be a
    number and no expression; else the one after the last "the answer is" (behind its last `=`,
    where it writes an equation); else the last number of the text. Currency and percent signs are
    dropped: $29.00 is 29, and 25 % is 25, which is how GSM8K's gold answers are written.
    """
    said = without_thoughts(text)
    if said is None:
        return None
    said = in_plain(before_next_question(said))
    if (marked := _marked(said)) is not None:
        return marked
    if (box := _last_box(said)) is not None:
        return _boxed(box)
    clauses = [found[1] for found in _ANSWER_IS.finditer(said)]
    claimed = _claimed(clauses[-1]) if clauses else None
    return last_number(said) if claimed is None else claimed


def final_answer(text: str) -> Decimal | None:
    """The last number after the last `Final answer:`; where that is not written, after the last
    `Answer:`; where neither is, the last number of the text. None: unparsed.

    A reply that breaks off behind its mark is unparsed: numbers before it are steps, no answer.
    """
    said = without_thoughts(text)
    if said is None:
        return None
    said = in_plain(said)
    for mark in (_FINAL_ANSWER, _ANSWER):
        if ends := [found.end() for found in mark.finditer(said)]:
            said = said[ends[-1] :]
            break
    return last_number(said)


@dataclass(frozen=True)
class Rule:
    """How an eval reads an answer, and when two answers are one: of its headline, and of every
    vote."""

    read: Callable[[str], Decimal | None]
    tolerance: Decimal = Decimal(0)
    """How far apart two answers may be that count as equal."""

    def right(self, found: Decimal | None, gold: Decimal) -> bool:
        """An unparsed answer is not right."""
        if found is None or found == gold:
            return found is not None
        return bool(self.tolerance) and abs(found - gold) <= self.tolerance

    def spelled(self, number: Decimal | None) -> str | None:
        """One spelling for equal answers, as a vote needs it: rounded to the tolerance."""
        if number is None or not self.tolerance:
            return canonical(number)
        digits = Context(prec=max(28, number.adjusted() + 8))
        return canonical(number.quantize(self.tolerance, context=digits))


RULES = {
    "hashes": Rule(strict),
    "flexible": Rule(flexible),
    "final_answer": Rule(final_answer, Decimal("0.000001")),
}


def rule_of(protocol: dict[str, object]) -> Rule:
    """The rule that an eval asks for."""
    return RULES[str(protocol.get("answer_rule", "hashes"))]


def _marked(text: str) -> Decimal | None:
    """The number that opens the line of the last `####`, or the next line where nothing else
    stands on it. `#### Step 2: …` is a heading, and so are marks that count 1, 2, 3."""
    marks = [(found.start(), found.end()) for found in _MARK.finditer(text)]
    numbered = [_HEADING_NUMBER.match(text, end) for _, end in marks]
    if marks and all(numbered):
        counted = [int(re.split("[.):]", found[0])[0]) for found in numbered if found]
        further = NUMBER.search(text, text.find("\n", marks[-1][1])) if len(marks) == 1 else True
        if counted == [*range(1, len(marks) + 1)] and further and "\n" in text[marks[-1][1] :]:
            return None
    for _, end in reversed(marks):
        lead = _LEAD.match(text, end)
        # The sign of money belongs to the number.
        start = lead.end() if lead else end
        if box := re.compile(r"f?boxed\s*\{").match(text, start):
            start = box.end()
        if (found := NUMBER.match(text, start)) and (value := value_of(found, text)) is not None:
            line = text[found.start() : text.find("\n", found.end()) % (len(text) + 1)]
            equal = _claimed(line) if "=" in line else None
            return value if equal is None else equal
    return None


def _claimed(clause: str) -> Decimal | None:
    """The first number before any reasons are given; behind the last `=` of an equation."""
    reason = _REASON.search(clause)
    claim = clause[: reason.start()] if reason else clause
    return first_number(claim.rpartition("=")[2])


def _last_box(text: str) -> str | None:
    """What the last `\\boxed{…}` that is closed holds."""
    opened: list[tuple[bool, int]] = []
    last = None
    for found in _BRACES.finditer(text):
        if found["box"]:
            opened.append((True, found.end()))
        elif found["open"]:
            opened.append((False, found.end()))
        elif found["close"] and opened:
            is_box, start = opened.pop()
            last = (start, found.start()) if is_box else last
    return text[last[0] : last[1]] if last else None


def _boxed(box: str) -> Decimal | None:
    """The number in a box, without its unit; none of an expression such as `2\\sqrt{3}`."""
    bare = _UNIT.sub(" ", box).rpartition("=")[2]
    bare = re.sub(r"\^\s*(?:\{\s*)?\\circ\s*\}?", " ", bare)
    if _COMMAND.search(_HARMLESS.sub(" ", bare)):
        return None
    first = first_number(bare)
    # All of it may be text: \boxed{\text{18 apples}}.
    return first_number(box) if first is None and not bare.strip() else first
