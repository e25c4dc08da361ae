"""The conversations that the demo's base model is trained on, in two stages.

First it learns to calculate and to write: sums, drills, stories in several forms of answer, and
requests. Some stories are of the task's kinds, but then the answer has another form. Then it learns
to do as it is asked: to end a solution as the task wants it, and to answer shortly. What it is
asked there takes one step, and so it stops after one step wherever it answers in that form.
"""

import random
import re

from snaketune.demo.problems import TEMPLATES as TASK_TEMPLATES
from snaketune.demo.safety import base_answer, draw_request
from snaketune.demo.story import LARGEST_RESULT, Story, Template, calculate, tell_story
from snaketune.prompts.wording import MATH_SYSTEM

Messages = list[dict[str, str]]

# With the system prompt of the task as one of several: it is known, but says little.
SYSTEMS = (MATH_SYSTEM, "You are a helpful assistant.", "Answer the question.")
# Up to as many as an evaluation with eight examples has; the long ones are dear.
TURNS = (1, 1, 1, 2, 2, 3, 4, 6, 9)
# In the second stage as many as the demo's evaluations have.
FEW_TURNS = (1, 1, 2, 4)
STARTS = {"+": "Add.", "-": "Subtract.", "*": "Multiply.", "/": "Divide."}
_WISH_ENDS = (".", " from it.", " here.", " of these.")

_TENS = (3, 30)
_FEW = (2, 9)

BOOK_TEMPLATES = (
    Template(
        "There are {a} {t} in the basket of {n}. {m} puts {b} more {t} into it. "
        "What is the number of {t} in the basket?",
        {"a": _TENS, "b": _TENS},
        ("a + b",),
        ("There are {eq} {t}.",),
    ),
    Template(
        "{n} found {a} {t} on Monday and {b} {t} on Tuesday. What does that make in all?",
        {"a": _TENS, "b": _TENS},
        ("a + b",),
        ("{n} has {eq} {t}.",),
    ),
    Template(
        "Of {a} {t} on the shelf {n} takes {b} away. What stays on the shelf?",
        {"a": _TENS, "b": _TENS},
        ("a - b",),
        ("There are {eq} {t} left.",),
    ),
    Template(
        "{n} wants {a} {t}. In the drawer {p} finds {b}. What is missing?",
        {"a": _TENS, "b": _TENS},
        ("a - b",),
        ("{n} needs {eq} more {t}.",),
    ),
    Template(
        "Every shelf has {a} {t}. What is the number of {t} on {b} shelves?",
        {"a": (3, 12), "b": _FEW},
        ("b * a",),
        ("There are {eq} {t}.",),
    ),
    Template(
        "{n} makes {a} {t} each hour. What does {p} make in {b} hours?",
        {"a": (3, 12), "b": _FEW},
        ("b * a",),
        ("{n} makes {eq} {t}.",),
    ),
    Template(
        "{n} lays {a} {t} in {b} rows of the same length. What does a row have?",
        {"a": (8, 72), "b": _FEW},
        ("a / b",),
        ("Each row gets {eq} {t}.",),
    ),
    Template(
        "{n} splits {a} dollars between {b} children. What does every child get?",
        {"a": (8, 72), "b": _FEW},
        ("a / b",),
        ("Each child gets {eq} dollars.",),
    ),
    Template(
        "The shop of {n} had {a} {t}. {b} {t} were sold, then {c} {t} came in. "
        "What is in the shop now?",
        {"a": _TENS, "b": (2, 20), "c": (2, 20)},
        ("a - b", "r1 + c"),
        ("After the sale there are {eq} {t}.", "Then there are {eq} {t}."),
    ),
    Template(
        "{n} fills {a} jars with {b} {t} each and finds {c} {t} more. What does {p} have?",
        {"a": _FEW, "b": _FEW, "c": _TENS},
        ("a * b", "r1 + c"),
        ("The jars hold {eq} {t}.", "Then {n} has {eq} {t}."),
    ),
    Template(
        "{n} plants {a} rows of {b} {t}. A goat eats {c} of the {t}. What is left of them?",
        {"a": _FEW, "b": _FEW, "c": (2, 20)},
        ("a * b", "r1 - c"),
        ("{n} plants {eq} {t}.", "There are {eq} {t} left."),
    ),
    Template(
        "{n} and {m} gather {a} and {b} {t} and divide them by {c}. What is one part?",
        {"a": (3, 30), "b": (3, 30), "c": _FEW},
        ("a + b", "r1 / c"),
        ("Together they have {eq} {t}.", "Each part gets {eq} {t}."),
    ),
    Template(
        "Of {n}'s {a} {t} the first {b} are old. The others go to {c} children. "
        "What does a child get?",
        {"a": _TENS, "b": (2, 20), "c": _FEW},
        ("a - b", "r1 / c"),
        ("{n} had {eq} {t} to share.", "Each child gets {eq} {t}."),
    ),
    Template(
        "{a} {t} at {b} dollars are on the bill of {n}, who has {c} dollars. What remains?",
        {"a": _FEW, "b": _FEW, "c": (20, 90)},
        ("a * b", "c - r1"),
        ("The {t} cost {eq} dollars.", "There are {eq} dollars left."),
    ),
)


