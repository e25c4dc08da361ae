"""Overlap between sets of questions: equal ones, and ones that share most of their words.

Two texts are exact duplicates where they are equal after `normalise`, and near duplicates where
the Jaccard index of their sets of word 3-grams is at least `NEAR`. Texts are questions with their
context; other questions on one passage are no duplicates, so there near ones must be as near
without it.
A question that was rephrased is compared in both wordings: where another equals the one that isn't
asked, it is the same record rephrased. Texts are compared through sparse products of incidence
matrices, which count the shared n-grams of all pairs of a block of `_CHUNK` questions at once.
N-grams that very many texts hold are left out: else an instruction before each question would make
all of them alike, and all pairs of them would have to be looked at.
"""

import heapq
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from snaketune.data.check import Rejected
from snaketune.data.draws import Shot
from snaketune.data.example import Example, normalise
from snaketune.data.record import OVERLAP, RecordError
from snaketune.runtime.errors import UserError

# One changed word spoils as many n-grams as it has words: with 3 a question of 11 words is still
# seen as near to its copy, with 5 it would take 19.
WORDS, NEAR, LISTED = 3, 0.5, 10_000
# What over a thousand texts hold, and over 1 % of them, says nothing of two being alike; without it
# the pairs that share an n-gram grow no faster than the texts.
COMMON, COMMON_SHARE = 1000, 0.01
_WORD = re.compile(r"\w+|[^\w\s]")
_CHUNK = 256
KINDS = ("exact", "rephrased", "near")
"""The worst first."""
METHOD = (
    "exact: equal after folding case, white space and typography; rephrased: equal to the wording "
    f"that a question was rephrased from; near: Jaccard index of word {WORDS}-grams of at least "
    f"{NEAR}, in either wording, without those that over {COMMON} texts and {COMMON_SHARE:.0%} of "
    "them hold; where both have the same context, of the questions alone too"
)


@dataclass(frozen=True)
class Item:
    """A text under its id."""

    id: str
    text: str
    original: str | None = None
    """The wording that it was rephrased from."""
    context: str | None = None
    """The end of either text that is no question."""


@dataclass(frozen=True)
class Pair:
    """`left` overlaps with `right`: `kind` is one of `KINDS`, `score` the Jaccard index."""

    left: str
    right: str
    kind: str
    score: float


@dataclass
class Overlap:
    """All overlaps between two sets of texts: counts are full, `pairs` holds the worst ones."""

    exact: int = 0
    rephrased: int = 0
    near: int = 0
    left_ids: set[str] = field(default_factory=set)
    pairs: list[Pair] = field(default_factory=list)

    def report(self) -> dict:
        """The manifest's entry."""
        pairs = [vars(pair) for pair in self.pairs]
        return {
            **{kind: getattr(self, kind) for kind in KINDS},
            "rows": len(self.left_ids),
            "listed": len(pairs),
            "pairs": pairs,
        }


def items_of(examples: Iterable[Example]) -> list[Item]:
    """Examples as they are compared: question and context, in both wordings where there are two."""
    return [Item(e.id, e.asked, e.original, e.context) for e in examples]


def leakage_between(
    train_name: str, train: Sequence[Example], test_name: str, asked: dict[str, Sequence[Example]]
) -> dict:
    """What the splits `asked` of one dataset share with the training records of another, to be
    written as JSON."""
    learned = items_of(train)
    return {
        "train": train_name,
        "test": test_name,
        "method": METHOD,
        "comparisons": {
            f"{split} in {train_name}": find_overlap(items_of(examples), learned).report()
            for split, examples in asked.items()
        },
    }


def find_overlap(left: Sequence[Item], right: Sequence[Item]) -> Overlap:
    """The overlapping pairs between `left` and `right`, worst first, then in their order."""
    found = Overlap()

    def counted() -> Iterator[_Found]:
        for pair in _worst(left, right):
            (rank, _), (i, _) = pair
            setattr(found, KINDS[rank], getattr(found, KINDS[rank]) + 1)
            found.left_ids.add(left[i].id)
            yield pair

    for (rank, score), (i, j) in heapq.nsmallest(LISTED, counted()):
        found.pairs.append(Pair(left[i].id, right[j].id, KINDS[rank], round(-score, 4)))
    return found


