"""The texts that the demo's tokenizer is trained on."""

import random

from snaketune.demo.conversations import conversations
from snaketune.demo.problems import make_problems
from snaketune.demo.verdicts import known_verdict


def tokenizer_texts(guideline: str, seed: int) -> list[str]:
    """What both models read: the base's conversations, answers to judge, and task problems.

    The problems are drawn from the seed, so they are not those of the shipped files.
    """
    rng = random.Random(seed)
    said = [message["content"] for talk in conversations(4000, seed) for message in talk]
    judged = [known_verdict(rng).response for _ in range(2000)]
    problems = [text for row in make_problems(1000, seed) for text in row.values()]
    # The guideline as often as makes each of its words a token.
    return said + judged + problems + [guideline] * 50
