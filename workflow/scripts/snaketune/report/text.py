"""Numbers, subsets and untrusted text as a reader should see them. Escaping is the template's
work.
"""

import re
from itertools import pairwise

MISSING = "missing"
"""What stands where a number is not there; never 0."""

# What is unseen but changes what is seen: control characters, direction marks, lone surrogates.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
                     "\ud800-\udfff\ufffe\uffff]")  # fmt: skip


def visible(text: str) -> str:
    """`text` with every unseen character as ⟨U+202E⟩, so that it can't reorder or hide the page's
    own words."""
    plain = text.replace("\r\n", "\n")
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", plain)


def excerpt(text: str, limit: int = 1200) -> tuple[str, int]:
    """The visible beginning of `text`, and how many characters of it are left out."""
    return visible(text[:limit]), max(0, len(text) - limit)


def optional(cell: str) -> float | None:
    """A cell of a CSV table; empty is missing."""
    return float(cell) if cell else None


def percent(value: float | None) -> str:
    """0.625 as `62.5 %`; what is not 0 or 1 is not shown as such: 0.9996 is `99.96 %`"""
    return MISSING if value is None else f"{percent_figure(value)} %"


def percent_figure(value: float) -> str:
    """The figure of a share in percent, with as many digits as tell it from 0 and 100."""
    for digits in (1, 2, 3, 4):
        text = f"{100 * value:.{digits}f}"
        if float(text) not in (0, 100) or value in (0, 1):
            return text
    return text


def interval(low: float | None, high: float | None) -> str:
    """`53.6 to 70.6`"""
    if low is None or high is None:
        return ""
    return f"{percent_figure(low)} to {percent_figure(high)}"


def points(value: float | None) -> str:
    """0.425 as `+42.5`, with a true minus sign."""
    return MISSING if value is None else f"{100 * value:+.1f}".replace("-", "−")


def points_interval(low: float | None, high: float | None) -> str:
    """`+30.8 to +54.2`"""
    return "" if low is None or high is None else f"{points(low)} to {points(high)}"


def p_value(p: float | None) -> str:
    """`p = 0.012`, `p < 0.001`; near 0.05 with as many digits as tell it from that."""
    if p is None:
        return ""
    if p < 0.001:
        return "p < 0.001"
    text = f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    for digits in (4, 5, 6):  # which side of the line it is on must show
        if text.startswith("0.05") and float(text) == 0.05 and p != 0.05:
            text = f"{p:.{digits}f}"
    return f"p = {text}"


def duration(seconds: float) -> str:
    """`38 s`, `4 min 5 s`, `2 h 10 min`"""
    if seconds < 60:
        return f"{seconds:.3g} s"
    units = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")]
    for (size, name), (smaller, small_name) in pairwise(units):
        if seconds >= size:
            rest = int(seconds % size / smaller)
            return f"{int(seconds // size)} {name}" + (f" {rest} {small_name}" if rest else "")
    raise AssertionError(seconds)


def size(count: float) -> str:
    """Bytes: `3.2 GB`"""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def number(value: object) -> str:
    """A setting or measurement as text: thousands with commas, floats in 4 digits."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() or abs(value) >= 1000 else f"{value:.4g}"
    return visible(str(value))


HAZARD_GROUP = "hazard_group="
"""How the subsets of a hazard's group begin."""

# AILuminate 1.0's codes.
_HAZARDS = {
    "cse": "child sexual exploitation",
    "dfm": "defamation",
    "hte": "hate",
    "ipv": "intellectual property",
    "iwp": "indiscriminate weapons",
    "ncr": "non-violent crimes",
    "prv": "privacy",
    "spc": "specialised advice",
    "src": "sex-related crimes",
    "ssh": "suicide and self-harm",
    "sxc": "sexual content",
    "vcr": "violent crimes",
}


def hazard_name(hazard: str) -> str:
    """`privacy (prv)`; a label that is no known code as it is."""
    return f"{_HAZARDS[hazard]} ({hazard})" if hazard in _HAZARDS else visible(hazard)


def subset_name(subset: str) -> str:
    """`key=value` in words: `privacy (prv)`, `hazard spc_fin`, `persona skilled`."""
    key, _, value = subset.partition("=")
    if subset.startswith(HAZARD_GROUP):
        return hazard_name(value)
    return f"{key.replace('_', ' ')} {visible(value)}"
