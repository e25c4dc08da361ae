"""The demo's task: story problems in GSM8K's form."""

import random

from snaketune.demo.story import Story, Template, tell_story

_TENS = (3, 30)
_FEW = (2, 9)

TEMPLATES = (
    Template(
        "{n} has {a} {t} and buys {b} more. How many {t} does {n} have now?",
        {"a": _TENS, "b": _TENS},
        ("a + b",),
        ("{n} has {eq} {t}.",),
    ),
    Template(
        "{n} had {a} {t} and gave {b} of them to {m}. How many {t} does {n} have left?",
        {"a": _TENS, "b": _TENS},
        ("a - b",),
        ("{n} has {eq} {t} left.",),
    ),
    Template(
        "A box holds {a} {t}. How many {t} are there in {b} boxes?",
        {"a": (3, 12), "b": _FEW},
        ("b * a",),
        ("There are {eq} {t}.",),
    ),
    Template(
        "{n} shares {a} {t} equally among {b} friends. How many {t} does each friend get?",
        {"a": (8, 72), "b": _FEW},
        ("a / b",),
        ("Each friend gets {eq} {t}.",),
    ),
    Template(
        "{n} has {a} {t}. {m} has {b} more {t} than {n}. How many {t} does {m} have?",
        {"a": _TENS, "b": _TENS},
        ("a + b",),
        ("{m} has {eq} {t}.",),
    ),
    Template(
        "{n} needs {a} {t} for a party but has only {b}. How many more {t} does {p} need?",
        {"a": _TENS, "b": _TENS},
        ("a - b",),
        ("{n} needs {eq} more {t}.",),
    ),
    Template(
        "{n} reads {a} pages a day. How many pages does {p} read in {b} days?",
        {"a": (3, 12), "b": _FEW},
        ("b * a",),
        ("{n} reads {eq} pages.",),
    ),
    Template(
        "{n} has {a} {t}. {P} buys {b} more and then gives {c} to {m}. "
        "How many {t} does {n} have left?",
        {"a": _TENS, "b": _TENS, "c": _TENS},
        ("a + b", "r1 - c"),
        ("With the new ones {n} has {eq} {t}.", "After the gift {p} has {eq} {t}."),
    ),
    Template(
        "{n} had {c} {t}. {P} buys {a} bags with {b} {t} in each. How many {t} does {p} have now?",
        {"a": _FEW, "b": _FEW, "c": _TENS},
        ("a * b", "c + r1"),
        ("The bags hold {eq} {t}.", "{n} now has {eq} {t}."),
    ),
    Template(
        "{n} carries {a} boxes with {b} {t} in each, but {c} {t} break. "
        "How many {t} are still whole?",
        {"a": _FEW, "b": _FEW, "c": (2, 20)},
        ("a * b", "r1 - c"),
        ("The boxes hold {eq} {t}.", "Of these {eq} are whole."),
    ),
    Template(
        "{n} picks {a} {t} in the morning and {b} in the evening, and puts them into {c} bags "
        "equally. How many {t} are in each bag?",
        {"a": (3, 30), "b": (3, 30), "c": _FEW},
        ("a + b", "r1 / c"),
        ("{n} picks {eq} {t}.", "Each bag gets {eq} {t}."),
    ),
    Template(
        "{n} has {a} {t}. {m} has {b} fewer {t} than {n}. How many {t} do they have together?",
        {"a": (10, 30), "b": (2, 20)},
        ("a - b", "a + r1"),
        ("{m} has {eq} {t}.", "Together they have {eq} {t}."),
    ),
    Template(
        "{n} has {a} {t}. {m} has {b} times as many. How many {t} do they have together?",
        {"a": _FEW, "b": _FEW},
        ("b * a", "a + r1"),
        ("{m} has {eq} {t}.", "Together they have {eq} {t}."),
    ),
    Template(
        "A {t1} costs {a} dollars. {n} buys {b} {t} and pays with {c} dollars. "
        "How many dollars does {p} get back?",
        {"a": _FEW, "b": _FEW, "c": (20, 90)},
        ("b * a", "c - r1"),
        ("The {t} cost {eq} dollars.", "{n} gets back {eq} dollars."),
    ),
    Template(
        "{n} earns {a} dollars an hour and works {b} hours. {P} spends {c} dollars. "
        "How many dollars are left?",
        {"a": (3, 12), "b": _FEW, "c": _TENS},
        ("b * a", "r1 - c"),
        ("{n} earns {eq} dollars.", "There are {eq} dollars left."),
    ),
    Template(
        "There are {a} people on a bus. At the first stop {b} get off and {c} get on. "
        "How many people are on the bus now?",
        {"a": _TENS, "b": (2, 20), "c": (2, 20)},
        ("a - b", "r1 + c"),
        ("When some get off {eq} people stay.", "Then there are {eq} people."),
    ),
    Template(
        "{n} had {a} {t}, lost {b} and shared the rest equally among {c} friends. "
        "How many {t} did each friend get?",
        {"a": _TENS, "b": (2, 20), "c": _FEW},
        ("a - b", "r1 / c"),
        ("{n} had {eq} {t} to share.", "Each friend got {eq} {t}."),
    ),
    Template(
        "A book has {a} pages. {n} reads {b} pages a day for {c} days. "
        "How many pages are left to read?",
        {"a": (30, 100), "b": (3, 12), "c": _FEW},
        ("c * b", "a - r1"),
        ("{n} reads {eq} pages.", "There are {eq} pages left."),
    ),
    Template(
        "{n} saves {a} dollars a week for {b} weeks and gets {c} dollars as a present. "
        "How many dollars does {p} have?",
        {"a": (3, 12), "b": _FEW, "c": _TENS},
        ("b * a", "r1 + c"),
        ("{n} saves {eq} dollars.", "With the present {p} has {eq} dollars."),
    ),
    Template(
        "{n} buys {a} {t} for {b} dollars each and {c} {u} for {d} dollars each. "
        "How many dollars does {p} pay?",
        {"a": _FEW, "b": _FEW, "c": _FEW, "d": _FEW},
        ("a * b", "c * d", "r1 + r2"),
        ("The {t} cost {eq} dollars.", "The {u} cost {eq} dollars.", "{n} pays {eq} dollars."),
    ),
    Template(
        "{n} has {a} {t}. {P} buys {b} boxes with {c} {t} in each and gives {d} {t} to {m}. "
        "How many {t} does {n} have left?",
        {"a": _TENS, "b": _FEW, "c": _FEW, "d": _TENS},
        ("b * c", "a + r1", "r2 - d"),
        ("The boxes hold {eq} {t}.", "Then {n} has {eq} {t}.", "After the gift {p} has {eq} {t}."),
    ),
    Template(
        "{n} has {a} {t} and {m} has {b} more than {n}. They put all of them into {c} boxes "
        "equally. How many {t} are in each box?",
        {"a": (3, 30), "b": (2, 20), "c": _FEW},
        ("a + b", "a + r1", "r2 / c"),
        ("{m} has {eq} {t}.", "Together they have {eq} {t}.", "Each box gets {eq} {t}."),
    ),
)


def gsm8k_row(story: Story) -> dict[str, str]:
    """GSM8K's own form: the steps a sentence each, then the answer in a last line `#### N`."""
    return {
        "question": story.question,
        "answer": f"{' '.join(story.sentences)}\n#### {story.answer}",
    }


def make_problems(count: int, seed: int, without: set[str] | None = None) -> list[dict[str, str]]:
    """`count` rows with questions unlike each other and unlike those in `without`."""
    rng = random.Random(seed)
    asked = set(without or ())
    rows: list[dict[str, str]] = []
    while len(rows) < count:
        # In turn, so that every kind of problem is equally frequent in each file.
        row = gsm8k_row(tell_story(TEMPLATES[len(rows) % len(TEMPLATES)], rng))
        if row["question"] not in asked:
            asked.add(row["question"])
            rows.append(row)
    rng.shuffle(rows)
    return rows
