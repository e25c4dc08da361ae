"""Open-answer metrics against torchmetrics' SQuAD and rouge-score, on real pairs of texts.

    REAL_DATA_DIR=FOLDER python tests/benchmarks/overlap_vs_peers.py

Every gold answer of Dolly's files is held against itself, its first half and the next answer.
What is compared is what `open_qa` measures. Runs in `.venv-bench`; fails where a number differs.
"""

import csv
import sys
from pathlib import Path

from real_data import real_or_skip
from rouge_score.rouge_scorer import RougeScorer
from summary import ROOT
from torchmetrics.functional.text import squad as their_squad

sys.path.append(str(ROOT / "workflow" / "scripts"))
from snaketune.data.example import Example
from snaketune.data.formats.dolly import Dolly
from snaketune.data.record import Fields
from snaketune.tasks.open_qa import fold
from snaketune.tasks.task import Answered, task_of

TASK = task_of("open_qa")


def golds(folder: Path) -> list[str]:
    """The answers of both files."""
    found = []
    for name in ("test", "train"):
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8-sig") as file:
            found += [Dolly().example(Fields(row)).gold for row in csv.DictReader(file)]
    return found


def main() -> None:
    """Compares, and prints how many pairs agree."""
    texts = golds(real_or_skip("dolly"))
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    pairs = [
        (output, gold)
        for gold, other in zip(texts, [*texts[1:], texts[0]], strict=True)
        for output in (gold, gold[: len(gold) // 2], other)
    ]
    for output, gold in pairs:
        theirs = their_squad(
            [{"prediction_text": output, "id": "0"}],
            [{"answers": {"answer_start": [0], "text": [gold]}, "id": "0"}],
        )
        row = TASK.score(Answered(Example("e", "Q?", gold=gold), {"output": output}, None))
        ours = (100.0 * row["squad_exact"], 100 * row["squad_f1"])
        expected = (float(theirs["exact_match"]), float(theirs["f1"]))
        if any(abs(a - b) > 1e-3 for a, b in zip(ours, expected, strict=True)):
            raise SystemExit(f"SQuAD: {ours}, torchmetrics has {expected}: {output!r}, {gold!r}")
        rouge = scorer.score(fold(gold), fold(output))["rougeL"].fmeasure
        if row["rouge_l"] != rouge or row["rouge_l_half"] != (rouge >= 0.5):
            raise SystemExit(f"ROUGE-L differs from rouge-score: {output!r}, {gold!r}")
    print(f"{len(pairs)} pairs of {len(texts)} answers: SQuAD EM and F1, ROUGE-L agree")


if __name__ == "__main__":
    main()
