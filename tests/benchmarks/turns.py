"""Sides of a benchmark that take turns."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def take_turns(
    sides: dict[str, Callable[[], Any]], rounds: int = 3
) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds and the last result of each side, after `rounds` rounds in turn (A B A B A B):
    what slows the machine for a while slows all sides."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, Any] = {}
    for number in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            results[name] = side()
            seconds[name].append(time.perf_counter() - start)
            print(f"round {number + 1}: {name}: {seconds[name][-1]:.2f} s", flush=True)
    return {name: statistics.median(values) for name, values in seconds.items()}, results
