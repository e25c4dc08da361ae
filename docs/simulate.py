"""What the intervals cover: writes the tables of docs/statistics.md, which has the command.

Shares are counted out over all outcomes; the rest is drawn, with fixed seeds.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from snaketune.statistics.intervals import (
    detectable,
    mean_interval,
    score_interval,
    score_test,
    wilson,
)
from snaketune.statistics.paired import compare, of_shares
from snaketune.statistics.predictions import calibration_interval, roc_interval

SIZES, SHARES = (15, 100, 1000), (0.02, 0.5, 0.98)
PAGE = Path(__file__).with_name("statistics.md")

Row = tuple[str | float | int, ...]


def plain() -> Iterator[Row]:
    """Wilson's interval of a share."""
    for n in SIZES:
        for share in SHARES:
            chances = stats.binom.pmf(np.arange(n + 1), n, share)
            ends = [wilson(k, n) for k in range(n + 1)]
            yield n, share, chances[[low <= share <= high for low, high in ends]].sum()


def rows_that_differ(before: float, after: float, alike: float) -> tuple[float, float]:
    """Chances of a row that is lost and one that is gained: answers are independent where `alike`
    is 0, and go together as far as two such shares can where it is 1."""
    both = before * after + alike * (min(before, after) - before * after)
    return before - both, after - both


def paired(sizes: tuple[int, ...] = SIZES) -> Iterator[Row]:
    """Tango's interval of a difference of shares on the same rows."""
    for n in sizes:
        for before in SHARES:
            for gain in (0.0, -0.1 if before > 0.9 else 0.1):
                for alike in (0.0, 0.5, 0.8):
                    lost, gained = rows_that_differ(before, before + gain, alike)
                    yield n, before, gain, alike, lost + gained, *_paired(n, lost, gained)


def _paired(n: int, lost: float, gained: float) -> tuple[float, float]:
    """Coverage, and how often p < 0.05. Outcomes of less than one in a million are left out."""
    covered, found, weight = 0.0, 0.0, 0.0
    differing = lost + gained
    for m in range(n + 1):
        of = stats.binom.pmf(m, n, differing)
        if of < 1e-7:
            continue
        chances = stats.binom.pmf(np.arange(m + 1), m, gained / differing)
        for gains in np.nonzero(chances > 1e-5)[0].tolist():
            low, high = score_interval(m - gains, gains, n) or (0, 0)
            chance = of * chances[gains]
            weight += chance
            covered += chance * (low <= gained - lost <= high)
            found += chance * (score_test(m - gains, gains) < 0.05)
    return covered / weight, found / weight


def _answers(draw: np.random.Generator, n: int) -> np.ndarray:
    """F1 as open answers have it: many 0, some 1, the rest between."""
    values = draw.beta(2, 5, n)
    kind = draw.random(n)
    return np.where(kind < 0.5, 0, np.where(kind < 0.7, 1, values))


def means(times: int = 2000) -> Iterator[Row]:
    """The interval of a mean, and of a difference of means on the same rows."""
    draw = np.random.default_rng(0)
    truth = 0.2 + 0.3 * 2 / 7
    for n in (100, 1000):
        held, differences = 0, 0
        for _ in range(times):
            values = _answers(draw, n)
            low, high = mean_interval(values.tolist()) or (0, 0)
            held += low <= truth <= high
            other = np.where(draw.random(n) < 0.7, values, _answers(draw, n))
            rows = [
                [{"id": str(i), "x": float(x)} for i, x in enumerate(v)] for v in (values, other)
            ]
            differences += compare(*rows, lambda row: row["x"])["p"] >= 0.05
        yield n, held / times, differences / times


def clusters(times: int = 3000) -> Iterator[Row]:
    """The interval of a share of rows in groups of 1 to 9, by how alike the rows of a group are."""
    draw = np.random.default_rng(0)
    for count in (20, 50):
        for share in (0.5, 0.8, 0.9):
            for alike in (0.05, 0.3):
                held, rise = 0, (1 - alike) / alike
                for _ in range(times):
                    sizes = draw.integers(1, 10, count)
                    shares = draw.beta(rise * share, rise * (1 - share), count)
                    hits = draw.binomial(sizes, shares)
                    repeats = np.stack([sizes - hits, hits], axis=1).ravel()
                    values = np.repeat(np.arange(2 * count) % 2, repeats).tolist()
                    names = np.repeat(np.arange(count), sizes).tolist()
                    low, high = mean_interval(values, names) or (0, 0)
                    held += low <= share <= high
                yield count, share, alike, held / times


def paired_clusters(times: int = 2000) -> Iterator[Row]:
    """The interval of a difference of shares on the same rows in groups of 1 to 9. Rows of a group
    are alike in how hard they are, and in how much harder they are for one model than the other."""
    draw = np.random.default_rng(0)
    for count in (20, 50):
        for base, gain in ((0.5, 0.0), (0.5, 0.1), (0.8, 0.0), (0.8, 0.1), (0.95, 0.0)):
            for alike in (0.05, 0.3):
                limits, held = stats.norm.ppf([base, base + gain]), 0
                for _ in range(times):
                    groups = np.repeat(np.arange(count), draw.integers(1, 10, count))
                    # Half of what a group or a row has in common, it has for both models.
                    parts = [
                        share**0.5 * (draw.normal(size=(k, 1)) + draw.normal(size=(k, 2)))
                        for share, k in ((alike / 2, count), ((1 - alike) / 2, len(groups)))
                    ]
                    hits = (parts[0][groups] + parts[1] < limits).astype(float)
                    found = of_shares(hits[:, 1:] - hits[:, :1], groups.astype(str).tolist())[1]
                    low, high = found or (0, 0)
                    held += low <= gain <= high
                yield count, base, gain, alike, held / times


