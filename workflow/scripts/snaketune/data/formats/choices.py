"""Options of multiple-choice questions, checked alike for every format."""

from collections.abc import Sequence

from snaketune.data.faults import RecordError, describe

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
REPEATED = "repeated_options"


def checked_options(
    name: str, places: Sequence[str], options: Sequence[object], *, keep_repeated: bool
) -> list[str]:
    """`options` as text, none empty; whole numbers are written out. For messages `name` is the
    field of all and `places` are those of each. Raises `RecordError`."""
    if len(options) > len(LETTERS):
        raise _fault("too_many_options", name, options, f"at most {len(LETTERS)} options")
    texts = [_text(place, option) for place, option in zip(places, options, strict=True)]
    if not keep_repeated and has_repeats(texts):
        again = next(text for text in texts if texts.count(text) > 1)
        found = f"{describe(again)} {texts.count(again)} times among the options"
        raise RecordError(REPEATED, name, found, "options that differ (or repeated_options: keep)")
    return texts


def _text(place: str, option: object) -> str:
    if isinstance(option, int) and not isinstance(option, bool):
        return str(option)
    if not isinstance(option, str):
        raise RecordError("wrong_type", place, describe(option), "the text of an option")
    if not option.strip():
        raise RecordError("empty_option", place, "empty text", "the text of an option")
    return option.strip()


def places(name: str, count: int) -> list[str]:
    """The places of the options in a list: `wrong_options[0]`, …"""
    return [f"{name}[{i}]" for i in range(count)]


def has_repeats(options: Sequence[str]) -> bool:
    """Whether an option stands twice, but for white space."""
    return len({" ".join(option.split()) for option in options}) < len(options)


def _fault(reason: str, name: str, options: Sequence[object], expected: str) -> RecordError:
    return RecordError(reason, name, f"{len(options)} options", expected)
