"""Answers on dev that are right or wrong as a whole: which tokens decide, and among which."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch

from snaketune.prompts.rows import IGNORED
from snaketune.training.batch import TokenRow

Tokens = tuple[int, ...]


class Answers:
    """All answers of a training, each with the token that ends its turn.

    Where one begins another (1, 10), what follows it decides which of the two it is: then the
    token that ends the turn is part of the answer, as it is when labels are scored.
    """

    def __init__(self, rows: Iterable[TokenRow], closed: bool) -> None:
        """`closed`: an answer is one of these, so that only their tokens are compared."""
        known = {_answer(row) for row in rows}
        bare = sorted({answer[:-1] for answer in known if len(answer) > 1})
        # Sorted, an answer stands right before those that it begins.
        self.ends_count = any(b[: len(a)] == a for a, b in pairwise(bare))
        self.following: dict[Tokens, list[int]] | None = _following(known) if closed else None

    def candidates(self, rows: Sequence[TokenRow]) -> torch.Tensor | None:
        """[n, k]: for each trained token of the rows the tokens that may stand there, the last one
        repeated where there are fewer; None: any token."""
        if self.following is None:
            return None
        answers = [_answer(row) for row in rows]
        found = [self.following[a[:place]] for a in answers for place in range(len(a))]
        width = max(map(len, found))
        return torch.tensor([tokens + tokens[-1:] * (width - len(tokens)) for tokens in found])

    def right(self, hits: torch.Tensor, rows: Sequence[TokenRow]) -> int:
        """Rows all of whose answer tokens are hits. `hits` [n] are those of all trained tokens; a
        row's last one ends its turn. A row that was cut may have nothing else."""
        per_row = hits.cpu().split([row.trained_tokens for row in rows])
        cut = [part if self.ends_count or len(part) == 1 else part[:-1] for part in per_row]
        return sum(bool(part.all()) for part in cut)


def _answer(row: TokenRow) -> Tokens:
    learned = row.labels[1:]
    return tuple(learned[learned != IGNORED].tolist())


def _following(known: Iterable[Tokens]) -> dict[Tokens, list[int]]:
    """By beginning of an answer: the tokens that may come next, ascending."""
    found: dict[Tokens, set[int]] = {}
    for answer in known:
        for place, token in enumerate(answer):
            found.setdefault(answer[:place], set()).add(token)
    return {start: sorted(tokens) for start, tokens in found.items()}
