"""What two texts have in common: equal, contained, token F1 and ROUGE-L.

Texts are folded first: NFC, case, punctuation out but for what belongs to a number, white space
folded. Words stand between blanks; scripts that are written without any (Chinese, Japanese, Thai,
…) give a token a grapheme (Unicode's segmentation, by `regex`). `squad` is SQuAD's own rule.
"""

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import regex

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
# A minus that is a sign, and the marks within a number: -5 is not 5, nor 3.5 35.
_OF_NUMBERS = re.compile(r"(?<!\w)-(?=[.]?[0-9])|(?<=[0-9])[.,](?=[0-9])|(?<![\w.])\.(?=[0-9])")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_MINUS = re.compile(r"[\u2212\u2010-\u2013](?=[0-9])")
_KEPT = {"-": "\ue000", ".": "\ue001", ",": "\ue002"}
_BACK = {ord(code): mark for mark, code in _KEPT.items()}
_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}ー々]"
)
_PIECES = regex.compile(rf"(?:(?!{_UNSPACED.pattern})\X)+|\X")


def fold(text: str) -> str:
    """NFC, in one case, without punctuation (typographic quotes and dashes too) but for the sign
    and the marks of a number, white space folded."""
    if text.isascii():
        text = text.lower()
    else:
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
        text = _MINUS.sub("-", text)
    text = _THOUSANDS.sub("", text)
    text = _OF_NUMBERS.sub(lambda found: _KEPT[found[0]], text)
    return " ".join(text.translate(_all_punctuation()).split()).translate(_BACK)


@cache
def _all_punctuation() -> dict[int, None]:
    """ASCII's, among which are symbols such as `$`, and what Unicode calls so."""
    marks = (i for i in range(sys.maxunicode) if unicodedata.category(chr(i))[0] == "P")
    return dict.fromkeys(marks) | _PUNCTUATION


def squad(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, white space folded."""
    text = unicodedata.normalize("NFC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def tokens_of(folded: str) -> list[str]:
    """The tokens of a folded text."""
    words = folded.split()
    if folded.isascii() or not _UNSPACED.search(folded):
        return words
    return [piece for word in words for piece in _PIECES.findall(word)]


def token_f1(first: Sequence[str], second: Sequence[str]) -> float:
    """F1 over two multisets of tokens; 0 where they share none."""
    shared = sum((Counter(first) & Counter(second)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(first), shared / len(second)
    return 2 * precision * recall / (precision + recall)


def contains(longer: str, shorter: str) -> bool:
    """Whether the tokens of `shorter` stand in `longer` side by side; an empty text stands in
    none."""
    within, sought = (f" {' '.join(tokens_of(text))} " for text in (longer, shorter))
    return bool(shorter) and sought in within


def relaxed(output: str, gold: str, short: bool, strict: bool) -> bool:
    """Whether two folded texts are equal, or, where the gold one is short, one contains the other:
    by whole words where `strict`, else by characters, where an empty output is in any gold."""
    if output == gold and (output or not strict):
        return True
    if not short:
        return False
    if strict:
        return contains(output, gold) or contains(gold, output)
    return output in gold or gold in output


def rouge_l(output: str, gold: str) -> float | None:
    """ROUGE-L F1 (`rougeL`, over the whole text, Porter stemmer on) of two folded texts: as
    rouge-score has it where both are ASCII, else over the tokens of `tokens_of`, those in Latin
    letters stemmed. None where the gold one has no token to be found again."""
    plain = output.isascii() and gold.isascii()
    said, wanted = (_stemmed(text, plain) for text in (output, gold))
    if not wanted:
        return None
    common = longest_common(said, wanted)
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence, a row of the table at a time: a bit a token of
    the shorter text (Hyyrö 2004), so that 150,000 words take seconds and not minutes."""
    short, long = sorted((one, other), key=len)
    places: dict[str, int] = {}
    for place, token in enumerate(short):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(short)) - 1
    row = full
    for token in long:
        if met := row & places.get(token, 0):
            row = (row + met | row - met) & full
    return len(short) - row.bit_count()


_ALPHANUMERIC = re.compile("[a-z0-9]+")


def _stemmed(text: str, plain: bool) -> list[str]:
    """Tokens with words of more than three letters stemmed; where `plain`, those of rouge-score."""
    tokens = _ALPHANUMERIC.findall(text.lower()) if plain else tokens_of(text)
    return [_stem(t) if len(t) > 3 and t.isascii() else t for t in tokens]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    """By nltk's stemmer; the same words come again and again."""
    return _porter().stem(word)


@cache
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer  # its import takes a second

    return PorterStemmer()
