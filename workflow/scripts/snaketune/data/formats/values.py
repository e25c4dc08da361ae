"""What records hold, checked alike for every format: options, labels, final numbers, numbers by
option or label, and lists or dicts that a table holds as text. Nothing is evaluated.

Imported by the Snakefile.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Sequence
from decimal import Decimal
from math import isfinite
from typing import TypeGuard

from snaketune.data.record import Fields, RecordError, describe, fields_found, is_blank, parse

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
REPEATED = "repeated_options"


def checked_options(
    name: str, places: Sequence[str], options: Sequence[object], *, keep_repeated: bool
) -> list[str]:
    """`options` as text, none empty; whole numbers are written out. For messages `name` is the
    field of all and `places` are those of each. Raises `RecordError`."""
    if len(options) > len(LETTERS):
        raise _too_many("too_many_options", name, options, f"at most {len(LETTERS)} options")
    texts = [_option_text(place, option) for place, option in zip(places, options, strict=True)]
    if not keep_repeated and has_repeats(texts):
        again = next(text for text in texts if texts.count(text) > 1)
        found = f"{describe(again)} {texts.count(again)} times among the options"
        raise RecordError(REPEATED, name, found, "options that differ (or repeated_options: keep)")
    return texts


def _option_text(place: str, option: object) -> str:
    if isinstance(option, int) and not isinstance(option, bool):
        return str(option)
    if not isinstance(option, str):
        raise RecordError("wrong_type", place, describe(option), "the text of an option")
    if is_blank(option):
        raise RecordError("empty_option", place, "empty text", "the text of an option")
    return option.strip()


def option_places(name: str, count: int) -> list[str]:
    """The places of the options in a list: `wrong_options[0]`, …"""
    return [f"{name}[{i}]" for i in range(count)]


def has_repeats(options: Sequence[str]) -> bool:
    """Whether an option stands twice, but for white space."""
    return len({" ".join(option.split()) for option in options}) < len(options)


def _too_many(reason: str, name: str, options: Sequence[object], expected: str) -> RecordError:
    return RecordError(reason, name, f"{len(options)} options", expected)


def checked_label(fields: Fields, name: str, labels: Sequence[str]) -> str:
    """The label in the field `name` as text, one of `labels`: as it stands or, where that is none
    of them, what the source calls its number. Raises `RecordError`."""
    expected = f"one of {', '.join(labels)}"
    if set(labels) <= _SWITCHES:
        expected += " (as YAML reads yes and no without quotes)"
    if name not in fields.value:
        raise RecordError("missing", name, fields_found(list(fields.value)), expected)
    value = fields.value[name]
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        label = str(value).lower().removesuffix(".0")
    else:
        label = fields.identifier(name)
    known = (label, fields.class_name(name), label.lower() if label.lower() in _SWITCHES else None)
    found = next((one for one in known if one is not None and one in labels), None)
    if found is None:
        raise fields.fault("unknown_label", name, expected)
    return found


_SWITCHES = {"true", "false"}


# Commas only between groups of three digits: `2,5` may mean 2.5, and is refused.
_NUMBER = re.compile(
    r"(?P<sign>[-+]?) ?\$? ?(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+) ?%?\.?"
)


def canonical_number(text: str) -> str | None:
    """`$2,125.00` as `2125`, `-0.50` as `-0.5`; None where `text` is no single number."""
    match = _NUMBER.fullmatch(text.strip().replace("\u2212", "-").replace("$-", "-$"))
    if match is None:
        return None
    value = Decimal(match["sign"] + match["digits"].replace(",", ""))
    return _spell(value)


def final_number(answer: str) -> str | None:
    """The number after the last `####` of a reference answer, which must end with it."""
    _, mark, rest = answer.rpartition("####")
    return canonical_number(rest) if mark else None


def _spell(value: Decimal) -> str:
    """Plain digits, no exponent, no closing zeros, no negative zero; exact at any length."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def is_number(value: object) -> bool:
    """Whether JSON holds a finite number there: its NaN and Infinity are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def is_count(value: object) -> bool:
    """Whether it is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def numbers_for(
    fields: Fields,
    name: str,
    keys: Sequence[str],
    reason: str,
    expected: str,
    right: Callable[[object], bool] = is_number,
) -> list:
    """What the field `name` holds for each of `keys`, from a list in their order or an object by
    key. Raises `RecordError` where one is missing or not `right`."""
    value = fields.value.get(name)
    if isinstance(value, dict) and set(value) == set(keys):
        value = [value[key] for key in keys]
    if not isinstance(value, list) or len(value) != len(keys):
        raise RecordError(reason, name, describe(fields.value.get(name)), expected)
    if wrong := [x for x in value if not right(x)]:
        raise RecordError(reason, name, f"{describe(wrong[0])} among them", expected)
    return value


def read_printed(text: str) -> object:
    """What JSON, or Python's print of lists, dicts and arrays, says; of a printed dict only what
    stands under `value`, so that nothing else needs to be understood. Raises `ValueError` where
    `text` is not all of it one list or dict, or has a key twice."""
    if not text.lstrip().startswith(("{", "[")):
        raise ValueError("no list or dict")
    try:
        value, repeats = parse(text)
    except (ValueError, RecursionError):
        return _python(text)
    if repeats:
        raise ValueError("a key twice")
    return value


def _python(text: str) -> object:
    """What Python printed."""
    try:
        return _plain_value(ast.parse(text.strip(), mode="eval").body, text.strip())
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None


def _plain_value(node: ast.expr, text: str) -> object:
    """The value of a piece of `text`."""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        values = [_plain_value(value, text) for key, value in pairs if _is_value(key)]
        if len(values) > 1:
            raise ValueError("a key twice")
        return {"value": values[-1]} if values else {}
    if isinstance(node, ast.List):
        return [item for element in node.elts for item in _element(element, text)]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id == "nan":
        return None
    if _is_array(node) and node.args and isinstance(node.args[0], ast.List):
        return _plain_value(node.args[0], text)
    raise ValueError("no list, dict, array or plain value")


def _element(node: ast.expr, text: str) -> list[object]:
    """An element of a list. An array prints its texts without commas (`['a' 'b']`), which Python
    would read as one text."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return [_plain_value(node, text)]
    # In brackets, so that the literals may stand on several lines.
    source = io.StringIO(f"({ast.get_source_segment(text, node)})")
    tokens = tokenize.generate_tokens(source.readline)
    return [ast.literal_eval(t.string) for t in tokens if t.type == tokenize.STRING]


def _is_array(node: ast.expr) -> TypeGuard[ast.Call]:
    """Whether it is written `array(…)`."""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "array"
    )


def _is_value(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "value"
