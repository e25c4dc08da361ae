"""What was found to go wrong before: several keys changed at once."""

from stale.edit import Edit
from stale.edits_config import UNUSED_DATASET, unused_jobs
from stale.edits_runs import NEW_RUN, SECOND

# An eval on a new dataset, of one run.
_ASKED = """
generate:base-tiny-nf4/asked < prepare:newer/test pin_model:tiny
generate:low/asked < prepare:newer/test train:low pin_model:tiny
measure:base-tiny-nf4/asked < generate:base-tiny-nf4/asked prepare:newer/test
measure:low/asked < generate:low/asked prepare:newer/test
leakage:problems-newer < prepare_held_out:problems prepare:newer/test
"""
_OTHERS = ("picked", "whole", "borrowed")
_ASKED_EVAL = {"task": "math", "dataset": "newer", "max_new_tokens": 4, "sample": {"count": 2}}

EDITS = [
    Edit("a learning rate, with a new dataset", "train:low prepare:more/*",
         (("presets.quantised.learning_rate", 9.0e-4), ("datasets.more", UNUSED_DATASET)),
         adds=unused_jobs("more")),
    Edit("a run's seed, with a new dataset and an eval on it",
         "train:low prepare:newer/* generate:*/asked leakage:problems-newer aggregate",
         (("runs.low.seed", 9), ("datasets.newer", UNUSED_DATASET), ("evals.asked", _ASKED_EVAL),
          *((f"runs.{run}.evals.asked", False) for run in _OTHERS)),
         adds=unused_jobs("newer") + _ASKED),
    # Outputs that nobody asks for, and that are not there, must not hide what else changed.
    Edit("keep, beside a learning rate", "train:low",
         (("presets.quantised.learning_rate", 9.0e-4), ("presets.quantised.keep", 2))),
    Edit("a new run with another seed, and an unused dataset",
         "train:second prepare:more/*",
         (("runs.second", SECOND), ("datasets.more", UNUSED_DATASET)),
         adds=unused_jobs("more") + NEW_RUN),
]  # fmt: skip
