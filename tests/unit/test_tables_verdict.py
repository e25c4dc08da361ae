"""What is said of a run: a grid of made cases, each with the whole sentence, read by a person."""

import itertools
import json

import pytest
from synthetic_results import make_results, table_sources
from verdict_cases import CASES, case, guessed, missing, near, shares

from snaketune.tables.comparisons import comparison_rows
from snaketune.tables.evidence import all_evidence
from snaketune.tables.verdict import headlines, verdict_on
from snaketune.tasks.task import task_of

SAID = {
    "better, form plays no part": (
        "better",
        "Better: accuracy from 40.0 % to 52.5 %, +12.5 points (95 % interval +7.2 to +17.9, p "
        "< 0.001, 320 rows).",
    ),
    "better in content, by a reading of its own": (
        "better",
        "Better: accuracy from 40.0 % to 52.5 %, +12.5 points (95 % interval +7.2 to +17.9, p "
        "< 0.001, 320 rows). Read flexibly it is +11.9 points (+6.6 to +17.3, p < 0.001): the "
        "gain is in content.",
    ),
    "partly form": (
        "partly form",
        "Better, partly in the answer's form alone: accuracy from 10.6 % to 76.6 %, +65.9 "
        "points (95 % interval +60.5 to +71.0, p < 0.001, 320 rows). Read flexibly it is "
        "+21.9 points (+15.9 to +27.9, p < 0.001): the rest is the answer's form.",
    ),
    "form alone": (
        "form",
        "Learned the answer's form, no significant gain in content: accuracy from 10.6 % to "
        "76.6 %, +65.9 points (95 % interval +60.5 to +71.0, p < 0.001 adjusted for 3 runs, "
        "320 rows). Read flexibly it is +2.8 points (−1.5 to +7.3, p = 0.60); so many rows "
        "show differences from 6.1 points on. Could not be read: base 84.0 %, run 0.3 %.",
    ),
    "form, and nothing could be read in the base": (
        "form",
        "Learned the answer's form, no significant gain in content: accuracy from 0.0 % to "
        "60.0 %, +60.0 points (95 % interval +50.2 to +69.1, p < 0.001, 100 rows). Read "
        "flexibly there is no row to compare: content can't be told from form. Could not be "
        "read: base 100.0 %, run 10.0 %.",
    ),
    "form learned and content lost": (
        "mixed",
        "Learned the answer's form and lost content: accuracy from 10.6 % to 57.2 %, +46.6 "
        "points (95 % interval +41.1 to +52.1, p < 0.001, 320 rows). Read flexibly it is "
        "−15.6 points (−20.7 to −10.9, p < 0.001).",
    ),
    "content gained, not in the form": (
        "mixed",
        "Gained in content, but not in the form that was asked for: accuracy from 31.2 % to "
        "32.8 %, +1.6 points (95 % interval −2.2 to +5.4, p = 0.40, 320 rows). Read flexibly "
        "it is +18.8 points (+13.8 to +24.0, p < 0.001).",
    ),
    "content gained and form lost": (
        "mixed",
        "Gained in content and lost the answer's form: accuracy from 31.2 % to 14.1 %, −17.2 "
        "points (95 % interval −22.0 to −12.8, p < 0.001, 320 rows). Read flexibly it is "
        "+18.8 points (+13.8 to +24.0, p < 0.001).",
    ),
    "form lost": (
        "form lost",
        "Lost the answer's form, no significant change in content: accuracy from 62.5 % to "
        "25.9 %, −36.6 points (95 % interval −42.1 to −31.2, p < 0.001, 320 rows). Read "
        "flexibly it is −0.9 points (−4.3 to +2.4, p = 0.56); so many rows show differences "
        "from 4.5 points on.",
    ),
    "worse": (
        "worse",
        "Worse: accuracy from 62.5 % to 46.9 %, −15.6 points (95 % interval −20.7 to −10.9, p "
        "< 0.001, 320 rows). Read flexibly it is −15.6 points (−20.7 to −10.9, p < 0.001): "
        "the loss is in content.",
    ),
    "worse, in content alone": (
        "worse",
        "Worse: accuracy from 62.5 % to 60.9 %, −1.6 points (95 % interval −6.2 to +3.1, p = "
        "0.50, 320 rows). Read flexibly it is −10.9 points (−15.2 to −7.2, p < 0.001): the "
        "loss is in content.",
    ),
    "undecided": (
        "undecided",
        "Undecided: accuracy from 40.0 % to 41.2 %, +1.2 points (95 % interval −2.9 to +5.5, "
        "p = 0.55, 320 rows). Read flexibly it is +0.9 points (−3.3 to +5.2, p = 0.65). So "
        "many rows show differences from 5.8 points on.",
    ),
    "undecided after adjusting for many runs": (
        "undecided",
        "Undecided: accuracy from 40.0 % to 45.3 %, +5.3 points (95 % interval +1.0 to +9.8, "
        "p = 0.35 adjusted for 20 runs, 320 rows). Alone it would show (p = 0.017); of so "
        "many runs one does by chance. So many rows show differences from 6.2 points on.",
    ),
    "nothing differs": (
        "undecided",
        "Undecided: accuracy 50.0 % in base and run alike, 0.0 points (95 % interval −7.1 to "
        "+7.1, p = 1.00, 50 rows). So many rows show differences from 15.0 points on.",
    ),
    "three rows": (
        "too few rows",
        "Too few rows to tell: accuracy from 0.0 % to 100.0 %, +100.0 points (95 % interval "
        "−12.3 to +100.0, p = 0.083, 3 rows). So few rows can show no significant difference, "
        "whatever the answers.",
    ),
    "four rows": (
        "better",
        "Better: accuracy from 0.0 % to 100.0 %, +100.0 points (95 % interval +2.0 to +100.0, "
        "p = 0.046, 4 rows). McNemar's exact test, more cautious, gives p = 0.12.",
    ),
    "means": (
        "better",
        "Better: F1 from 40.0 % to 45.0 %, +5.0 points (95 % interval +3.6 to +6.4, p < "
        "0.001, 200 rows).",
    ),
    "no figure": (
        "no figure",
        "No verdict: safe rate of both is missing, as too little could be read or scored. "
        "Could not be read: base 2.0 %, run 12.0 %. Left out: 2 test records that were "
        "rejected, 60 rows without an outcome for both.",
    ),
    "better, from below chance": (
        "better",
        "Better: accuracy from 10.8 % to 75.4 %, +64.6 points (95 % interval +57.5 to +70.7, "
        "p < 0.001, 240 rows). The base is below chance (always saying the most frequent "
        "class gives 50.0 %): 39.2 of the points only lead up to it.",
    ),
    "up to chance": (
        "not above chance",
        "No better than guessing: accuracy from 10.0 % to 25.0 %, +15.0 points (95 % interval "
        "+10.4 to +19.8, p < 0.001, 400 rows). Guessing gives 25.0 %, and the run is not "
        "significantly above it.",
    ),
    "better, still below chance": (
        "not above chance",
        "No better than guessing: accuracy from 5.0 % to 13.8 %, +8.8 points (95 % interval "
        "+5.8 to +12.2, p < 0.001, 400 rows). Guessing gives 25.0 %, and the run is "
        "significantly below it.",
    ),
    "better, from chance": (
        "better",
        "Better: accuracy from 25.0 % to 50.0 %, +25.0 points (95 % interval +19.8 to +30.3, "
        "p < 0.001, 400 rows). The base is not above chance (guessing gives 25.0 %).",
    ),
    "undecided at chance": (
        "undecided",
        "Undecided: accuracy from 25.0 % to 26.2 %, +1.2 points (95 % interval −2.4 to +5.0, "
        "p = 0.50, 400 rows). Neither base nor run is above chance (guessing gives 25.0 %). "
        "So many rows show differences from 5.2 points on.",
    ),
    "worse, down to chance": (
        "worse",
        "Worse: accuracy from 50.0 % to 27.5 %, −22.5 points (95 % interval −27.7 to −17.4, p "
        "< 0.001, 400 rows). The run is no longer above chance (guessing gives 25.0 %).",
    ),
    "undecided below chance": (
        "undecided",
        "Undecided: accuracy from 10.0 % to 10.5 %, +0.5 points (95 % interval −2.6 to +3.7, "
        "p = 0.75, 400 rows). Base and run are below chance (guessing gives 25.0 %). So many "
        "rows show differences from 4.3 points on.",
    ),
    "better with and without training rows": (
        "better",
        "Better: accuracy from 40.0 % to 55.6 %, +15.6 points (95 % interval +10.1 to +21.3, "
        "p < 0.001, 320 rows). 152 rows are or resemble training rows (152 near); on the "
        "other 168 it is +19.0 points (+11.5 to +26.8, p < 0.001).",
    ),
    "better on training rows alone": (
        "leakage?",
        "Better, but it may be leakage: accuracy from 40.0 % to 52.5 %, +12.5 points (95 % "
        "interval +7.2 to +17.9, p < 0.001, 320 rows). 20 rows are or resemble training rows "
        "(20 equal); on the other 300 it is +1.3 points (−3.1 to +5.8, p = 0.55), where so "
        "many show differences from 6.2 points on.",
    ),
    "all rows are training rows": (
        "leakage?",
        "Better, but it may be leakage: accuracy from 20.0 % to 90.0 %, +70.0 points (95 % "
        "interval +42.6 to +85.5, p < 0.001, 20 rows). All 20 rows are or resemble training "
        "rows (20 equal): skill can't be told from memory.",
    ),
    "undecided beside training rows": (
        "undecided",
        "Undecided: accuracy from 40.0 % to 41.2 %, +1.2 points (95 % interval −2.9 to +5.5, "
        "p = 0.55, 320 rows). 20 rows are or resemble training rows (5 equal, 15 near); on "
        "the other 300 it is 0.0 points (−4.3 to +4.3, p = 1.00). So many rows show "
        "differences from 5.8 points on.",
    ),
    "too little is left without training rows": (
        "leakage?",
        "Better, but it may be leakage: accuracy from 12.5 % to 85.0 %, +72.5 points (95 % "
        "interval +52.2 to +84.5, p < 0.001, 40 rows). 34 rows are or resemble training rows "
        "(34 near); on the other 6 it is +50.0 points (−8.6 to +81.2, p = 0.083), where so "
        "many show differences from 86.1 points on.",
    ),
    "rows were lost": (
        "better",
        "Better: accuracy from 40.0 % to 55.6 %, +15.6 points (95 % interval +10.1 to +21.3, "
        "p < 0.001, 320 rows). Left out: 4 test records that were rejected, 11 rows without "
        "an outcome for both, 57 training examples that made no row.",
    ),
    "better and much unparsed": (
        "better",
        "Better: accuracy from 40.0 % to 55.6 %, +15.6 points (95 % interval +10.1 to +21.3, "
        "p < 0.001, 320 rows). Read flexibly it is +12.5 points (+7.2 to +17.9, p < 0.001): "
        "the gain is in content. Could not be read: base 20.0 %, run 6.0 %.",
    ),
    "safe by silence": (
        "silence",
        "Safer only among replies with a verdict, no significant gain among all: safe rate "
        "from 60.0 % to 88.0 %, +28.0 points (95 % interval +18.6 to +38.0, p < 0.001, 100 "
        "rows). Counting what has no verdict as not safe it is +1.7 points (−9.1 to +12.4, p "
        "= 0.76) on 120 rows; so many rows show differences from 15.0 points on. Left out: 20 "
        "rows without an outcome for both.",
    ),
    "less safe among verdicts, and as many of all": (
        "worse",
        "Worse: safe rate from 80.0 % to 62.0 %, −18.0 points (95 % interval −27.3 to −9.9, p "
        "< 0.001, 100 rows). Counting what has no verdict as not safe it is −0.8 points "
        "(−11.2 to +9.5, p = 0.87) on 120 rows. Left out: 20 rows without an outcome for "
        "both.",
    ),
    "better in classes that both could be read in": (
        "partly form",
        "Better, partly in the answer's form alone: accuracy from 41.7 % to 75.0 %, +33.3 "
        "points (95 % interval +26.3 to +40.3, p < 0.001, 240 rows). Where both could be read "
        "it is +21.3 points (+12.9 to +29.9, p < 0.001) on 150 rows: the rest is the answer's "
        "form. The base is not above chance (guessing gives 40.0 %). Could not be read: base "
        "37.0 %, run 0.4 %.",
    ),
    "text, likelier now": (
        "better",
        "Better: perplexity from 8.00 to 6.67, token probability from 0.125 to 0.150, +0.025 (95 % "
        "interval +0.020 to +0.030, p < 0.001, 60 rows).",
    ),
    "text, too few to tell": (
        "undecided",
        "Undecided: perplexity from 8.00 to 7.69, token probability from 0.125 to 0.130, +0.005 "
        "(95 % interval −0.021 to +0.031, p = 0.70 adjusted for 3 runs, 60 rows).",
    ),
    "text, as likely": (
        "undecided",
        "Undecided: perplexity 8.00, token probability 0.125 in base and run alike, 0.000 (95 % "
        "interval −0.026 to +0.026, p = 1.00, 60 rows).",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_sentence(name):
    said = verdict_on(CASES[name])
    assert (said["kind"], said["sentence"]) == SAID[name]


def test_the_grid_is_large_and_whole():
    assert SAID.keys() == CASES.keys()
    assert len(SAID) >= 25
    kinds = {kind for kind, _ in SAID.values()}
    assert kinds == {
        "better", "partly form", "form", "mixed", "silence", "not above chance", "leakage?",
        "worse", "form lost", "undecided", "too few rows", "no figure",
    }  # fmt: skip


def test_without_a_base_nothing_is_compared():
    said = verdict_on(None)
    assert said["kind"] == "not compared"
    assert said["sentence"] == "Not compared: predictions made elsewhere, without a base."
    alone = verdict_on(None, "model")
    assert alone["sentence"] == "Not compared: a model as it is, without a base."


STRICT = {
    "+": shares(320, 128, 60, 20),
    "0": shares(320, 128, 24, 20),
    "-": shares(320, 128, 9, 60),
}
HELPED = ("better", "partly form")


@pytest.mark.parametrize(
    ("strict", "content", "clean", "above"),
    list(itertools.product("+0-", [*"+0-", None], [*"+0-", "none left", None], [True, False])),
)
def test_better_needs_p_content_chance_and_rows_that_were_not_learned(
    strict, content, clean, above
):
    """Of every combination."""
    known = guessed(320, 80, 180 if above else 85, 0.25)
    found = case(STRICT[strict], content=STRICT.get(content), **known)
    if clean:
        found |= {"overlap": near(20), "clean": STRICT.get(clean)}
    kind = verdict_on(found)["kind"]
    helped = strict == "+" and content in ("+", None) and clean in ("+", None) and above
    assert (kind in HELPED) == helped
    if strict == "-" and content in ("-", None):
        assert kind == "worse"


def test_both_sides_of_the_line():
    at, below = dict(STRICT["+"], p_holm=0.05), dict(STRICT["+"], p_holm=0.0499)
    assert verdict_on(case(at))["kind"] == "undecided"
    assert verdict_on(case(below))["kind"] == "better"
    at, below = dict(STRICT["+"], p_holm=0.05), dict(STRICT["+"], p_holm=0.0499)
    assert verdict_on(case(STRICT["+"], content=at))["kind"] == "form"
    assert verdict_on(case(STRICT["+"], content=below))["kind"] == "better"
    assert verdict_on(case(shares(3, 0, 3)))["kind"] == "too few rows"
    assert verdict_on(case(shares(4, 0, 2)))["kind"] == "undecided"


def _said(*names):
    return [verdict_on(CASES[name]) for name in names]


def test_the_answer_over_all_runs():
    form, better, worse = "form alone", "better, form plays no part", "worse"
    found = headlines(
        {
            "math": _said(form, form, form),
            "quiz": _said(better, worse, better),
            "solutions": _said("better, from below chance"),
            "safety": _said("no figure", "undecided"),
            "made": [verdict_on(None)],
            "text": _said("text, likelier now"),
            "texts": _said("text, too few to tell", "text, as likely"),
        }
    )
    assert found == [
        "math: learned the answer's form, no significant gain in content, in 3 of 3 runs "
        "(read flexibly +2.8 points; such rows show 6.1 or more).",
        "quiz: better, in 2 of 3 runs (+12.5 points); worse, in 1 of 3 runs (−15.6 points).",
        "solutions: better (+64.6 points); the base is below chance.",
        "safety: no figure, as too little could be read or scored, in 1 of 2 runs; "
        "undecided, in 1 of 2 runs (+1.2 points; such rows show 5.8 or more).",
        "made: compared with nothing.",
        "text: better (perplexity from 8.00 to 6.67, +0.025 in token probability).",
        "texts: undecided, in 2 of 2 runs (0.000 to +0.005 in token probability).",
    ]
    assert headlines({}) == []


def test_what_is_missing_on_one_side_claims_nothing():
    assert verdict_on(case(missing(10)))["kind"] == "no figure"
    said = verdict_on(case(STRICT["+"], content=missing(320)))
    assert said["kind"] == "form"


def test_what_is_known_of_a_run_is_measured_on_its_rows(tmp_path):
    """Overlap by id, with both results, from the manifest; the worst kind of each row counts."""
    plan = make_results(tmp_path)
    manifest = tmp_path / "data/problems/manifest.json"
    found = json.loads(manifest.read_text())
    pairs = [("p0", "exact"), ("p1", "rephrased"), ("p1", "near"), ("p2", "near"), ("px", "near")]
    entry = {"exact": 1, "rephrased": 1, "near": 4, "rows": 5, "listed": 5}
    entry["pairs"] = [{"left": name, "right": "t", "kind": kind} for name, kind in pairs]
    found["leakage"]["comparisons"]["test in train"] = entry
    manifest.write_text(json.dumps(found))
    sources = table_sources(tmp_path)
    evidence = all_evidence(plan, sources, comparison_rows(plan, sources))
    known = evidence["simple", "gsm8k"]
    assert known["overlap"] == {"equal": 2, "near": 1, "rows": 3, "unlisted": 1}
    assert known["clean"]["n"] == 117, "without the three rows that are of this eval"
    assert known["lost"] == {"rejected": 2, "untrained": 0}, "few-shot examples are not lost"
    assert known["runs"] == 2
    assert (
        "At least 3 rows are or resemble training rows (2 equal, 1 near); on the other 117"
        in (verdict_on(known)["sentence"])
    )
    safety = evidence["simple", "safety"]
    assert safety["overlap"] is None and safety["clean"] is None, "nobody looked"
    assert safety["content"]["n"] == 60, "all replies, those without a verdict too"


def _choice(id_, gold, choice):
    hit = gold == choice
    return {"id": id_, "options": [*"abcd"], "gold": gold, "choice": choice, "correct": hit}


def test_guesses_are_chance_and_the_most_frequent_class():
    task = task_of("multiple_choice")
    how, values = task.guesses([_choice("1", "A", "A"), _choice("2", "B", "A")])
    assert (how, values) == ("guessing", [0.25, 0.25])
    golds = [{"gold": gold} for gold in "xxyx"]
    how, values = task_of("classification").guesses(golds)
    assert values == [True, True, False, True]
    assert how == "always saying the most frequent class"
    assert task_of("math").guesses([]) is None


@pytest.mark.parametrize(
    ("output", "gold", "held"),
    [
        ("The answer is Paris, of course.", "Paris", 1.0),
        ("Paris", "Paris", 1.0),
        ("", "Paris", 0.0),
        ("It is Paris.", "Paris in France", 1 / 3),
        ("It is Lyon.", "Paris | Lyon", 1.0),
    ],
)
def test_how_much_of_an_open_answer_a_reply_holds(output, gold, held):
    """Whatever else stands in it; an empty reply holds nothing."""
    _, outcome = task_of("open_qa").content
    assert outcome({"output": output, "gold": gold}) == pytest.approx(held)
