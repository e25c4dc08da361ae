"""A job's start from kept NF4 weights against quantising each time.

python tests/benchmarks/load_nf4.py [--device cuda] [--rounds 3]
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the workflow's jobs

import torch
from random_model import make_model
from summary import ROOT, Entry, record
from turns import take_turns

sys.path.append(str(ROOT / "workflow" / "scripts"))
from snaketune.config.model import ModelSpec
from snaketune.models import load


def loader(path: Path, device: torch.device, keep: bool) -> Callable[[], torch.nn.Module]:
    """Loads the model in NF4, with or without the kept weights."""
    spec = ModelSpec(id=str(path))
    kept = load.nf4_folder

    def run() -> torch.nn.Module:
        load.nf4_folder = kept if keep else lambda *_: None
        return load.load_model(spec, "nf4", device)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(2)
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SNAKETUNE_CACHE"] = f"{folder}/cache"
        path = make_model(Path(folder) / "model", options.device)
        sides = {"kept": loader(path, device, True), "quantised": loader(path, device, False)}
        sides["kept"]()  # the first job of all quantises and keeps
        seconds, results = take_turns(sides, options.rounds)
    same = all(
        torch.equal(one, two)
        for one, two in zip(
            results["kept"].state_dict().values(),
            results["quantised"].state_dict().values(),
            strict=True,
        )
    )
    if not same:
        raise SystemExit("the kept weights are not the quantised ones")
    where = "" if options.device == "cpu" else " (GPU)"
    name = f"job start with kept NF4 weights{where}"
    record([Entry(name, 1 / seconds["kept"], 1 / seconds["quantised"], "loads/s", 3.0, "higher")])


if __name__ == "__main__":
    main()
