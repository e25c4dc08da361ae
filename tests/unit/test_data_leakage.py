"""Overlap between texts, against comparing every pair by hand."""

import random
import re
import time

import pytest

from snaketune.data.example import Example, normalise
from snaketune.data.overlap import (
    COMMON,
    LISTED,
    NEAR,
    WORDS,
    Item,
    find_overlap,
    items_of,
    leakage_between,
)


def _grams(text):
    words = re.findall(r"\w+|[^\w\s]", normalise(text))
    if len(words) < WORDS:
        return {tuple(words)}
    return {tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}


def _brute_force(left, right):
    found = []
    for a in left:
        for b in right:
            x, y = _grams(a.text), _grams(b.text)
            score = len(x & y) / len(x | y)
            if score >= NEAR:
                kind = "exact" if normalise(a.text) == normalise(b.text) else "near"
                found.append((a.id, b.id, kind, round(score, 4)))
    return found


def _items(rng, name, n, templates):
    """Texts of which many are others with a word changed, and some are very short."""
    items = []
    for i in range(n):
        words = list(rng.choice(templates))
        for _ in range(rng.randrange(3)):
            words[rng.randrange(len(words))] = rng.choice("uvwxyz")
        text = " ".join(words[: rng.choice([3, 5, 30, 30])])
        items.append(Item(f"{name}{i}", rng.choice([text, text.upper(), text.replace(" ", "  ")])))
    return items


def test_random_texts_against_brute_force():
    for seed in range(5):
        rng = random.Random(seed)
        templates = [rng.choices("abcdefgh", k=30) for _ in range(20)]
        left, right = _items(rng, "l", 300, templates), _items(rng, "r", 60, templates)
        expected = _brute_force(left, right)
        found = find_overlap(left, right)
        assert found.exact == sum(kind == "exact" for *_, kind, _ in expected) > 0
        assert found.near == sum(kind == "near" for *_, kind, _ in expected) > 0
        assert found.left_ids == {a for a, *_ in expected}
        listed = [(p.left, p.right, p.kind, p.score) for p in found.pairs]
        assert len(listed) == min(LISTED, len(expected))
        assert set(listed) <= set(expected)
        # The worst ones are the ones that are listed.
        order = sorted(expected, key=lambda pair: (pair[2] != "exact", -pair[3]))
        assert [p[2:] for p in listed] == [p[2:] for p in order[:LISTED]]


def test_case_space_and_quotes_do_not_hide_a_duplicate_but_a_sign_does():
    left = [Item("a", "What’s  3 + 4?"), Item("b", "What is 3 - 4?")]
    right = [Item("c", "what's 3 + 4?"), Item("d", "What is 3 + 4?")]
    assert [(p.left, p.right) for p in find_overlap(left, right).pairs] == [("a", "c")]


def test_nothing_overlaps_with_nothing():
    assert find_overlap([], [Item("a", "b")]).report()["pairs"] == []
    assert find_overlap([Item("a", "b")], []).report()["rows"] == 0


def test_gsm8k_size_takes_seconds():
    rng = random.Random(0)
    words = [f"w{i}" for i in range(3000)]
    texts = [" ".join(rng.choices(words, k=45)) for _ in range(8792)]
    items = [Item(str(i), text) for i, text in enumerate(texts)]
    start = time.monotonic()
    assert not find_overlap(items[:1319], items[1319:]).pairs
    assert time.monotonic() - start < 10


def test_a_rephrased_question_is_found_by_the_wording_that_it_came_from():
    learned = [
        Item("t1", "Who won the race in Spa?"),
        Item("t2", "Where was the very first sprint race held?"),
    ]
    asked = [
        Item("e1", "Which driver came first in Belgium?", "Who won the race in SPA?"),
        Item("e2", "Who won the race in Spa?", "Who won the race in Spa?"),
        Item("e3", "Name the venue.", "Where was the very first sprint race held by then?"),
        Item("e4", "How many laps?", "What was the distance?"),
    ]
    found = find_overlap(asked, learned)
    assert [(p.left, p.right, p.kind) for p in found.pairs] == [
        ("e2", "t1", "exact"),
        ("e1", "t1", "rephrased"),
        ("e3", "t2", "near"),
    ]
    assert (found.exact, found.rephrased, found.near) == (1, 1, 1)
    assert found.left_ids == {"e1", "e2", "e3"}
    other_way = find_overlap(learned, asked)
    assert (other_way.exact, other_way.rephrased, other_way.near) == (1, 1, 1)


def test_leakage_between_datasets_names_both():
    train = [Example("t1", "How many apples has Ada in her basket?")]
    test = [Example("q1", "How many apples has Ada in her basket?"), Example("q2", "Why?")]
    found = leakage_between("lessons", train, "exam", {"test": test, "dev": []})
    assert (found["train"], found["test"]) == ("lessons", "exam")
    assert found["comparisons"]["test in lessons"]["pairs"] == [
        {"left": "q1", "right": "t1", "kind": "exact", "score": 1.0}
    ]
    assert found["comparisons"]["dev in lessons"]["rows"] == 0


PASSAGE = " ".join(f"word{i}" for i in range(120))


def test_other_questions_on_one_passage_are_no_duplicates():
    question = "What is the colour of the trophy that the winner was given in Monza?"
    train = [Example("t", question, PASSAGE)]
    asked = [
        Example("other", "Who won the race in 1998?", PASSAGE),
        Example("near", question.replace("Monza", "Spa"), PASSAGE),
        Example("same", question, PASSAGE.upper()),
        Example("elsewhere", question, "Another passage by itself, " * 9),
        Example("alike", "Who won the race in 1998?", f"{PASSAGE} and more"),
    ]
    found = find_overlap(items_of(asked), items_of(train))
    assert [(p.left, p.kind) for p in found.pairs] == [
        ("same", "exact"),
        ("near", "near"),
        ("alike", "near"),
    ]
    assert (found.left_ids, found.near) == ({"same", "near", "alike"}, 2)


def _numbered(rng: random.Random, name: str, n: int) -> list[Item]:
    instruction = " ".join(f"told{i}" for i in range(37))
    return [
        Item(f"{name}{i}", f"{instruction} {' '.join(rng.choices(WORDS_OF, k=12))}")
        for i in range(n)
    ]


WORDS_OF = [f"word{i}" for i in range(5000)]


@pytest.mark.parametrize(("rows", "shared"), [(COMMON, True), (COMMON + 1, False)])
def test_an_instruction_before_very_many_questions_makes_none_alike(rows, shared):
    rng = random.Random(0)
    left, right = _numbered(rng, "l", 40), _numbered(rng, "r", rows)
    # One question differs in its last word, one is there word by word.
    right[7] = Item("near", " ".join([*left[3].text.split()[:-1], "else"]))
    right[8] = Item("same", left[4].text.upper())
    found = find_overlap(left, right)
    assert (found.near == 40 * rows - 1) is shared
    if not shared:
        # 9 of 11 n-grams are the same: one is another, and three of its words stand in the next.
        assert [(p.left, p.right, p.kind) for p in found.pairs] == [
            ("l4", "same", "exact"), ("l3", "near", "near"),
        ]  # fmt: skip


def test_time_and_memory_grow_with_the_rows_alone():
    """An instruction that all share once made every pair a candidate."""
    rng = random.Random(1)
    seconds = []
    for rows in (4000, 16_000):
        left, right = _numbered(rng, "l", 1200), _numbered(rng, "r", rows)
        start = time.process_time()
        assert find_overlap(left, right).near == 0
        seconds.append(time.process_time() - start)
    assert seconds[1] < 8 * seconds[0], seconds
