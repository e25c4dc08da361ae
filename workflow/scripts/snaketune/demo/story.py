"""Story problems of the demo: a template with words and numbers filled in, and the steps that solve
it, right or with a flaw.

A computational flaw is a slip: the right calculation with a wrong result. A conceptual one is a
wrong calculation, done rightly, or a last step that is missing. Later steps go on with what the
flawed one gave, as people and models do.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

_SHE = "Mia Ana Lena Ruth Nora Ivy Rosa Tess Maya Zoe Jane Emma Lily"
_HE = "Tom Ben Omar Leo Max Finn Hugo Paul Ravi Sam Noah Jack Carl"

# (name, pronoun): a text never has to guess how to go on about a person.
PEOPLE = tuple([(name, "she") for name in _SHE.split()] + [(name, "he") for name in _HE.split()])

# (singular, plural)
THINGS = (
    ("apple", "apples"),
    ("pencil", "pencils"),
    ("marble", "marbles"),
    ("stamp", "stamps"),
    ("cookie", "cookies"),
    ("book", "books"),
    ("shell", "shells"),
    ("card", "cards"),
    ("button", "buttons"),
    ("flower", "flowers"),
    ("candle", "candles"),
    ("coin", "coins"),
    ("plum", "plums"),
    ("ribbon", "ribbons"),
    ("sticker", "stickers"),
    ("muffin", "muffins"),
    ("bead", "beads"),
    ("kite", "kites"),
    ("lemon", "lemons"),
    ("brush", "brushes"),
    ("cup", "cups"),
    ("ball", "balls"),
    ("toy", "toys"),
    ("hat", "hats"),
)


# Small enough for a model of a million parameters to calculate with.
LARGEST_RESULT = 100


@dataclass(frozen=True)
class Template:
    """A kind of problem.

    `text` and `steps` are format strings over the people `n` and `m` (with pronouns `p` and `P`),
    the things `t` and `u` (one of them: `t1`) and the numbers. `numbers` gives the range of each
    number; `operations` names them and earlier results (`r1`, `r2`), e.g. `"a + b"`. A step shows
    its own calculation as `{eq}`.
    """

    text: str
    numbers: dict[str, tuple[int, int]]
    operations: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """A filled-in template: the question, its steps as sentences, as equations, and the answer."""

    question: str
    sentences: tuple[str, ...]
    equations: tuple[str, ...]
    answer: int


def calculate(left: int, sign: str, right: int) -> int | None:
    """The whole number that `left sign right` gives, or None where it is none from 1 up."""
    if sign == "/":
        return left // right if right > 1 and left % right == 0 else None
    result = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return result if 1 <= result <= LARGEST_RESULT else None


def solve(numbers: dict[str, int], operations: Sequence[str]) -> list[tuple[str, int]] | None:
    """Each operation as an equation (`"3 + 4 = 7"`) with its result; None if one does not work."""
    known = dict(numbers)
    solved: list[tuple[str, int]] = []
    for operation in operations:
        left, sign, right = operation.split()
        result = calculate(known[left], sign, known[right])
        if result is None:
            return None
        solved.append((f"{known[left]} {sign} {known[right]} = {result}", result))
        known[f"r{len(solved)}"] = result
    return solved


@dataclass(frozen=True)
class Filling:
    """What a template is filled in with: words, numbers, and its steps solved."""

    words: dict[str, str]
    numbers: dict[str, int]
    solved: list[tuple[str, int]]


def fill_in(template: Template, rng: random.Random) -> Filling:
    """Draws words and numbers; numbers again until every step gives a whole number."""
    (n, p), (m, _) = rng.sample(PEOPLE, 2)
    (t1, t), (_, u) = rng.sample(THINGS, 2)
    solved = None
    while solved is None:
        numbers = {key: rng.randint(low, high) for key, (low, high) in template.numbers.items()}
        solved = solve(numbers, template.operations)
    words = {"n": n, "m": m, "p": p, "P": p.capitalize(), "t": t, "t1": t1, "u": u}
    return Filling(words, numbers, solved)


def ask(template: Template, filling: Filling) -> str:
    """The question."""
    return template.text.format(**filling.words, **filling.numbers)


def tell_story(template: Template, rng: random.Random) -> Story:
    """A template filled in and solved."""
    filling = fill_in(template, rng)
    return Story(
        question=ask(template, filling),
        sentences=tuple(
            step.format(eq=equation, **filling.words)
            for step, (equation, _) in zip(template.steps, filling.solved, strict=True)
        ),
        equations=tuple(equation for equation, _ in filling.solved),
        answer=filling.solved[-1][1],
    )


Flaw = Literal["computational", "conceptual"]
FLAWS: tuple[Flaw, ...] = ("computational", "conceptual")
_TRIES = 50


@dataclass(frozen=True)
class Solution:
    """A problem and somebody's solution in GSM8K's form."""

    question: str
    text: str
    flaw: Flaw | None
    flawed_from: int
    """The character of `text` from which on it is wrong; its length where it is right."""


@dataclass(frozen=True)
class _Step:
    """An equation as the solution has it, and as far as it is right."""

    equation: str
    result: int
    right: str


def draw_solution(
    template: Template, rng: random.Random, flaw: Flaw | None, loose: float = 0.0
) -> Solution:
    """A problem of `template` with a solution that has this flaw, and so another answer.

    A share of `loose` of the solution's names and things are others than the question's: small
    models mix them up, and that is no flaw here.
    """
    while True:
        filling = fill_in(template, rng)
        steps = _steps(template, filling, flaw, rng)
        if steps:
            return _written(template, filling, steps, flaw, rng, loose)


def draw_pair(template: Template, rng: random.Random, flaw: Flaw) -> tuple[Solution, Solution]:
    """A problem with a right solution and a flawed one."""
    while True:
        filling = fill_in(template, rng)
        steps = _steps(template, filling, flaw, rng)
        if steps:
            right = _right_steps(filling)
            return (
                _written(template, filling, right, None, rng, 0.0),
                _written(template, filling, steps, flaw, rng, 0.0),
            )


def _steps(
    template: Template, filling: Filling, flaw: Flaw | None, rng: random.Random
) -> list[_Step] | None:
    """The steps with the flaw in one of them; None where none was found that changes the answer."""
    if flaw is None:
        return _right_steps(filling)
    for _ in range(_TRIES):
        where = rng.randrange(len(template.operations))
        steps = _with_flaw(template, filling, flaw, where, rng)
        if steps and steps[-1].result != filling.solved[-1][1]:
            return steps
    return None


def _right_steps(filling: Filling) -> list[_Step]:
    return [_Step(equation, result, equation) for equation, result in filling.solved]


def _with_flaw(
    template: Template, filling: Filling, flaw: Flaw, where: int, rng: random.Random
) -> list[_Step] | None:
    """The steps with a flaw at `where`; None where they don't work out."""
    known = dict(filling.numbers)
    steps: list[_Step] = []
    for place, operation in enumerate(template.operations):
        left, sign, right = operation.split()
        a, b = known[left], known[right]
        result = calculate(a, sign, b)
        if result is None:
            return None
        whole = f"{a} {sign} {b} = {result}"
        if place != where:
            steps.append(_Step(whole, result, whole))
        elif flaw == "computational":
            wrong = slip(result, rng)
            steps.append(_Step(f"{a} {sign} {b} = {wrong}", wrong, whole))
        elif place and place == len(template.operations) - 1 and rng.random() < 0.3:
            return steps
        elif others := [*_miscalculated(set(known.values()), whole, result)]:
            steps.append(rng.choice(others))
        else:
            return None
        known[f"r{len(steps)}"] = steps[-1].result
    return steps


