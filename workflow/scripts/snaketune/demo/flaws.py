"""Solutions of the demo's problems, right ones and flawed ones, and where the flaw is.

A computational flaw is a slip: the right calculation with a wrong result. A conceptual one is a
wrong calculation, done rightly, or a last step that is missing. Later steps go on with what the
flawed one gave, as people and models do.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

from snaketune.demo.story import Filling, Template, ask, calculate, fill_in
from snaketune.demo.words import PEOPLE, THINGS

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
            right = _steps(template, filling, None, rng)
            return (
                _written(template, filling, right, None, rng, 0.0),
                _written(template, filling, steps, flaw, rng, 0.0),
            )


def _steps(
    template: Template, filling: Filling, flaw: Flaw | None, rng: random.Random
) -> list[_Step] | None:
    """The steps with the flaw in one of them; None where none was found that changes the answer."""
    if flaw is None:
        return [_Step(equation, result, equation) for equation, result in filling.solved]
    for _ in range(_TRIES):
        where = rng.randrange(len(template.operations))
        steps = _with_flaw(template, filling, flaw, where, rng)
        if steps and steps[-1].result != filling.solved[-1][1]:
            return steps
    return None


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
