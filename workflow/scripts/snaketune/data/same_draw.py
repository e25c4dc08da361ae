"""Which draws of few-shot examples begin alike. Imports nothing: the Snakefile asks."""

from math import ceil, log


def same_draw(count: int) -> int:
    """The largest count whose draw begins as that of `count` does: however many records there are,
    the shorter of `Random(seed).sample(range(n), min(count, n))` for both is the other's beginning.

    Python's `sample` swaps within a list of all n where n is at most a size that it works out from
    the count (21, and above 5 also the power of 4 that is three times the count or more), and looks
    places up in a set where n is larger: each way, places are drawn one after another. Counts of
    one size always go the same way.
    """
    return 5 if count <= 5 else 4 ** ceil(log(3 * count, 4)) // 3
