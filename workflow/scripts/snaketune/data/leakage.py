"""Overlap between splits: equal questions, and questions that share most of their words.

Two texts are exact duplicates where they are equal after `normalise`, and near duplicates where
the Jaccard index of their sets of word 3-grams is at least `NEAR`. Texts are compared through one
sparse product of incidence matrices, which counts the shared n-grams of all pairs at once.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from snaketune.data.text import normalise

# One changed word spoils as many n-grams as it has words: with 3 a question of 11 words is still
# seen as near to its copy, with 5 it would take 19.
WORDS, NEAR, LISTED = 3, 0.5, 100
_WORD = re.compile(r"\w+|[^\w\s]")
_CHUNK = 256


@dataclass(frozen=True)
class Item:
    """A text under its id."""

    id: str
    text: str


@dataclass(frozen=True)
class Pair:
    """`left` overlaps with `right`: `kind` is exact or near, `score` the Jaccard index."""

    left: str
    right: str
    kind: str
    score: float


@dataclass
class Overlap:
    """All overlaps between two sets of texts: counts are full, `pairs` holds the worst ones."""

    exact: int = 0
    near: int = 0
    left_ids: set[str] = field(default_factory=set)
    pairs: list[Pair] = field(default_factory=list)

    def report(self) -> dict:
        """The manifest's entry."""
        pairs = [vars(pair) for pair in self.pairs]
        return {
            "exact": self.exact,
            "near": self.near,
            "rows": len(self.left_ids),
            "listed": len(pairs),
            "pairs": pairs,
        }


def overlap(left: Sequence[Item], right: Sequence[Item]) -> Overlap:
    """The overlapping pairs between `left` and `right`, worst first, then in their order."""
    found = Overlap()
    if not left or not right:
        return found
    ranked: list[tuple] = []
    for i, j, score, exact in _pairs([x.text for x in left], [x.text for x in right]):
        found.exact += exact
        found.near += not exact
        found.left_ids.add(left[i].id)
        ranked.append((not exact, -score, i, j))
    for inexact, score, i, j in sorted(ranked)[:LISTED]:
        kind = "near" if inexact else "exact"
        found.pairs.append(Pair(left[i].id, right[j].id, kind, round(-score, 4)))
    return found


def _pairs(left: list[str], right: list[str]) -> Iterator[tuple[int, int, float, bool]]:
    """(place in left, place in right, Jaccard index, whether equal) of every overlapping pair."""
    left, right = [normalise(t) for t in left], [normalise(t) for t in right]
    columns: dict[tuple[str, ...], int] = {}
    a, b = _incidence(left, columns), _incidence(right, columns)
    a.resize(len(left), len(columns))
    b.resize(len(right), len(columns))
    sizes_a, sizes_b = np.diff(a.indptr), np.diff(b.indptr)
    others = b.T.tocsc()
    for start in range(0, len(left), _CHUNK):
        shared = (a[start : start + _CHUNK] @ others).tocoo()
        rows = shared.row + start
        scores = shared.data / (sizes_a[rows] + sizes_b[shared.col] - shared.data)
        for k in np.flatnonzero(scores >= NEAR):
            i, j = int(rows[k]), int(shared.col[k])
            yield i, j, float(scores[k]), left[i] == right[j]


def _incidence(texts: Iterable[str], columns: dict[tuple[str, ...], int]) -> sparse.csr_matrix:
    """Texts by n-grams, 1 where the text holds the n-gram; new n-grams are added to `columns`."""
    indices: list[int] = []
    ends = [0]
    for text in texts:
        indices += sorted(columns.setdefault(gram, len(columns)) for gram in _grams(text))
        ends.append(len(indices))
    ones = np.ones(len(indices), dtype=np.int32)
    return sparse.csr_matrix((ones, indices, ends), shape=(len(ends) - 1, len(columns)))


def _grams(text: str) -> set[tuple[str, ...]]:
    """The word n-grams of a normalised text; a shorter text is one n-gram by itself."""
    words = _WORD.findall(text)
    return {tuple(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))}