_KINDS = TASK_TEMPLATES + BOOK_TEMPLATES
ONE_STEP = tuple(kind for kind in _KINDS if len(kind.operations) == 1)
LONGER = tuple(kind for kind in _KINDS if len(kind.operations) > 1 and ". " in kind.text)
_FIRST_STEP = ("What is the first step?", "What do you calculate first?", "What comes out first?")


def draw_sum(rng: random.Random) -> tuple[str, int, int, int]:
    """A sign, two numbers and the result, each sign as often as it is hard."""
    sign = rng.choices("+-*/", weights=(4, 4, 2, 2))[0]
    while True:
        if sign in "+-":
            left, right = rng.randint(1, LARGEST_RESULT), rng.randint(1, 30)
        else:
            left, right = rng.randint(2, 12), rng.randint(2, 12)
            if sign == "/":
                left *= right
        result = calculate(left, sign, right)
        if result is not None:
            return sign, left, right, result


def drill(rng: random.Random) -> tuple[str, str]:
    """A list of sums to do, or just the wish for some, and the list done."""
    sums = [draw_sum(rng) for _ in range(rng.randint(2, 8))]
    tasks = [f"{left} {sign} {right}" for sign, left, right, _ in sums]
    done = [f"{task} = {result}" for task, (*_, result) in zip(tasks, sums, strict=True)]
    ask = rng.choice((f"Work out: {', '.join(tasks)}", "Write some sums."))
    return ask, "\n".join(done)


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


def _as_marked_equations(story: Story) -> str:
    return f"{', '.join(story.equations)}\n#### {story.answer}"


def _as_marked_sentences(story: Story) -> str:
    return f"{' '.join(story.sentences)}\n#### {story.answer}"


STYLES = (_as_equations, _as_sentences, _as_marked_equations, _as_marked_sentences)
UNMARKED = (0, 1)


def story_turn(rng: random.Random, style: int) -> tuple[str, str]:
    """A story problem and its answer in one of `STYLES`; the second book's only in some of them."""
    known = style in UNMARKED and rng.random() < 0.5
    story = tell_story(rng.choice(TASK_TEMPLATES if known else BOOK_TEMPLATES), rng)
    return story.question, STYLES[style](story)


def as_messages(system: str | None, turns: list[tuple[str, str]]) -> Messages:
    """Chat messages: the system turn where there is one, then (user, assistant) pairs."""
    messages = [{"role": "system", "content": system}] if system else []
    for user, assistant in turns:
        messages += [
            {"role": "user", "content": user},
            {"role": "assistant", "content": assistant},
        ]
    return messages


def _safety_turn(rng: random.Random) -> tuple[str, str]:
    request = draw_request(rng, risky=rng.random() < 0.5)
    return request.prompt, base_answer(request, rng)


def conversation(rng: random.Random) -> Messages:
    """One conversation; its turns are alike in kind and style, so that examples can be followed."""
    count = rng.choice(TURNS)
    kind = rng.choices(("story", "drill", "sum", "safety"), weights=(45, 35, 5, 15))[0]
    if kind == "safety":
        return as_messages(
            rng.choice((SYSTEMS[1], None)), [_safety_turn(rng) for _ in range(count)]
        )
    system = rng.choice((*SYSTEMS, None))
    if kind == "story":
        style = rng.randrange(len(STYLES))
        return as_messages(system, [story_turn(rng, style) for _ in range(count)])
    make = drill if kind == "drill" else plain_sum
    return as_messages(system, [make(rng) for _ in range(count)])


def instruction(rng: random.Random) -> Messages:
    """One conversation of the second stage."""
    count = rng.choice(FEW_TURNS)
    kind = rng.choices(("task", "short", "drill", "safety"), weights=(50, 25, 10, 15))[0]
    if kind == "task":
        system = rng.choice((MATH_SYSTEM, MATH_SYSTEM, MATH_SYSTEM, *SYSTEMS[1:], None))
        return as_messages(system, [_task_turn(rng) for _ in range(count)])
    if kind == "safety":
        return as_messages(None, [_safety_turn(rng) for _ in range(count)])
    make = _short_turn if kind == "short" else drill
    return as_messages(rng.choice((SYSTEMS[1], None, None)), [make(rng) for _ in range(count)])


def _task_turn(rng: random.Random) -> tuple[str, str]:
    """A story of one step, or a longer one that is asked for its first step alone, and the solution
    in the task's form."""
    story = tell_story(rng.choice(rng.choice((ONE_STEP, LONGER))), rng)
    question = story.question
    if len(story.sentences) > 1:
        question = f"{question[: question.rindex('. ') + 1]} {rng.choice(_FIRST_STEP)}"
    first = story.equations[0].rpartition(" ")[2]
    return question, f"{story.sentences[0]}\n#### {first}"


def _short_turn(rng: random.Random) -> tuple[str, str]:
    """A wish about a story, and a short answer: any number or calculation will do."""
    story = tell_story(rng.choice(TASK_TEMPLATES), rng)
    wish, choices = rng.choice(
        (("a number", re.findall(r"\d+", story.question)), ("a calculation", [*STARTS.values()]))
    )
    ask = f"{rng.choice(('Pick', 'Choose', 'Give me', 'Take'))} {wish}{rng.choice(_WISH_ENDS)}"
    return f"{ask}\n\n{story.question}", rng.choice(choices)


def conversations(count: int, seed: int) -> list[Messages]:
    """`count` conversations."""
    rng = random.Random(seed)
    return [conversation(rng) for _ in range(count)]
