"""Story problems: a template with words and numbers filled in, and the steps that solve it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from snaketune.demo.words import PEOPLE, THINGS

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


def tell(template: Template, rng: random.Random) -> Story:
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