def slip(result: int, rng: random.Random) -> int:
    """Another number that looks like `result`: a digit off, or close by."""
    while True:
        wrong = result + rng.choice((1, -1)) * rng.choice((1, 2, 3, 5, 10, 10, 20, 30, 11, 9, 4, 6))
        if 1 <= wrong <= 130:
            return wrong


def shared_start(one: str, other: str) -> int:
    """How many characters two texts share from the start."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _miscalculated(numbers: set[int], whole: str, result: int) -> Iterator[_Step]:
    """Every other calculation with the numbers at hand that gives another whole number."""
    for a, sign, b in product(sorted(numbers), "+-*/", sorted(numbers)):
        other = calculate(a, sign, b)
        if other is not None and other != result and a != b:
            yield _Step(f"{a} {sign} {b} = {other}", other, whole)


def _written(
    template: Template,
    filling: Filling,
    steps: list[_Step],
    flaw: Flaw | None,
    rng: random.Random,
    loose: float,
) -> Solution:
    text, flawed_from = "", None
    for form, step in zip(template.steps, steps, strict=False):
        sentence = form.format(eq="{eq}", **_loosened(filling.words, rng, loose))
        start = len(text) + bool(text) + sentence.index("{eq}")
        text = f"{text} {sentence.format(eq=step.equation)}".strip()
        if flawed_from is None and step.equation != step.right:
            flawed_from = start + shared_start(step.equation, step.right)
    if flaw and flawed_from is None:
        flawed_from = len(text)  # the last step is missing
    text += f"\n#### {steps[-1].result}"
    return Solution(
        ask(template, filling), text, flaw, len(text) if flawed_from is None else flawed_from
    )


def _loosened(words: dict[str, str], rng: random.Random, loose: float) -> dict[str, str]:
    """The words with some names and things exchanged for any others."""
    others = dict(words)
    for key in ("n", "m"):
        if rng.random() < loose:
            others[key], _ = rng.choice(PEOPLE)
    for key in ("t", "u"):
        if rng.random() < loose:
            _, others[key] = rng.choice(THINGS)
    return others
