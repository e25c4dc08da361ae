"""Open answers: overlap with the gold answer, strictly and as published figures had it."""

import csv
import json
import os
import random
import re
import string
import time
from collections import Counter
from pathlib import Path

import pytest

from snaketune.data.example import Example
from snaketune.data.formats.dolly import Dolly
from snaketune.data.record import Fields
from snaketune.statistics.paired import compare
from snaketune.tasks.open_qa import SHORT
from snaketune.tasks.task import ALL, Answered, task_of
from snaketune.tasks.text_overlap import (
    contains,
    fold,
    longest_common,
    relaxed,
    rouge_l,
    squad,
    token_f1,
)

TASK = task_of("open_qa")


def scored(output, gold, name="e", **answers):
    prediction = {"output": output, "finish": "stop", "new_tokens": 3}
    example = Example(name, "Q?", gold=gold)
    return TASK.score(Answered(example, prediction, None, {"answers": answers}))


def test_normalisations():
    assert fold("  The  Eiffel-Tower, Paris. ") == "the eiffeltower paris"
    assert squad("The Eiffel-Tower,  a Paris. ") == "eiffeltower paris"


def test_typographic_marks_are_punctuation_but_not_squads():
    assert fold("“The driver’s car” – won… 5 $") == fold('"The driver\'s car" - won... 5 $')
    assert fold("“The driver’s car”") == "the drivers car"
    assert squad("“car”") == "“car”"


def test_f1_counts_words_as_often_as_they_stand():
    assert token_f1(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx(2 / 3)
    assert token_f1([], ["a"]) == 0


@pytest.mark.parametrize(
    ("output", "gold", "strict", "loose"),
    [
        ("art", "the party", False, True),
        ("", "Paris", False, True),
        (" !?", "Paris", False, True),
        ("It is Paris, of course.", "Paris", True, True),
        ("Paris", "in Paris", True, True),
        ("Rome", "Paris", False, False),
    ],
)
def test_relaxed_matches_by_words_or_as_published(output, gold, strict, loose):
    assert scored(output, gold)["relaxed"] is strict
    assert scored(output, gold, strict=False)["relaxed"] is loose


def test_only_short_golds_are_matched_loosely():
    gold = " ".join(f"w{i}" for i in range(16))
    assert not scored("w3", gold)["relaxed"]
    assert not scored("w3", gold)["short"]
    assert scored("w3", gold, short_threshold=16)["relaxed"]
    assert scored(gold, gold)["relaxed"], "an exact match is one at any length"


def test_containment_is_by_whole_words():
    assert contains("new york city", "york city")
    assert not contains("newyork", "york")
    assert not contains("york", "")
    assert relaxed("x", "x", short=False, strict=True)


def test_an_empty_answer_matches_nothing():
    row = scored("", "")
    assert not (row["exact"] or row["relaxed"] or row["squad_exact"])
    assert (row["f1"], row["rouge_l"], row["squad_f1"]) == (None, None, 0)
    row = scored("", "Paris")
    assert (row["f1"], row["rouge_l"], row["squad_f1"]) == (0, 0, 0)


def test_rouge_l_stems_and_is_over_the_whole_text():
    assert rouge_l("the cats were running", "the cat was running") == pytest.approx(0.75)
    assert rouge_l("a b c d", "c d a b") == pytest.approx(0.5)


def test_all_metrics_again_on_the_short_answers():
    rows = [scored("Paris", "Paris", "a"), scored("w1", "w1 " * 20, "b")]
    found = {(r["subset"], r["metric"]): r for r in TASK.metrics("e", rows)}
    for metric in ("f1", "rouge_l", "squad_f1", "exact", "relaxed", "rouge_l_half", "squad_exact"):
        assert found[ALL, metric]["n"] == 2
        assert found[SHORT, metric]["n"] == 1
    assert found[SHORT, "exact"]["value"] == 1 and found[ALL, "exact"]["value"] == 0.5


def test_means_are_compared_by_sign_flips():
    base = [scored("x", "x y", f"e{i}") for i in range(12)]
    better = [scored("x y", "x y", f"e{i}") for i in range(12)]
    found = compare(base, better, TASK.paired["f1"])
    assert found["difference"] == pytest.approx(1 / 3)
    assert (found["only_tuned"], found["only_base"]) == (12, 0)
    assert found["p"] == pytest.approx(2 / 2**12)
    assert found["verdict"] == "better"
    same = compare(base, base, TASK.paired["f1"])
    assert (same["p"], same["verdict"]) == (1.0, "no significant difference")


def reference_f1(prediction: str, truth: str) -> float:
    """SQuAD's own evaluation, version 1.1, in its own order of steps."""

    def words(text):
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split()).split()

    common = Counter(words(prediction)) & Counter(words(truth))
    same = sum(common.values())
    if same == 0:
        return 0
    precision, recall = same / len(words(prediction)), same / len(words(truth))
    return 2 * precision * recall / (precision + recall)


