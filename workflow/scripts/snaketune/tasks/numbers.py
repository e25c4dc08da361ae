"""How people and models write a number, whatever stands around it.

Numbers are `Decimal`s and compared as such, so that 18, 18.0 and $18.00 are one answer and no
binary rounding takes part. Any text is read, in time that grows with its length alone: patterns are
possessive (`++`).
"""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from functools import cache

_LONGEST = 1000  # digits: what is longer is no answer

# A number as people and models write it, behind `in_plain`. The branches are tried in this order at
# each place: \frac{3}{4} and 3\frac{1}{2}; 1 1/2, 3/4; 1.234.567,5; 2,125.50, 1 000 000, 3e5; .5
NUMBER = re.compile(
    r"""
    (?= [-$A-Z0-9.\\] ) (?<!\^) (?<!\^\{) (?<!\^-) (?<!\^\{-)
    (?P<sign>-\s?)?
    (?: (?:[A-Z]{1,2})? \$ \s? | (?<![A-Za-z]) (?:Rs|USD|EUR|GBP|INR|CHF|JPY|CNY) \.? \s? )?
    (?P<inner>-)?
    (?:
      (?: (?<![A-Za-z_0-9.]) (?P<before>[0-9]{1,99}) \s? )?
      \\[dt]?frac \s? (?: \{\s*(?P<over>-?[0-9.]{1,99})\s*\} | (?P<over1>[0-9]) ) \s?
                      (?: \{\s*(?P<under>[0-9.]{1,99})\s*\} | (?P<under1>[1-9]) )
    | (?<![A-Za-z_0-9]) (?<![0-9]\.)
      (?: (?:(?P<whole>[0-9]++)[ ])? (?<!/) (?P<top>[0-9]++) \s?/\s? (?P<bottom>0*+[1-9][0-9]*+)
          (?!\s?/) (?![.,]?[0-9])
        | (?P<dotted> [0-9]{1,3} (?: (?:\.[0-9]{3}){2,}+ (?:,[0-9]++)?
                                        | (?:\.[0-9]{3})++,[0-9]{1,2} )
          (?![.,]?[0-9]) )
        | (?P<plain> (?: [0-9]{1,3}(?:,[0-9]{3})++(?![0-9]) | [0-9]{1,3}(?:[ '_][0-9]{3})++(?![0-9])
          | [0-9]++ ) (?:\.[0-9]++)?+
          (?: [eE][-+]?[0-9]{1,3}(?![0-9A-Za-z]) | (?![eE][-+]?[0-9]) ) )
      )
    | (?<![0-9.A-Za-z]) (?P<point>\.[0-9]++)
    )
    """,
    re.VERBOSE,
)
_POWER_OF_TEN = re.compile(
    r"(?<=[0-9])\s?(?:×|\\times|\\cdot|·|\*|x)\s?10\s?\^\s?(?:\{\s*([-+]?[0-9]{1,3})\s*\}|([-+]?[0-9]{1,3}))"
    r"(?![0-9])"
)
_POWER = re.compile(r"(?<![\w.,)}^])([0-9]{1,4})\^(?:\{([0-9]{1,2})\}|([0-9]{1,2}))(?![0-9.^])")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]++")
_VULGAR = re.compile("(?P<digit>[0-9][ ]?)?(?P<sign>[¼-¾⅐-⅞↉])")
_FOLDED = {"\\$": "$", "\\%": "%", "{,}": ",", "\\,": "", "\\!": "", "\\;": " ", "\\ ": " "}
_LATEX = re.compile("|".join(map(re.escape, _FOLDED)))


