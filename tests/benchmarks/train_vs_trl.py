"""Training speed and memory against TRL on the same rows and the same random model.

    python tests/benchmarks/train_vs_trl.py [--device cuda] [--rows 160] [--rounds 3]

Every trial is a process of its own, so that peak memory is its own too; trials take turns, round
by round, and medians are compared. Runs in `.venv-bench`, which has the peer beside what
`envs/requirements.txt` lists.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from peer_rows import make_folder
from summary import ROOT, Entry, record

HERE = Path(__file__).resolve().parent
BATCH = 16
# TRL's per-device batch, whether it groups by length, and whether it packs.
PEERS = {
    "default": (8, False, False),
    "grouped 8": (8, True, False),
    "grouped 4": (4, True, False),
    "packed": (1, False, True),
}


def trial(side: str, folder: Path, method: str, device: str) -> dict:
    """One training in a process of its own: tokens/s, loss after it, peak memory in bytes."""
    command = [sys.executable, str(HERE / "train_trial.py"), side, str(folder), method, device]
    paths = [str(ROOT / "workflow" / "scripts"), str(HERE)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def rounds(
    sides: list[str], count: int, folder: Path, method: str, device: str
) -> dict[str, dict[str, float]]:
    """Medians of every figure, by side; the sides take turns."""
    found: dict[str, list[dict]] = {side: [] for side in sides}
    for number in range(count):
        for side in sides:
            found[side].append(trial(side, folder, method, device))
            last = found[side][-1]
            figures = (
                f"{last['tokens_per_second']:,.0f} tokens/s, {last['peak_memory'] / 1e9:.2f} GB"
            )
            print(
                f"round {number + 1}, {method}, {side}: {figures}, loss {last['loss']:.4f}",
                flush=True,
            )
    return {
        side: {key: statistics.median(t[key] for t in trials) for key in trials[0]}
        for side, trials in found.items()
    }


def entries(method: str, found: dict[str, dict[str, float]]) -> list[Entry]:
    """The bars of one method on the small vocabulary."""
    ours, default = found["ours"], found["default"]
    best = max(
        (side for side in found if side != "ours"), key=lambda s: found[s]["tokens_per_second"]
    )
    rate = "tokens_per_second"
    print(f"TRL's best setting: {best}")
    name = {"lora": "LoRA", "qlora": "QLoRA"}[method]
    return [
        Entry(f"{name} training against TRL's default batches",
              ours[rate], default[rate], "real tokens/s", 2.2, "higher"),
        Entry(f"{name} training against TRL's best setting",
              ours[rate], found[best][rate], "real tokens/s", 1.5, "higher"),
        Entry(f"{name} training, loss after the epoch against TRL's",
              ours["loss"], default["loss"], "nats/token", 1.01, "lower"),
        Entry(f"{name} training, share of the rate of a large matrix product",
              ours["rate"], ours["matrix_rate"], "operations/s", 0.5, "higher"),
    ]  # fmt: skip


def wide_entry(method: str, found: dict[str, dict[str, float]]) -> Entry:
    """The memory bar of one method on the large vocabulary."""
    ours, peer = (found[side]["peak_memory"] / 1e9 for side in ("ours", "default"))
    name = {"lora": "Peak memory", "qlora": "QLoRA, peak memory"}[method]
    return Entry(f"{name} at a vocabulary of 150 k against TRL's", ours, peer, "GB", 0.7, "lower")


def main() -> None:
    """Trains, compares, records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    where = "" if options.device == "cpu" else f" on {options.device}"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPU cores{where}")
    with tempfile.TemporaryDirectory() as temporary:
        small = make_folder(Path(temporary) / "small", options.rows, 8_192, options.device)
        for method in ("lora", "qlora"):
            sides = ["ours", *PEERS]
            record(entries(method, rounds(sides, options.rounds, small, method, options.device)))
        wide = make_folder(Path(temporary) / "wide", BATCH * 3, 151_936, options.device)
        for method in ("lora", "qlora"):
            found = rounds(["ours", "default"], 1, wide, method, options.device)
            record([wide_entry(method, found)])


if __name__ == "__main__":
    main()
