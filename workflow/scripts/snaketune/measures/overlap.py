"""How much an open answer has in common with the gold one.

Two normalisations: `fold` (lower case, punctuation out, white space folded), and SQuAD's, which
knows ASCII punctuation only and takes the articles out too (Rajpurkar et al. 2016, evaluate-v1.1).
"""

import re
import string
import sys
import unicodedata
from collections import Counter
from functools import cache
from typing import Any

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def fold(text: str) -> str:
    """Lower case, without punctuation (typographic quotes and dashes too), white space folded."""
    return " ".join(text.lower().translate(_all_punctuation()).split())


@cache
def _all_punctuation() -> dict[int, None]:
    """ASCII's, among which are symbols such as `$`, and what Unicode calls so."""
    marks = (i for i in range(sys.maxunicode) if unicodedata.category(chr(i))[0] == "P")
    return dict.fromkeys(marks) | _PUNCTUATION


def squad(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, white space folded."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(one: str, other: str) -> float:
    """F1 over the multisets of the words of two normalised texts; 0 where they share none."""
    first, second = one.split(), other.split()
    shared = sum((Counter(first) & Counter(second)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(first), shared / len(second)
    return 2 * precision * recall / (precision + recall)


def contains(longer: str, shorter: str) -> bool:
    """Whether the words of `shorter` stand in `longer` side by side; an empty text stands in
    none."""
    return bool(shorter) and f" {shorter} " in f" {longer} "


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


def rouge_l(output: str, gold: str) -> float:
    """ROUGE-L F1 (`rougeL`, over the whole text, Porter stemmer on) as rouge-score has it."""
    return _scorer().score(gold, output)["rougeL"].fmeasure


@cache
def _scorer() -> Any:
    # Its import takes a second, for nltk.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)
