"""Sides of a benchmark that take turns."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any


def options_of(about: str, unit: str, count: int) -> argparse.Namespace:
    """The command line of a benchmark on so many units: `device`, the units, `rounds`."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(f"--{unit}", type=int, default=count)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


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
