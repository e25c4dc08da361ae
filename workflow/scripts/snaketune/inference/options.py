"""Log-probabilities of options. A question and its options become one tree of tokens, and a pass
reads the prompt once for all options of a question, what all prompts begin with once at all.
Shapes: B questions of a pass, K options of one, T tokens of the largest tree, N tokens of all trees
end to end, P tokens of prefix, V vocabulary. A pass costs N tokens of the model, without padding,
and B x T x T of the attention; logits [M, V] are made only for the M places that predict an
option's token. Against a pass an option this saves K - 1 readings of each prompt.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor

from snaketune.inference.attention import Packing, PrefixLayout
from snaketune.inference.engine import Engine, common_prefix
from snaketune.inference.memory import halving
from snaketune.inference.padded import PaddedModel
from snaketune.inference.plain import PlainModel
from snaketune.models.finite import require_finite
from snaketune.prompts.control_tokens import encode_texts, unshield
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
    """Context and option are tokenised together and split where the context's tokens end; an option
    whose first token would span the join is tokenised by itself, as a prompt that is asked ends
    with whole tokens too.

    `plain` text gets the tokenizer's special tokens, and white space at the context's end goes to
    the option (as in lm-evaluation-harness); a rendered conversation is taken as it is. Raises
    UserError for an option that has no token to score.
    """
    context = question.context.rstrip() if plain else question.context
    gap = question.context[len(context) :]
    texts = [context, *(context + gap + option for option in question.options)]
    start, *wholes = encode_texts(tokenizer, texts, add_special_tokens=plain)
    for i, option in enumerate(question.options):
        apart = not plain and wholes[i][: len(start)] != start
        if apart or len(wholes[i]) <= len(start):
            wholes[i] = start + encode_texts(tokenizer, [gap + option])[0]
        if len(wholes[i]) <= len(start):
            raise UserError(
                f"{question.where}: found option {unshield(tokenizer, option)!r} without a token, "
                "expected at least one"
            )
    if not start:
        start = _opened(tokenizer, question)
        wholes = [start + whole for whole in wholes]
    stem = _shared(wholes)[: len(start)]
    branches = [whole[len(stem) :] for whole in wholes]
    return Tree(stem, branches, [len(start) - len(stem)] * len(branches))


def distinguish_labels(tree: Tree, ending: Sequence[int], where: str) -> Tree:
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


# In one forward pass. On the CPU larger passes fall out of the caches.
_TOKENS = {"cuda": 16384, "cpu": 1024}
_LOGITS = {"cuda": 1 << 29, "cpu": 1 << 26}  # numbers
_SHORTEST_PREFIX = 8


@dataclass(frozen=True)
class OptionScores:
    """Scores of the options of one question."""

    index: int
    sums: list[float]
    """Log-probability of each option after the prompt."""
    tokens: list[int]
    """Tokens of each option."""


def score_trees(
    model: Any,
    engine: Engine | PaddedModel | None,
    trees: Sequence[Tree],
    wanted: Collection[int] | None = None,
) -> Iterator[OptionScores]:
    """Scores of the `wanted` trees (unset: of all), as they come, longest first. Without an engine
    (the model's attention takes no mask of our making) prompts are read in padded batches, or
    one by one, and their cache is shared between their options.

    Whatever is wanted, trees share their passes with the same others: a job that goes on after a
    kill scores what is missing exactly as it would have.
    """
    order = sorted(range(len(trees)), key=lambda i: -trees[i].size)
    wanted = set(order if wanted is None else wanted)
    if engine is None:
        plain = PlainModel(model)
        for i in (i for i in order if i in wanted):
            tree, where = trees[i], f"question {i + 1}"
            sums = plain.sums(tree.stem, tree.branches, tree.scored, where)
            yield OptionScores(i, sums, tree.counts)
        return
    if apart := {i for i in order if _goes_apart(trees[i], engine)}:
        with engine.own_attention():
            yield from score_trees(model, None, trees, wanted & apart)
        order = [i for i in order if i not in apart]
    if isinstance(engine, PaddedModel):
        cut, score = 0, partial(_score_padded, engine, trees)
    else:
        stems = [trees[i].stem for i in order]
        cut = engine.share(common_prefix(stems), _SHORTEST_PREFIX) if stems else 0
        score = partial(_score_group, engine, trees, cut)
    kind = engine.device.type
    for group in _groups(order, trees, cut, _TOKENS[kind], _LOGITS[kind] // engine.vocabulary):
        if wanted.intersection(group):
            yield from (found for found in halving(score, group) if found.index in wanted)


def _goes_apart(tree: Tree, engine: Engine | PaddedModel) -> bool:
    """Whether it is too long for a batch, or nothing for padded rows."""
    left = isinstance(engine, PaddedModel) and not engine.takes(tree.stem, tree.branches)
    return left or bool(engine.limit and tree.longest > engine.limit)


def _score_padded(
    padded: PaddedModel, trees: Sequence[Tree], group: list[int]
) -> list[OptionScores]:
    """The prompts in one batch, then a token of all their options at a time."""
    asked = [(trees[i].stem, trees[i].branches, trees[i].scored) for i in group]
    sums = padded.sums(asked, f"a batch that begins with question {group[0] + 1}")
    return [OptionScores(i, part, trees[i].counts) for i, part in zip(group, sums, strict=True)]


def _groups(
    order: list[int], trees: Sequence[Tree], cut: int, tokens: int, kept: int
) -> Iterator[list[int]]:
    """Trees of like size with at most `tokens` tokens together, of which at most `kept` give
    logits."""
    group: list[int] = []
    held = wanted = 0
    for i in order:
        size, tail = trees[i].size - cut, 1 + sum(map(len, trees[i].branches))
        if group and (held + size > tokens or wanted + tail > kept):
            yield group
            group, held, wanted = [], 0, 0
        group.append(i)
        held, wanted = held + size, wanted + tail
    if group:
        yield group


@torch.inference_mode()
def _score_group(
    engine: Engine, all_trees: Sequence[Tree], cut: int, group: list[int]
) -> list[OptionScores]:
    """One pass over the trees, end to end without padding; logits only where an option's token is
    predicted."""
    trees = [all_trees[i] for i in group]
    device = engine.device
    ids = torch.tensor([[t for tree in trees for t in _tokens(tree, cut)]], device=device)  # [1, N]
    branch, positions, packing = _rows(trees, cut, device)
    layout = PrefixLayout(
        _visible(branch), positions, positions, prefix=engine.prefix, packing=packing
    )
    flat = positions.flatten()[packing.tokens][None]
    before, targets, counts = _predictions(trees, cut)
    keep, where = torch.tensor(before, device=device).unique(return_inverse=True)

    def read() -> Tensor:
        return engine.call(ids, flat, layout, None, keep)[0].float()

    logits = read()  # [M, V]
    spread = logits.logsumexp(-1)  # [M]
    first = group[0] + 1
    require_finite(spread, engine.model, read, f"a pass that begins with question {first}")
    gains = logits[where, torch.tensor(targets, device=device)] - spread[where]
    sums = [float(part.sum()) for part in gains.cpu().double().split(counts)]
    found = iter(zip(sums, counts, strict=True))
    parts = [list(zip(*islice(found, len(tree.branches)), strict=True)) for tree in trees]
    return [OptionScores(i, list(a), list(b)) for i, (a, b) in zip(group, parts, strict=True)]


def _tokens(tree: Tree, cut: int) -> list[int]:
    return tree.stem[cut:] + [token for branch in tree.branches for token in branch]


def _rows(trees: list[Tree], cut: int, device: torch.device) -> tuple[Tensor, Tensor, Packing]:
    """Branch numbers (0: stem, -1: padding) and positions [B, T], and where the tokens lie."""
    sizes = [tree.size - cut for tree in trees]
    width = max(sizes)
    branch: list[list[int]] = []
    positions: list[list[int]] = []
    places: list[list[int]] = []
    tokens: list[int] = []
    start = 0
    for row, (tree, size) in enumerate(zip(trees, sizes, strict=True)):
        numbers, at = [0] * (len(tree.stem) - cut), list(range(cut, len(tree.stem)))
        for number, part in enumerate(tree.branches, 1):
            numbers += [number] * len(part)
            at += range(len(tree.stem), len(tree.stem) + len(part))
        branch.append(numbers + [-1] * (width - size))
        positions.append(at + [0] * (width - size))
        places.append([*range(start, start + size), *[0] * (width - size)])
        tokens += range(row * width, row * width + size)
        start += size
    packing = Packing(torch.tensor(places, device=device), torch.tensor(tokens, device=device))
    return torch.tensor(branch, device=device), torch.tensor(positions, device=device), packing


def _visible(branch: Tensor) -> Tensor:
    """[B, T, T]: a token sees its stem, its own branch up to itself, and no other branch."""
    column = torch.arange(branch.shape[1], device=branch.device)
    before = column[None, :, None] >= column[None, None, :]
    return before & ((branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0))


def _predictions(trees: list[Tree], cut: int) -> tuple[list[int], list[int], list[int]]:
    """For each option token the packed place of the token before it, and its id; and the number of
    them for each option."""
    before: list[int] = []
    targets: list[int] = []
    counts: list[int] = []
    place = 0
    for tree in trees:
        place += len(tree.stem) - cut
        stem_end = place - 1
        for tokens, start in zip(tree.branches, tree.scored, strict=True):
            before += [stem_end, *range(place, place + len(tokens) - 1)][start:]
            targets += tokens[start:]
            counts.append(len(tokens) - start)
            place += len(tokens)
    return before, targets, counts
