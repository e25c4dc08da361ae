"""Numbers in predictions that were made elsewhere, one for each option or label."""

from collections.abc import Callable, Sequence
from math import isfinite

from snaketune.data.faults import RecordError, describe
from snaketune.data.record import Fields


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


def numbers(
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
