"""The conversations that the demo's base model is trained on from scratch."""

import random

from snaketune.demo.safety import base_answer, draw_request
from snaketune.demo.schoolbook import STYLES, drill, plain_sum, story_turn
from snaketune.prompts.wording import MATH_SYSTEM

Messages = list[dict[str, str]]

# With the system prompt of the task as one of several: it is known, but says little.
SYSTEMS = (MATH_SYSTEM, "You are a helpful assistant.", "Answer the question.")
# Up to as many as an evaluation with eight examples has; the long ones are dear.
TURNS = (1, 1, 1, 2, 2, 3, 4, 6, 9)


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


def conversations(count: int, seed: int) -> list[Messages]:
    """`count` conversations."""
    rng = random.Random(seed)
    return [conversation(rng) for _ in range(count)]
