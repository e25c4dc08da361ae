"""Task `open_qa`: what an answer has in common with the gold one.

`exact`, `relaxed`, `f1`, `rouge_l` and `rouge_l_half` are over folded texts (`fold`: lower case,
punctuation out, white space folded); `squad_exact` and `squad_f1` over SQuAD's normalisation, which
knows ASCII punctuation only and takes the articles out too (Rajpurkar et al. 2016, evaluate-v1.1).
All are given for all answers and for the short ones.
"""

import re
import string
import sys
import unicodedata
from collections import Counter
from functools import cache
from typing import Any, ClassVar

import pyarrow as pa

from snaketune.config.evaluation import AnswersSpec
from snaketune.tasks.task import (
    ALL,
    FINISHES,
    Answered,
    Metric,
    Outcome,
    Score,
    Task,
    cluster_of,
    mean_score,
    shares_of_hits,
    task,
)

HALF = 0.5
SHORT = "answer=short"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("cluster", pa.string()),  # questions of one problem share it; null: none is known
        ("question", pa.string()),
        ("context", pa.string()),
        ("gold", pa.string()),
        ("output", pa.string()),
        ("short", pa.bool_()),  # the gold answer is
        ("exact", pa.bool_()),
        ("relaxed", pa.bool_()),
        ("f1", pa.float64()),
        ("rouge_l", pa.float64()),
        ("rouge_l_half", pa.bool_()),
        ("squad_exact", pa.bool_()),
        ("squad_f1", pa.float64()),
        ("words", pa.int64()),
        ("gold_words", pa.int64()),
        ("finish", pa.string()),
        ("new_tokens", pa.int64()),
    ]
)

SHARES: dict[str, Outcome] = {
    "exact": lambda score: score["exact"],
    "relaxed": lambda score: score["relaxed"],
    "rouge_l_half": lambda score: score["rouge_l_half"],
    "squad_exact": lambda score: score["squad_exact"],
}
MEANS: dict[str, Outcome] = {
    "f1": lambda score: score["f1"],
    "rouge_l": lambda score: score["rouge_l"],
    "squad_f1": lambda score: score["squad_f1"],
}
ABOUT: dict[str, Outcome] = {
    "empty": lambda score: not score["output"].strip(),
    **FINISHES,
}


@task(goals=("f1", "exact", "relaxed", "rouge_l", "rouge_l_half", "squad_exact", "squad_f1"))
class OpenQa(Task):
    """What an answer has in common with the gold one."""

    schema = SCHEMA
    paired = MEANS | SHARES
    subsets: ClassVar = {SHORT: lambda score: score["short"]}
    groups: ClassVar = {
        "Nearer to the gold answer now": lambda base, tuned: tuned["f1"] > base["f1"],
        "Farther from the gold answer now": lambda base, tuned: tuned["f1"] < base["f1"],
        "As near as before": lambda base, tuned: tuned["f1"] == base["f1"],
        "Empty: the model said nothing": lambda base, tuned: not tuned["output"].strip(),
    }

    def score(self, row: Answered) -> Score:
        """The row of one answer."""
        spec = AnswersSpec.model_validate(row.protocol.get("answers") or {})
        output, gold = row.prediction["output"], row.gold
        folded, wanted = fold(output), fold(gold)
        short = len(wanted.split()) <= spec.short_threshold
        overlap = rouge_l(folded, wanted)
        return {
            "id": row.example.id,
            "cluster": cluster_of(row.example),
            "question": row.example.question,
            "context": row.example.context,
            "gold": gold,
            "output": output,
            "short": short,
            "exact": folded == wanted and bool(folded),
            "relaxed": relaxed(folded, wanted, short, spec.strict),
            "f1": token_f1(folded, wanted),
            "rouge_l": overlap,
            "rouge_l_half": overlap >= HALF,
            "squad_exact": squad(output) == squad(gold) and bool(squad(output)),
            "squad_f1": token_f1(squad(output), squad(gold)),
            "words": len(folded.split()),
            "gold_words": len(wanted.split()),
            "finish": row.prediction.get("finish"),
            "new_tokens": row.prediction.get("new_tokens"),
        }

    def metrics(self, eval_name: str, scores: list[Score]) -> list[Metric]:
        """Shares and means over all answers and over the short ones."""
        rows = []
        for subset, members in self.members(scores).items():
            rows += [mean_score(eval_name, subset, k, members, of) for k, of in MEANS.items()]
            rows += shares_of_hits(eval_name, subset, members, SHARES)
        return [*rows, *shares_of_hits(eval_name, ALL, scores, ABOUT)]

    def counts(self, scores: list[Score]) -> dict[str, int]:
        """What `final_metrics` prints."""
        return {
            "exact": sum(score["exact"] for score in scores),
            "relaxed": sum(score["relaxed"] for score in scores),
            "short": sum(score["short"] for score in scores),
            "empty": sum(not score["output"].strip() for score in scores),
            "total": len(scores),
        }

    def reading(self, score: Score) -> str:
        return f"F1 {100 * score['f1']:.1f} %, ROUGE-L {100 * score['rouge_l']:.1f} %"


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
