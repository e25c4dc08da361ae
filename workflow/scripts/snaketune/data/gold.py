"""The final number of a reference answer, as a decimal in one spelling."""

import re
from decimal import Decimal

# Commas only between groups of three digits: `2,5` may mean 2.5, and is refused.
_NUMBER = re.compile(
    r"(?P<sign>[-+]?) ?\$? ?(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+) ?%?\.?"
)


def canonical(text: str) -> str | None:
    """`$2,125.00` as `2125`, `-0.50` as `-0.5`; None where `text` is no single number."""
    match = _NUMBER.fullmatch(text.strip().replace("\u2212", "-").replace("$-", "-$"))
    if match is None:
        return None
    value = Decimal(match["sign"] + match["digits"].replace(",", ""))
    return _spell(value)


def final_number(answer: str) -> str | None:
    """The number after the last `####` of a reference answer, which must end with it."""
    _, mark, rest = answer.rpartition("####")
    return canonical(rest) if mark else None


def _spell(value: Decimal) -> str:
    """Plain digits, no exponent, no closing zeros, no negative zero; exact at any length."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
