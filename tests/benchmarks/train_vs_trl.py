"""Training speed and memory against TRL on the same rows and the same random model.

    python tests/benchmarks/train_vs_trl.py [--device cuda] [--rows 64] [--rounds 3]

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
RATE = "tokens_per_second"
NAMES = {"lora": "LoRA", "qlora": "QLoRA"}
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
    if device == "cpu":
        # Both sides take a GPU that they see.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def rounds(
    sides: list[str], count: int, folder: Path, method: str, device: str
) -> dict[str, dict[str, float]]:
    """Medians of every figure, by side; the sides take turns. Of the peer's settings those that
    are neither its default nor the fastest leave after the first round."""
    found: dict[str, list[dict]] = {side: [] for side in sides}
    for number in range(count):
        for side in _contenders(found) if number else sides:
            found[side].append(trial(side, folder, method, device))
            print(f"round {number + 1}, {method}, {side}: {_figures(found[side][-1])}", flush=True)
    return {
        side: {key: statistics.median(t[key] for t in found[side]) for key in found[side][0]}
        for side in _contenders(found)
    }


def _contenders(found: dict[str, list[dict]]) -> list[str]:
    """Both sides' defaults and the peer's setting that was fastest in the first round."""
    peers = [side for side in found if side != "ours"]
    fastest = max(peers, key=lambda side: found[side][0][RATE])
    return [side for side in found if side in ("ours", "default", fastest)]


def _figures(t: dict) -> str:
    return f"{t[RATE]:,.0f} tokens/s, {t['peak_memory'] / 1e9:.2f} GB, loss {t['loss']:.4f}"


def entries(method: str, found: dict[str, dict[str, float]], where: str) -> list[Entry]:
    """The bars of one method on the small vocabulary."""
    ours, default = found["ours"], found["default"]
    best = max((side for side in found if side != "ours"), key=lambda s: found[s][RATE])
    print(f"TRL's best setting: {best}")
    name = f"{NAMES[method]} training"
    return [
        Entry(f"{name} against TRL's default batches{where}",
              ours[RATE], default[RATE], "real tokens/s", 2.2, "higher"),
        Entry(f"{name} against TRL's best setting{where}",
              ours[RATE], found[best][RATE], "real tokens/s", 1.5, "higher"),
        Entry(f"{name}, peak memory against TRL's default batches{where}",
              ours["peak_memory"] / 1e9, default["peak_memory"] / 1e9, "GB", 1.0, "lower"),
        Entry(f"{name}, how far from TRL's loss after the epoch{where}",
              abs(ours["loss"] - default["loss"]), default["loss"], "nats/token", 0.01, "lower"),
        Entry(f"{name}, share of the rate of a large matrix product{where}",
              ours["rate"], ours["matrix_rate"], "operations/s", 0.5, "higher"),
    ]  # fmt: skip


def wide_entry(method: str, found: dict[str, dict[str, float]], where: str) -> Entry:
    """The memory bar of one method on the large vocabulary."""
    ours, peer = (found[side]["peak_memory"] / 1e9 for side in ("ours", "default"))
    name = f"{NAMES[method]} training, peak memory at a vocabulary of 150 k against TRL's{where}"
    return Entry(name, ours, peer, "GB", 0.7, "lower")


def main() -> None:
    """Trains, compares, records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rows", type=int, help="64 on the CPU, 1,024 on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = options.device
    rows = options.rows or (64 if device == "cpu" else 1024)
    where = "" if device == "cpu" else " (GPU)"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPU cores{where}")
    with tempfile.TemporaryDirectory() as temporary:
        small = make_folder(Path(temporary) / "small", rows, 8_192, device)
        for method in NAMES:
            found = rounds(["ours", *PEERS], options.rounds, small, method, device)
            record(entries(method, found, where))
        wide = make_folder(Path(temporary) / "wide", max(BATCH, rows // 2), 151_936, device)
        for method in NAMES:
            found = rounds(["ours", "default"], options.rounds, wide, method, device)
            record([wide_entry(method, found, where)])


if __name__ == "__main__":
    main()
