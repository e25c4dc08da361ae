"""Lengths of training rows, for the choice of a limit."""

from collections.abc import Sequence

import numpy as np

_QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99}
_BINS = 40


def quantiles(lengths: Sequence[int]) -> dict:
    """`{"lengths": {min, mean, p05, p50, p95, p99, max}}` in tokens; empty without rows."""
    if not lengths:
        return {"lengths": {}}
    found = {name: float(np.quantile(lengths, q)) for name, q in _QUANTILES.items()}
    ends = {"min": min(lengths), "mean": float(np.mean(lengths)), "max": max(lengths)}
    return {"lengths": ends | found}


def histogram(lengths: Sequence[int], limit: int) -> dict:
    """`{"edges": [n + 1 numbers], "counts": [n numbers], "limit": tokens}`; edges are whole
    numbers of tokens, and a bin holds its left edge."""
    if not lengths:
        return {"edges": [], "counts": [], "limit": limit}
    width = max(1, -(-(max(lengths) - min(lengths) + 1) // _BINS))
    bins = (max(lengths) - min(lengths)) // width + 1
    edges = min(lengths) + width * np.arange(bins + 1)
    counts, _ = np.histogram(lengths, bins=edges)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "limit": limit}
