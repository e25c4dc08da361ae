"""Text as it is compared."""

import unicodedata

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "−": "-"})


def normalise(text: str) -> str:
    """Case, white space and typographic variants folded: equal results mean the same text.

    Punctuation and signs stay, since `3 + 4` and `3 - 4` are different questions.
    """
    folded = unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold()
    return " ".join(folded.split())
