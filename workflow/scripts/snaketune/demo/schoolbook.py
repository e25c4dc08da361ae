"""What the demo's base model learns to calculate from: sums, drills and another book's stories.

The stories are worded otherwise than the task's, and most answers have another form, so that the
base model can calculate but is not at home in the task.
"""

import random

from snaketune.demo.story import LARGEST_RESULT, Story, Template, calculate, tell

_TENS = (5, 50)
_FEW = (2, 9)

TEMPLATES = (
    Template(
        "There are {a} {t} in the basket. {n} puts {b} more {t} into it. "
        "What is the number of {t} in the basket?",
        {"a": _TENS, "b": _TENS},
        ("a + b",),
        ("The basket has {eq} {t}.",),
    ),
    Template(
        "{n} found {a} {t} on Monday and {b} {t} on Tuesday. How many {t} is that in all?",
        {"a": _TENS, "b": _TENS},
        ("a + b",),
        ("In all that is {eq} {t}.",),
    ),
    Template(
        "Of {a} {t} on the shelf {n} takes {b}. How many {t} stay on the shelf?",
        {"a": _TENS, "b": _TENS},
        ("a - b",),
        ("On the shelf stay {eq} {t}.",),
    ),
    Template(
        "{n} is {a} years old and {m} is {b} years old. How many years lie between them?",
        {"a": _TENS, "b": _TENS},
        ("a - b",),
        ("Between them lie {eq} years.",),
    ),
    Template(
        "Every shelf has {a} {t}. What is the number of {t} on {b} shelves?",
        {"a": (3, 12), "b": _FEW},
        ("b * a",),
        ("The shelves have {eq} {t}.",),
    ),
    Template(
        "{n} makes {a} {t} each hour. How many {t} are made in {b} hours?",
        {"a": (3, 12), "b": _FEW},
        ("b * a",),
        ("{n} makes {eq} {t}.",),
    ),
    Template(
        "{n} lays {a} {t} in {b} rows of the same length. How many {t} does a row have?",
        {"a": (8, 72), "b": _FEW},
        ("a / b",),
        ("A row has {eq} {t}.",),
    ),
    Template(
        "{n} splits {a} dollars between {b} children. How many dollars does every child get?",
        {"a": (8, 72), "b": _FEW},
        ("a / b",),
        ("Every child gets {eq} dollars.",),
    ),
    Template(
        "There were {a} {t} in the shop. {b} {t} were sold and then {c} {t} came in. "
        "How many {t} are in the shop?",
        {"a": _TENS, "b": (2, 40), "c": (2, 40)},
        ("a - b", "r1 + c"),
        ("After the sale there are {eq} {t}.", "The shop has {eq} {t}."),
    ),
    Template(
        "{n} fills {a} jars with {b} {t} each and has {c} {t} over. How many {t} are there?",
        {"a": _FEW, "b": _FEW, "c": _TENS},
        ("a * b", "r1 + c"),
        ("The jars hold {eq} {t}.", "There are {eq} {t}."),
    ),
    Template(
        "{n} plants {a} rows of {b} {t}. A goat eats {c} of the {t}. How many {t} are left?",
        {"a": _FEW, "b": _FEW, "c": (2, 40)},
        ("a * b", "r1 - c"),
        ("{n} plants {eq} {t}.", "Then {eq} {t} are left."),
    ),
    Template(
        "{n} and {m} gather {a} and {b} {t} and divide them by {c}. How many {t} is one part?",
        {"a": (5, 40), "b": (5, 40), "c": _FEW},
        ("a + b", "r1 / c"),
        ("They gather {eq} {t}.", "One part is {eq} {t}."),
    ),
)


def draw_sum(rng: random.Random) -> tuple[str, int, int, int]:
    """A sign, two numbers and the result, each sign as often as it is hard."""
    sign = rng.choices("+-*/", weights=(4, 4, 2, 2))[0]
    while True:
        if sign in "+-":
            left, right = rng.randint(1, LARGEST_RESULT), rng.randint(1, 50)
        else:
            left, right = rng.randint(2, 12), rng.randint(2, 12)
            if sign == "/":
                left *= right
        result = calculate(left, sign, right)
        if result is not None:
            return sign, left, right, result


def drill(rng: random.Random) -> tuple[str, str]:
    """A list of sums to do, and the list done."""
    sums = [draw_sum(rng) for _ in range(rng.randint(2, 8))]
    tasks = [f"{left} {sign} {right}" for sign, left, right, _ in sums]
    done = [f"{task} = {result}" for task, (*_, result) in zip(tasks, sums, strict=True)]
    return f"Work out: {', '.join(tasks)}", "\n".join(done)


def plain_sum(rng: random.Random) -> tuple[str, str]:
    """One sum in words, and a short answer."""
    sign, left, right, result = draw_sum(rng)
    ask = {
        "+": (f"What is {left} plus {right}?", f"Add {right} to {left}."),
        "-": (f"What is {left} minus {right}?", f"Take {right} from {left}."),
        "*": (f"What is {left} times {right}?", f"Multiply {left} by {right}."),
        "/": (f"What is {left} divided by {right}?", f"Divide {left} by {right}."),
    }[sign]
    return rng.choice(ask), f"{left} {sign} {right} = {result}"


def _as_equations(story: Story) -> str:
    return f"{', '.join(story.equations)}. The answer is {story.answer}."


def _as_sentences(story: Story) -> str:
    return f"{' '.join(story.sentences)} So it is {story.answer}."


def _as_marked(story: Story) -> str:
    return f"{', '.join(story.equations)}\n#### {story.answer}"


STYLES = (_as_equations, _as_sentences, _as_marked)


def story_turn(rng: random.Random, style: int) -> tuple[str, str]:
    """A story problem and its answer in one of `STYLES`."""
    story = tell(rng.choice(TEMPLATES), rng)
    return story.question, STYLES[style](story)