REAL = os.environ.get("REAL_DATA_DIR")


@pytest.mark.skipif(not REAL, reason="REAL_DATA_DIR is unset: no real data here")
def test_real_answers_against_the_references():
    """Each of the 1,015 gold answers against itself, its first half and the next one."""
    from rouge_score.rouge_scorer import RougeScorer

    golds = []
    for name in ("test", "train"):
        with (Path(REAL) / "dolly" / f"{name}.csv").open(newline="", encoding="utf-8-sig") as file:
            golds += [Dolly().example(Fields(row)).gold for row in csv.DictReader(file)]
    assert len(golds) == 1015
    assert sum(len(fold(g).split()) <= 15 for g in golds[:15]) == 4, "as published"
    scorer, compared = RougeScorer(["rougeL"], use_stemmer=True), 0
    for gold, other in zip(golds, [*golds[1:], golds[0]], strict=True):
        for output in (gold, gold[: len(gold) // 2], other):
            row = scored(output, gold)
            assert row["squad_f1"] == pytest.approx(reference_f1(output, gold))
            folded = fold(gold), fold(output)
            if all(text.isascii() for text in folded):  # theirs knows no other letters
                compared += 1
                assert row["rouge_l"] == scorer.score(*folded)["rougeL"].fmeasure
    assert compared > 2800


SCRIPTS = [
    ("北京", "北京", True, 1, 1),
    ("答案是北京", "北京", False, 4 / 7, 4 / 7),
    ("Москва", "Москва", True, 1, 1),
    ("กรุงเทพ", "กรุงเทพ", True, 1, 1),
    ("iPhone手机", "iPhone 手机", False, 1, 1),
    ("cafe\u0301", "caf\u00e9", True, 1, 1),
    ("STRASSE", "Straße", True, 1, 1),
    ("M ller", "Müller", False, 0, 0),
    ("-5", "5", False, 0, None),
    ("−5", "-5", True, 1, None),
    ("3.5", "35", False, 0, None),
    ("2,125", "2125", True, 1, 1),
    ("3,5", "3.5", False, 0, None),
    ("<think>\nIs it Lyon?\n</think>\n\nParis", "Paris", True, 1, 1),
    ("<think>\nParis", "Paris", False, 0, 0),
]


@pytest.mark.parametrize(("output", "gold", "exact", "f1", "overlap"), SCRIPTS)
def test_other_scripts_numbers_and_thoughts(output, gold, exact, f1, overlap):
    row = scored(output, gold)
    assert (row["exact"], row["f1"]) == (exact, pytest.approx(f1))
    assert overlap is None or row["rouge_l"] == pytest.approx(overlap)


def test_of_several_right_answers_the_best_one_counts_for_each_metric():
    example = Example("e", "Q?", gold="in the library", meta=json.dumps({"golds": ["library"]}))
    found = TASK.score(Answered(example, {"output": "Library"}, None, {"answers": {}}))
    assert (found["exact"], found["f1"], found["squad_f1"]) == (True, 1, 1)
    assert found["gold"] == "in the library | library"
    found = TASK.score(Answered(example, {"output": "in the"}, None, {"answers": {}}))
    assert found["f1"] == pytest.approx(0.8) and not found["exact"]


def test_a_gold_answer_without_words_is_missing_from_what_counts_words():
    row, other = scored("+", "+"), scored("-", "+", "f")
    assert (row["exact"], other["exact"]) == (True, False)
    assert row["f1"] is row["rouge_l"] is row["rouge_l_half"] is None
    found = {r["metric"]: r for r in TASK.metrics("e", [row, scored("x", "x", "g")])}
    assert (found["f1"]["n"], found["exact"]["n"]) == (1, 2)


def test_the_cases_that_went_wrong():
    cases = Path(REAL or "nowhere").parent / "cases/open_answers.jsonl"
    if not cases.is_file():
        pytest.skip(f"found no {cases}: REAL_DATA_DIR is unset, or has no cases beside it")
    for line in map(json.loads, cases.read_text(encoding="utf-8").splitlines()):
        exact = scored(line["output"], line["gold"])["exact"]
        assert line["exact"] in (None, exact), line


def test_the_longest_common_subsequence_is_that_of_the_table():
    draw = random.Random(0)
    for _ in range(300):
        one, other = (draw.choices("abcd", k=draw.randint(0, 12)) for _ in range(2))
        table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
        for i, a in enumerate(one):
            for j, b in enumerate(other):
                near = max(table[i][j + 1], table[i + 1][j])
                table[i + 1][j + 1] = table[i][j] + 1 if a == b else near
        assert longest_common(one, other) == table[-1][-1]


def test_a_reply_of_150_000_words_is_measured_in_seconds():
    draw = random.Random(1)
    words = [f"{draw.choice('abcdefgh')}{draw.randrange(5000)}" for _ in range(150_000)]
    start = time.process_time()
    scored(" ".join(words), " ".join(words[:200]))
    assert time.process_time() - start < 15
