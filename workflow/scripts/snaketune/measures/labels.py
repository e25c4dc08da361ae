"""A reply as a label."""

from collections.abc import Sequence

_DECORATION = " \t\r\n*_`'\".,:;!?#()[]<>"


def parse_label(reply: str, labels: Sequence[str]) -> str | None:
    """The label that the reply is, None for any other reply.

    Behind the last `</think>` the reply must be a label and nothing more, in any case and with
    white space or punctuation around it. Where two labels differ by no more than that, or one is
    nothing else, it must be written as the label is.
    """
    said = reply.rpartition("</think>")[2].strip()
    if said in labels:
        return said
    alike = [label for label in labels if _bare(label) and _bare(label) == _bare(said)]
    return alike[0] if len(alike) == 1 else None


def _bare(text: str) -> str:
    return text.strip(_DECORATION).casefold()
