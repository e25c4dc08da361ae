"""Task `open_qa`: what an answer has in common with the gold one.

`exact`, `relaxed`, `f1`, `rouge_l` and `rouge_l_half` are over folded texts (`text_overlap.py`);
`squad_exact` and `squad_f1` over SQuAD's normalisation, which knows ASCII punctuation only and
takes the articles out too (Rajpurkar et al. 2016, evaluate-v1.1). All are given for all answers and
for the short ones. Thoughts are no part of an answer. Of several right answers the one that a
metric likes best counts; a gold answer without a single word can't be measured by words: missing.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from snaketune.config.evaluation import AnswersSpec
from snaketune.data.example import GOLDS
from snaketune.prompts.thoughts import without_thoughts
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
    once,
    shares_of_hits,
    task,
)
from snaketune.tasks.text_overlap import fold, relaxed, rouge_l, squad, token_f1, tokens_of

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

    version = 2
    schema = SCHEMA
    paired = MEANS | SHARES
    content: ClassVar = (
        "by token recall of the gold answer",
        lambda score: _held(score),
    )
    subsets: ClassVar = {SHORT: lambda score: score["short"]}
    groups: ClassVar = {
        "Nearer to the gold answer now": lambda base, tuned: _f1(tuned) > _f1(base),
        "Farther from the gold answer now": lambda base, tuned: (
            (tuned["f1"] or 0) < (base["f1"] or 0)
        ),
        "As near as before": lambda base, tuned: tuned["f1"] == base["f1"],
        "Empty: the model said nothing": lambda base, tuned: not tuned["output"].strip(),
    }

    def score(self, row: Answered) -> Score:
        """The row of one answer."""
        spec, golds = _spec(row.protocol), _golds(row)
        output = row.prediction["output"]
        said, wanted = _read(without_thoughts(output) or ""), [_read(gold) for gold in golds]
        rows = [_overlap(said, gold, spec) for gold in wanted]
        best = {name: _best(found[name] for found in rows) for name in rows[0]}
        return {
            "id": row.example.id,
            "cluster": cluster_of(row.example),
            "question": row.example.asked if row.example.history else row.example.question,
            "context": row.example.context,
            "gold": " | ".join(golds),
            "output": output,
            **best,
            "words": len(said.tokens),
            "gold_words": len(wanted[0].tokens),
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
        if score["f1"] is None or score["rouge_l"] is None:
            return "exact" if score["exact"] else "no words to compare"
        return f"F1 {100 * score['f1']:.1f} %, ROUGE-L {100 * score['rouge_l']:.1f} %"


def _golds(row: Answered) -> list[str]:
    """All right answers, the first one first."""
    further = json.loads(row.example.meta).get(GOLDS) or []
    return list(dict.fromkeys([row.gold, *map(str, further)]))


@once
def _spec(protocol: Mapping[str, Any]) -> AnswersSpec:
    return AnswersSpec.model_validate(protocol.get("answers") or {})


class _Text(NamedTuple):
    """An answer, as it stands and as the metrics take it."""

    text: str
    folded: str
    tokens: list[str]
    squad: str


def _read(text: str) -> _Text:
    folded = fold(text)
    return _Text(text, folded, tokens_of(folded), squad(text))


def _overlap(said: _Text, gold: _Text, spec: AnswersSpec) -> Score:
    """What an answer has in common with one of the right ones."""
    folded, wanted = said.folded, gold.folded
    short = len(gold.tokens) <= spec.short_threshold
    overlap = rouge_l(folded, wanted)
    if not wanted:  # such as `+` or `:-)`: nothing is left but the signs themselves
        folded, wanted = said.text.strip(), gold.text.strip()
    return {
        "short": short,
        "exact": folded == wanted and bool(folded),
        "relaxed": relaxed(folded, wanted, short, spec.strict),
        "f1": token_f1(said.tokens, gold.tokens) if gold.tokens else None,
        "rouge_l": overlap,
        "rouge_l_half": None if overlap is None else overlap >= HALF,
        "squad_exact": said.squad == gold.squad and bool(said.squad),
        "squad_f1": token_f1(said.squad.split(), gold.squad.split()),
    }


def _held(score: Score) -> float | None:
    """The share of the gold answer's tokens that stand in the reply, however much else does; of
    several right answers the one that is held best."""
    said = Counter(tokens_of(fold(without_thoughts(score["output"]) or "")))
    golds = [Counter(tokens_of(fold(gold))) for gold in score["gold"].split(" | ")]
    return _best((said & gold).total() / gold.total() for gold in golds if gold)


def _best(values: Iterable[bool | float | None]) -> bool | float | None:
    return max((value for value in values if value is not None), default=None)


def _f1(score: Score) -> float:
    return score["f1"] or 0.0
