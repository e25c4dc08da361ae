"""A question and its options as one tree of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from snaketune.prompts.control_tokens import encode, unshield
from snaketune.runtime.errors import UserError


@dataclass(frozen=True)
class Question:
    """A prompt and the options that may continue it, with control tokens shielded."""

    id: str
    context: str
    options: Sequence[str]
    """As they stand in the text, with the space before them."""
    record: str = ""
    """Source and record, for messages."""

    @property
    def where(self) -> str:
        """The question, as messages name it."""
        return self.record or f"question {self.id}"


@dataclass(frozen=True)
class Tree:
    """Tokens that all options share, then a branch for each option.

    Of branch j, the tokens from `scored[j]` on belong to the option; those before it are the
    context's, where the tokens at the join differ between options.
    """

    stem: list[int]
    branches: list[list[int]]
    scored: list[int]

    @property
    def size(self) -> int:
        """Tokens in the tree."""
        return len(self.stem) + sum(map(len, self.branches))

    @property
    def longest(self) -> int:
        """Tokens of the prompt and its longest option."""
        return len(self.stem) + max(map(len, self.branches))

    @property
    def counts(self) -> list[int]:
        """Scored tokens of each option."""
        return [len(b) - start for b, start in zip(self.branches, self.scored, strict=True)]


def build_tree(tokenizer: Any, question: Question, plain: bool) -> Tree:
    """Context and option are tokenised together and split where the context's tokens end.

    `plain` text gets the tokenizer's special tokens, and white space at the context's end goes to
    the option (as in lm-evaluation-harness); a rendered conversation is taken as it is. Raises
    UserError for an option that has no token to score.
    """
    context = question.context.rstrip() if plain else question.context
    gap = question.context[len(context) :]
    texts = [context, *(context + gap + option for option in question.options)]
    start, *wholes = encode(tokenizer, texts, add_special_tokens=plain)
    if not start:
        start, wholes = (
            _opened(tokenizer, question),
            [_opened(tokenizer, question) + w for w in wholes],
        )
    for option, whole in zip(question.options, wholes, strict=True):
        if len(whole) <= len(start):
            raise UserError(
                f"{question.where}: found option {unshield(tokenizer, option)!r} without a token "
                "of its own, expected at least one; a token that spans the join with the prompt "
                "leaves none"
            )
    stem = _shared(wholes)[: len(start)]
    branches = [whole[len(stem) :] for whole in wholes]
    return Tree(stem, branches, [len(start) - len(stem)] * len(branches))


def told_apart(tree: Tree, ending: Sequence[int], where: str) -> Tree:
    """The tree of labels, each with the tokens that end a reply where one label begins another:
    else 1 could never be less likely than 10. Raises UserError where a model has no such tokens."""
    branches = sorted(tree.branches)
    # Sorted, a branch stands right before those that it begins.
    if all(other[: len(one)] != one for one, other in pairwise(branches)):
        return tree
    if not ending:
        raise UserError(
            f"{where}: found labels one of which begins another, expected a model whose replies "
            "end with a token, or labels that the first tokens tell apart"
        )
    return Tree(tree.stem, [[*branch, *ending] for branch in tree.branches], tree.scored)


def _opened(tokenizer: Any, question: Question) -> list[int]:
    """What stands before the first option token where the context is empty."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return [token]
    raise UserError(f"{question.where}: found an empty prompt, expected some text")


def _shared(rows: Sequence[list[int]]) -> list[int]:
    low, high = min(rows), max(rows)
    count = next((i for i, t in enumerate(low) if i >= len(high) or high[i] != t), len(low))
    return low[:count]