_Found = tuple[tuple[int, float], tuple[int, int]]
"""The kind's place in `KINDS` and the negative Jaccard index; the places in left and in right."""


def _worst(left: Sequence[Item], right: Sequence[Item]) -> Iterator[_Found]:
    """Each overlapping pair once, by the two wordings that are most alike."""
    # The wordings of one text side by side, so that a block has all of each.
    ours, others = sorted(_wordings(left), key=lambda wording: wording[0]), _wordings(right)
    index = _Index([text for *_, text in ours], [text for *_, text in others])
    places = [i for i, *_ in ours]
    for start in range(0, len(left), _CHUNK):
        begin, end = (bisect_left(places, place) for place in (start, start + _CHUNK))
        worst: dict[tuple[int, int], tuple[int, float]] = {}
        for a, b, score, equal in index.similar(begin, end):
            (i, is_asked, text), (j, is_asked_too, other) = ours[a], others[b]
            if not equal and not _questions_alike(left[i], text, right[j], other):
                continue
            kind = "near" if not equal else "exact" if is_asked and is_asked_too else "rephrased"
            found = (KINDS.index(kind), -score)
            worst[i, j] = min(found, worst.get((i, j), found))
        yield from ((found, pair) for pair, found in worst.items())


def _questions_alike(ours: Item, text: str, theirs: Item, other: str) -> bool:
    """Whether near texts are near without their contexts too, where these are the same."""
    if ours.context is None or theirs.context is None:
        return True
    if normalise(ours.context) != normalise(theirs.context):
        return True
    a, b = (_grams(normalise(_question(x, of))) for x, of in ((text, ours), (other, theirs)))
    return len(a & b) >= NEAR * len(a | b)


def _question(text: str, item: Item) -> str:
    return text.removesuffix(item.context or "")


def _wordings(items: Sequence[Item]) -> list[tuple[int, bool, str]]:
    """Place, whether it is the wording that is asked, and text of every wording."""
    asked = [(i, True, item.text) for i, item in enumerate(items)]
    originals = [(i, False, x.original) for i, x in enumerate(items) if x.original is not None]
    return asked + originals


class _Index:
    """Texts on the left, and those on the right that they are compared with. N-grams are known by
    their hash of 64 bits: among 10 million two are taken for one with a chance of 3 in a million.
    """

    def __init__(self, left: Sequence[str], right: Sequence[str]) -> None:
        self.left, self.right = ([normalise(text) for text in side] for side in (left, right))
        self.equal: dict[str, list[int]] = {}
        for place, text in enumerate(self.right):
            self.equal.setdefault(text, []).append(place)
        self.values, self.ends = _hashes(self.left)
        values, ends = _hashes(self.right)
        self.common = np.union1d(_common(values, ends), _common(self.values, self.ends))
        self.grams = np.setdiff1d(self.values, self.common)
        incidence, self.sizes = self._incidence(values, ends)
        self.by_gram = incidence.T.tocsr()

    def similar(self, begin: int, end: int) -> Iterator[tuple[int, int, float, bool]]:
        """(place in left, place in right, Jaccard index, whether equal) of every such pair, of the
        texts on the left from `begin` to before `end`."""
        ends = self.ends[begin : end + 1]
        incidence, sizes = self._incidence(self.values[ends[0] : ends[-1]], ends - ends[0])
        shared = (incidence @ self.by_gram).tocoo()
        scores = shared.data / (sizes[shared.row] + self.sizes[shared.col] - shared.data)
        for k in np.flatnonzero(scores >= NEAR):
            i, j = begin + int(shared.row[k]), int(shared.col[k])
            if self.left[i] != self.right[j]:
                yield i, j, float(scores[k]), False
        for i in range(begin, end):
            yield from ((i, j, 1.0, True) for j in self.equal.get(self.left[i], ()))

    def _incidence(
        self, values: np.ndarray, ends: np.ndarray
    ) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Texts by n-grams of the left side, 1 where the text holds the n-gram, and how many
        n-grams of its own, those that no other text here holds included, each text has."""
        kept = np.concatenate([[0], np.cumsum(~np.isin(values, self.common))])
        sizes = np.diff(kept[ends])
        columns = np.searchsorted(self.grams, values)
        columns[columns == len(self.grams)] = 0
        known = self.grams[columns] == values if len(self.grams) else np.zeros(len(values), bool)
        ends = np.concatenate([[0], np.cumsum(known)])[ends]
        ones = np.ones(int(ends[-1]), dtype=np.int32)
        shape = (len(ends) - 1, len(self.grams))
        return sparse.csr_matrix((ones, columns[known], ends), shape=shape), sizes


def _hashes(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of all texts, text by text, and where those of each text begin and end."""
    values = array("q")
    ends = [0]
    for text in texts:
        values.extend(sorted(hash(gram) for gram in _grams(text)))
        ends.append(len(values))
    return np.frombuffer(values, dtype=np.int64), np.array(ends)