def families() -> Iterator[Row]:
    """How often any of several independent runs without an effect is called better or worse. Holm's
    first step decides it: whether the smallest p is below 0.05 over the number of runs."""
    for n, differing in ((100, 0.3), (263, 0.12), (1319, 0.12)):
        chances = {}
        for m in range(n + 1):
            of = stats.binom.pmf(m, n, differing)
            if of > 1e-9:
                for gains, chance in enumerate(stats.binom.pmf(np.arange(m + 1), m, 0.5)):
                    p = score_test(m - gains, gains)
                    chances[p] = chances.get(p, 0.0) + of * chance
        for runs in (1, 6, 20):
            raw, adjusted = (
                1 - (1 - sum(c for p, c in chances.items() if p < limit)) ** runs
                for limit in (0.05, 0.05 / runs)
            )
            yield n, differing, runs, raw, adjusted


def seeds(times: int = 1000) -> Iterator[Row]:
    """The interval of a difference of shares over rows and seeds, by how far the seeds' true shares
    lie apart, and how often it finds one where there is none."""
    draw = np.random.default_rng(0)
    for n in (100, 1000):
        for count in (2, 3, 5, 10):
            for apart in (0.0, 0.01, 0.04):
                found = []
                for _ in range(times):
                    # A row is as hard for the base as for every seed, in four parts of five.
                    hard = 0.8**0.5 * draw.normal(size=(n, 1))
                    tries = hard + 0.2**0.5 * draw.normal(size=(n, count + 1))
                    shares = 0.6 + np.append(0, draw.normal(0, apart, count))
                    hits = (tries < stats.norm.ppf(shares)).astype(float)
                    p, *_ = of_shares(hits[:, 1:] - hits[:, :1])
                    found.append(p >= 0.05)
                yield n, count, apart, float(np.mean(found))


def calibration(times: int = 400) -> Iterator[Row]:
    """The interval of the expected calibration error, by the true one: the same gap in every bin,
    one that rises with confidence, or one in a bin of five."""
    draw = np.random.default_rng(0)
    gaps = {
        "even": lambda sure, error: np.full(len(sure), error),
        "rising": lambda sure, error: 4 * error * (sure - 0.5),
        "one bin": lambda sure, error: np.where(sure >= 0.9, 5 * error, 0),
    }
    cases = [("even", 0.0), ("even", 0.05), ("even", 0.2), ("rising", 0.1), ("one bin", 0.05)]
    for n in (100, 1000):
        names = [str(i) for i in range(n)]
        for kind, error in cases:
            held = 0
            for _ in range(times):
                sure = draw.uniform(0.5, 1, n)
                right = draw.random(n) < sure - gaps[kind](sure, error)
                low, high = calibration_interval(sure, right, names) or (1, 0)
                held += low <= error <= high
            yield n, kind, error, held / times


def areas(times: int = 600) -> Iterator[Row]:
    """The interval of the area under the ROC curve, of two normal distributions."""
    draw = np.random.default_rng(0)
    for area in (0.7, 0.9, 0.97, 0.99):
        for ups, downs in ((15, 15), (50, 50)):
            held, apart = 0, 2**0.5 * stats.norm.ppf(area)
            for _ in range(times):
                values = [*draw.normal(apart, 1, ups), *draw.normal(0, 1, downs)]
                low, high = roc_interval(values, [True] * ups + [False] * downs) or (1, 0)
                held += low <= area <= high
            yield area, ups, downs, held / times


def power() -> Iterator[Row]:
    """The smallest difference of shares that so many rows show with 80 % power."""
    for n in (15, 100, 263, 1319):
        yield n, *(detectable(n, differing) or "none" for differing in (0.05, 0.1, 0.3))


TABLES = {
    "plain": (plain, ("n", "share", "covered")),
    "paired": (paired, ("n", "base", "gain", "alike", "differ", "covered", "p < 0.05")),
    "means": (means, ("n", "mean covered", "no difference kept")),
    "clusters": (clusters, ("groups", "share", "alike", "covered")),
    "paired_clusters": (paired_clusters, ("groups", "base", "gain", "alike", "covered")),
    "seeds": (seeds, ("n", "seeds", "between seeds", "covered")),
    "families": (families, ("n", "differ", "runs", "any p < 0.05", "any adjusted p < 0.05")),
    "calibration": (calibration, ("n", "gaps", "true error", "covered")),
    "areas": (areas, ("area", "positive", "negative", "covered")),
    "power": (power, ("n", "5 % differ", "10 % differ", "30 % differ")),
}


def _shown(cell: str | float | int) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def table(name: str) -> str:
    """As Markdown."""
    make, columns = TABLES[name]
    lines = [" | ".join(columns), " | ".join("---:" for _ in columns)]
    lines += [" | ".join(map(_shown, row)) for row in make()]
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    for name in sys.argv[1:] or TABLES:
        mark = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        made = table(name)
        page = re.sub(mark, lambda m, made=made: f"{m[1]}{made}\n{m[2]}", page, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")
