"""Log-probabilities of options, with the prompt computed once for all options of a question."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snaketune.inference.attention import Layout
from snaketune.inference.engine import Engine, common_prefix
from snaketune.inference.memory import halving
from snaketune.inference.option_tokens import Tree

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


def score_trees(model: Any, engine: Engine | None, trees: Sequence[Tree]) -> Iterator[OptionScores]:
    """Scores of every tree, as they come, longest first. Without an engine (the model's attention
    takes no mask of our making) the prompt's cache is shared between its options instead."""
    order = sorted(range(len(trees)), key=lambda i: -trees[i].size)
    if engine is None:
        yield from (_by_cache(model, i, trees[i]) for i in order)
        return
    cut = engine.share(common_prefix([t.stem for t in trees]), _SHORTEST_PREFIX) if trees else 0
    kind = engine.device.type

    def score(group: list[int]) -> list[OptionScores]:
        return _score_group(engine, [(i, trees[i]) for i in group], cut)

    for group in _groups(order, trees, cut, _TOKENS[kind], _LOGITS[kind] // engine.vocabulary):
        yield from halving(score, group)


def _groups(
    order: list[int], trees: Sequence[Tree], cut: int, tokens: int, kept: int
) -> Iterator[list[int]]:
    """Trees of like size whose padded rows hold at most `tokens` tokens, of which at most `kept`
    give logits."""
    group: list[int] = []
    tail = 0
    for i in order:
        width = trees[(group or [i])[0]].size - cut
        widest = max(tail, _tail(trees[i]))
        rows = len(group) + 1
        if group and (rows * width > tokens or rows * widest > kept):
            yield group
            group, widest = [], _tail(trees[i])
        group.append(i)
        tail = widest
    if group:
        yield group


def _tail(tree: Tree) -> int:
    """Columns from the last token of the stem on: those whose logits are needed."""
    return 1 + sum(map(len, tree.branches))


@torch.inference_mode()
def _score_group(engine: Engine, group: list[tuple[int, Tree]], cut: int) -> list[OptionScores]:
    """One pass over trees as rows, padded on the left: the branches of a row stand side by side,
    each at the positions that follow the stem, and see the stem and themselves alone."""
    trees = [tree for _, tree in group]
    width = max(t.size for t in trees) - cut
    keep = max(map(_tail, trees))
    ids, branch, positions = (
        torch.tensor(rows, device=engine.device)
        for rows in zip(*(_row(tree, cut, width) for tree in trees), strict=True)
    )
    column = torch.arange(width, device=engine.device)
    before = column[None, :, None] >= column[None, None, :]
    same = branch[:, :, None] == branch[:, None, :]
    visible = before & (same | (branch[:, None, :] == 0)) & (branch[:, None, :] >= 0)
    layout = Layout(visible, positions, positions, prefix=engine.prefix)
    logits = engine.call(ids, layout, None, keep)
    return _sums(logits, group, width - keep, cut, width)


def _row(tree: Tree, cut: int, width: int) -> tuple[list[int], list[int], list[int]]:
    """Token ids, branch numbers (0: stem, -1: padding) and positions, each `width` long."""
    stem = tree.stem[cut:]
    pad = width - (tree.size - cut)
    ids, branch = [0] * pad + stem, [-1] * pad + [0] * len(stem)
    positions = [0] * pad + list(range(cut, len(tree.stem)))
    for number, tokens in enumerate(tree.branches, 1):
        ids += tokens
        branch += [number] * len(tokens)
        positions += range(len(tree.stem), len(tree.stem) + len(tokens))
    return ids, branch, positions


def _sums(
    logits: Tensor, group: list[tuple[int, Tree]], first: int, cut: int, width: int
) -> list[OptionScores]:
    """logits [n, kept, V] of the columns from `first` on."""
    rows, columns, targets, counts = [], [], [], []
    for row, (_, tree) in enumerate(group):
        place = width - sum(map(len, tree.branches))
        stem_end = place - 1
        for tokens, start in zip(tree.branches, tree.scored, strict=True):
            before = [stem_end, *range(place, place + len(tokens) - 1)][start:]
            rows += [row] * len(before)
            columns += [c - first for c in before]
            targets += tokens[start:]
            counts.append(len(before))
            place += len(tokens)
    picked = logits[rows, columns].float()
    target = torch.tensor(targets, device=logits.device)[:, None]
    gains = picked.gather(1, target)[:, 0] - picked.logsumexp(-1)
    sums = [float(part.sum()) for part in gains.cpu().double().split(counts)]
    out, at = [], 0
    for index, tree in group:
        stop = at + len(tree.branches)
        out.append(OptionScores(index, sums[at:stop], counts[at:stop]))
        at = stop
    return out


@torch.inference_mode()
def _by_cache(model: Any, index: int, tree: Tree) -> OptionScores:
    """One question: the stem's cache, copied for each option."""
    device = next(model.parameters()).device
    stem = model(input_ids=torch.tensor([tree.stem], device=device), use_cache=True)
    sums = []
    for tokens, start in zip(tree.branches, tree.scored, strict=True):
        ids = torch.tensor([tokens], device=device)
        out = model(
            input_ids=ids, past_key_values=copy.deepcopy(stem.past_key_values), use_cache=True
        )
        logits = torch.cat([stem.logits[:, -1:], out.logits[:, :-1]], 1)[0, start:].float()
        gains = logits.log_softmax(-1).gather(1, ids[0, start:, None])
        sums.append(float(gains.double().sum()))
    counts = [len(t) - s for t, s in zip(tree.branches, tree.scored, strict=True)]
    return OptionScores(index, sums, counts)


def label_probabilities(sums: Sequence[float]) -> tuple[list[float], float]:
    """Probabilities of labels scored as options, renormalised among them, and the mass that they
    hold together before that."""
    values = torch.tensor(sums, dtype=torch.float64)
    return values.softmax(0).tolist(), float(values.exp().sum())
