"""Questions about stories that the story answers: which number stands where, what to do first."""

import random
import re
from dataclasses import dataclass

from snaketune.demo.problems import TEMPLATES
from snaketune.demo.story import Story, tell

ASKED = {"first": "the first number", "last": "the last number", "start": "what to do"}
KINDS = tuple(ASKED)
_OPENINGS = ("Find", "Name", "Show", "Write down", "Tell me", "Say")
_ENDS = (".", " in this story.", ", please.", " here:", " now.", " for me.")
# Every opening and every end is met in training, but a third of the pairs only in tests.
KNOWN, UNSEEN = (
    tuple(
        f"{opening} {{asked}}{end}"
        for i, opening in enumerate(_OPENINGS)
        for j, end in enumerate(_ENDS)
        if ((i + j) % 3 == 0) is unseen
    )
    for unseen in (False, True)
)
STARTS = {"+": "Add.", "-": "Subtract.", "*": "Multiply.", "/": "Divide."}
OPTIONS = 4


@dataclass(frozen=True)
class Reading:
    """A story, a question about it, the answer, and options with the answer among them."""

    kind: str
    story: str
    question: str
    answer: str
    options: list[str]


def draw_reading(kind: str, rng: random.Random, known_wording: bool) -> Reading:
    """A question of `kind`, in a wording to learn from or in one kept for tests."""
    story = _draw_story(kind, rng)
    numbers = list(dict.fromkeys(re.findall(r"\d+", story.question)))
    if kind == "start":
        answer, options = STARTS[_sign(story)], list(STARTS.values())
    else:
        answer = numbers[0 if kind == "first" else -1]
        options = _numbers_beside(answer, numbers, rng)
    rng.shuffle(options)
    question = rng.choice(KNOWN if known_wording else UNSEEN).format(asked=ASKED[kind])
    return Reading(kind, story.question, question, answer, options)


def _sign(story: Story) -> str:
    return story.equations[0].split()[1]


def _draw_story(kind: str, rng: random.Random) -> Story:
    """A story whose numbers all differ; for `start` every calculation is equally frequent."""
    sign = rng.choice(tuple(STARTS))
    while True:
        fitting = [t for t in TEMPLATES if t.operations[0].split()[1] == sign or kind != "start"]
        story = tell(rng.choice(fitting), rng)
        numbers = re.findall(r"\d+", story.question)
        if len(set(numbers)) == len(numbers):
            return story


def _numbers_beside(answer: str, numbers: list[str], rng: random.Random) -> list[str]:
    """The answer, other numbers of the story, and as many more as are needed."""
    options = [answer, *(n for n in numbers if n != answer)][:OPTIONS]
    while len(options) < OPTIONS:
        other = str(rng.randint(2, 40))
        if other not in options:
            options.append(other)
    return options


def make_readings(count: int, seed: int, known_wording: bool) -> list[Reading]:
    """`count` different readings, each kind equally often."""
    rng = random.Random(seed)
    found: dict[tuple[str, str], Reading] = {}
    while len(found) < count:
        reading = draw_reading(KINDS[len(found) % len(KINDS)], rng, known_wording)
        found.setdefault((reading.question, reading.story), reading)
    readings = list(found.values())
    rng.shuffle(readings)
    return readings
