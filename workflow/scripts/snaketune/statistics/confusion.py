"""Numbers of a classification that follow from its confusion counts alone.

`counts` has a row a gold label and a column a predicted one, and last the column of the unparsed.
Leading axes are many tables at once, so that the bootstrap draws tables instead of rows: resampled
rows fall into the cells as a multinomial with the cells' shares. What is undefined is NaN here.
"""

from collections.abc import Callable, Sequence

import numpy as np

from snaketune.statistics.intervals import RESAMPLES, SEED, numbered, percentiles, resampled

Counts = np.ndarray
Statistic = Callable[[Counts], np.ndarray]
"""A number a table."""


def confusion(
    labels: Sequence[str], gold: Sequence[str], predicted: Sequence[str | None]
) -> Counts:
    """The counts of pairs; None is unparsed."""
    return by_cluster(labels, gold, predicted, [""] * len(gold)).sum(0)


def by_cluster(
    labels: Sequence[str],
    gold: Sequence[str],
    predicted: Sequence[str | None],
    clusters: Sequence[str],
) -> Counts:
    """[c, rows, columns]: the counts of each cluster."""
    places = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(set(clusters)), len(labels), len(labels) + 1), dtype=np.int64)
    for cluster, was, found in zip(numbered(clusters), gold, predicted, strict=True):
        counts[cluster, places[was], len(labels) if found is None else places[found]] += 1
    return counts


def hits(counts: Counts) -> np.ndarray:
    """Right predictions of each label."""
    return np.diagonal(counts, axis1=-2, axis2=-1)


def recalls(counts: Counts) -> np.ndarray:
    """Of the rows of a label, the share that was predicted as it."""
    return _ratio(hits(counts), counts.sum(-1))


def f1s(counts: Counts) -> np.ndarray:
    """The harmonic mean of precision and recall of each label: 0 where a label has rows or
    predictions but no hit, undefined where it has neither."""
    return _ratio(2 * hits(counts), counts.sum(-1) + counts[..., :-1].sum(-2))


def balanced_accuracy(counts: Counts) -> np.ndarray:
    """The mean recall of the labels that have rows."""
    return _mean(recalls(counts))


def macro_f1(counts: Counts) -> np.ndarray:
    """The mean F1 of the labels that have one."""
    return _mean(f1s(counts))


def kappa(counts: Counts) -> np.ndarray:
    """Cohen's: agreement beyond what two raters with these shares reach by chance; undefined where
    chance would always agree. Of two raters who both always gave a label."""
    table = counts[..., :-1]
    total = table.sum((-1, -2))
    agreed = _ratio(hits(table).sum(-1), total)
    sides = [table.sum(-1), table.sum(-2)]
    shares = [_ratio(x, np.broadcast_to(total[..., None], x.shape)) for x in sides]
    chance = (shares[0] * shares[1]).sum(-1)
    return _ratio(agreed - chance, 1 - chance)


def bootstrap(counts: Counts, statistic: Statistic, seed: int = SEED) -> tuple[float, float] | None:
    """The 95 % percentile interval of `statistic` over resampled rows, or over resampled clusters
    where `counts` are those of each (`by_cluster`); None where they show no spread."""
    n = int(counts.sum())
    if n == 0:
        return None
    if counts.ndim == 2:
        drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=RESAMPLES)
    else:
        drawn = resampled(counts.reshape(len(counts), -1), seed)
    values = statistic(drawn.reshape(-1, *counts.shape[-2:]))
    return percentiles(values[~np.isnan(values)])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    nothing = np.full(below.shape, np.nan)
    return np.divide(above, below, out=nothing, where=below > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, of what is defined."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(-1), known.sum(-1))