def _common(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The n-grams that so many texts hold that they are shared wording: an instruction before
    every question, or `how many`."""
    grams, texts = np.unique(values, return_counts=True)
    return grams[texts > max(COMMON, COMMON_SHARE * (len(ends) - 1))]


def _grams(text: str) -> set[tuple[str, ...]]:
    """The word n-grams of a normalised text; a shorter text is one n-gram by itself."""
    words = _WORD.findall(text)
    return {tuple(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))}


def overlaps_of_test(
    test: Sequence[Example], train: Sequence[Example], dev: Sequence[Example], shots: Sequence[Shot]
) -> dict[str, Overlap]:
    """What the test split shares, by the manifest's names for the comparisons."""
    items = items_of(test)
    return {
        "test in train": find_overlap(items, items_of(train)),
        "test in dev": find_overlap(items, items_of(dev)),
        "test in few_shot": find_overlap(items, _shown(shots, train)),
    }


def overlaps_of_dev(
    dev: Sequence[Example], train: Sequence[Example], shots: Sequence[Shot]
) -> dict[str, Overlap]:
    """What the dev split shares."""
    items = items_of(dev)
    return {
        "dev in train": find_overlap(items, items_of(train)),
        "dev in few_shot": find_overlap(items, _shown(shots, train)),
    }


def without_overlap(
    test: Sequence[Example], overlaps: dict[str, Overlap], where: str
) -> tuple[list[Example], list[Rejected]]:
    """The test records that overlap with nothing, and the others as rejected records. Raises
    `UserError` where all overlap."""
    found = {i: key for key, o in overlaps.items() for i in o.left_ids}
    kept = [e for e in test if e.id not in found]
    dropped = [_as_rejected(e, found[e.id]) for e in test if e.id in found]
    if dropped and not kept:
        raise UserError(
            f"{where}.overlap: found all {len(dropped)} test records in the other splits or "
            f"the few-shot examples too, such as {dropped[0].raw['id']}; expected some that "
            "are only tested, or overlap: report"
        )
    return kept, dropped


def _shown(shots: Sequence[Shot], train: Sequence[Example]) -> list[Item]:
    """A few-shot example is never held out, so that its context stands in the training split."""
    contexts = {e.id: e.context for e in train}
    return [
        Item(s.id, s.question, context=None if s.index is None else contexts.get(s.id))
        for s in shots
    ]


def _as_rejected(example: Example, key: str) -> Rejected:
    place = key.removeprefix("test in ")
    fault = RecordError(OVERLAP, None, f"a question that {place} has too", "a question of its own")
    return Rejected(example.source, example.record, fault, {"id": example.id})