def canonical(number: Decimal | None) -> str | None:
    """One spelling a number: no exponent, no trailing zeros, no minus before 0."""
    if number is None:
        return None
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def in_plain(text: str) -> str:
    """`text` with the digits, signs and currencies of other scripts as ASCII, powers of ten as
    `e5`, vulgar fractions as 1/2, and LaTeX's separators (`2{,}125`, `\\$`) made plain."""
    if not text.isascii():
        text = text.translate(_signs())
        text = _RAISED.sub(
            lambda m: "^" + unicodedata.normalize("NFKC", m[0]).translate(_signs()), text
        )
        text = _VULGAR.sub(_spelt_out, text)
    text = _LATEX.sub(lambda found: _FOLDED[found[0]], text)
    if "^" in text:
        text = _POWER_OF_TEN.sub(lambda m: f"e{m[1] or m[2]}", text)
        text = _POWER.sub(lambda m: str(int(m[1]) ** int(m[2] or m[3])), text)
    return text


def _spelt_out(found: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", found["sign"]).replace("⁄", "/")
    return f"{found['digit'].strip()} {fraction}" if found["digit"] else fraction


@cache
def _signs() -> dict[int, str]:
    """Every decimal digit, minus, currency, blank and apostrophe, as ASCII has it."""
    signs: dict[int, str] = dict.fromkeys(map(ord, "−–‑‐‒﹣－"), "-")
    signs |= dict.fromkeys(map(ord, "\u00a0\u202f\u2007\u2009\u3000"), " ")
    signs |= {ord("’"): "'", ord("ʼ"): "'", ord("⁄"): "/", ord("∕"): "/", ord("，"): ","}
    signs |= {ord("．"): ".", ord("٫"): ".", ord("٬"): ",", ord("："): ":", ord("＝"): "="}
    for point in range(128, 0x1FFFF):
        kind = unicodedata.category(chr(point))
        if kind == "Nd":
            signs[point] = str(unicodedata.decimal(chr(point)))
        elif kind == "Sc":
            signs[point] = "$"
    return signs


def _numbers(text: str) -> Iterator[Decimal]:
    """All numbers of `text`, in order."""
    for found in NUMBER.finditer(text):
        if (value := value_of(found, text)) is not None:
            yield value


def first_number(text: str) -> Decimal | None:
    return next(_numbers(text), None)


def last_number(text: str) -> Decimal | None:
    """The last number; none where that stands under a root, which nobody has drawn."""
    last = max(NUMBER.finditer(text), key=re.Match.start, default=None)
    if last is None or re.search(
        r"(?:\\sqrt\s?\{?|√)\s?$", text[max(0, last.start() - 9) : last.start()]
    ):
        return None
    return value_of(last, text)


def value_of(found: re.Match[str], text: str) -> Decimal | None:
    if len(found[0]) > _LONGEST:
        return None
    part = found.groupdict()
    if part["over"] or part["over1"]:
        over, under = (
            as_decimal(part["over"] or part["over1"]),
            as_decimal(part["under"] or part["under1"]),
        )
        if over is None or not under:
            return None
        size = Decimal(part["before"] or 0) + over / under
    elif part["top"]:
        size = Decimal(part["whole"] or 0) + Decimal(part["top"]) / Decimal(part["bottom"])
    elif part["dotted"]:
        size = Decimal(part["dotted"].replace(".", "").replace(",", "."))
    else:
        size = Decimal(re.sub("[ ,'_]", "", part["plain"] or part["point"]))
    before = text[max(0, found.start() - 9) : found.start()]
    signed = part["inner"] or (part["sign"] and _is_sign(part["sign"], before))
    return size.copy_negate() if signed else size


def _is_sign(minus: str, before: str) -> bool:
    """Whether a minus is a sign, by the few characters `before` it.

    In "7-3", "7 - 3", "x-3" and "(1)-3" it subtracts, and with a space behind it ("- 3 apples")
    it opens a list's item or a clause. At the head of a line it is one.
    """
    operand = re.search(r"[0-9)%][ \t]*\Z|\w\Z", before)
    return minus == "-" and operand is None


def as_decimal(text: str) -> Decimal | None:
    if len(text) > _LONGEST:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
