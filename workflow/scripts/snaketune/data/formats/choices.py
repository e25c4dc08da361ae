"""Options of multiple-choice questions, checked alike for every format."""

from collections.abc import Sequence

from snaketune.data.faults import RecordError, describe

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
REPEATED = "repeated_options"


def checked_options(name: str, options: Sequence[object], *, keep_repeated: bool) -> list[str]:
    """`options` as text, none empty; `name` is the field for messages. Raises `RecordError`."""
    if len(options) > len(LETTERS):
        raise _fault("too_many_options", name, options, f"at most {len(LETTERS)} options")
    for letter, option in zip(LETTERS, options, strict=False):
        if not isinstance(option, str):
            raise RecordError("wrong_type", name, f"{describe(option)} as option {letter}", "text")
        if not option.strip():
            raise RecordError("empty_option", name, f"empty text as option {letter}", "text")
    texts = [option.strip() for option in options]
    if not keep_repeated and has_repeats(texts):
        again = next(text for text in texts if texts.count(text) > 1)
        found = f"{describe(again)} {texts.count(again)} times among the options"
        raise RecordError(REPEATED, name, found, "options that differ (or repeated_options: keep)")
    return texts


def has_repeats(options: Sequence[str]) -> bool:
    """Whether an option stands twice, but for white space."""
    return len({" ".join(option.split()) for option in options}) < len(options)


def _fault(reason: str, name: str, options: Sequence[object], expected: str) -> RecordError:
    return RecordError(reason, name, f"{len(options)} options", expected)
