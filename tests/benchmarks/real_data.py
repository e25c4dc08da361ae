"""Where real data lies, for the benchmarks that can't do without it."""

import os
import sys
from pathlib import Path


def real_or_skip(name: str) -> Path:
    """The folder `name` of REAL_DATA_DIR. Without it the benchmark ends here, and says that it
    compared nothing."""
    root = os.environ.get("REAL_DATA_DIR")
    if root and (folder := Path(root) / name).is_dir():
        return folder
    found = f"REAL_DATA_DIR is {root!r}, expected a folder that holds {name}"
    print(f"SKIPPED {Path(sys.argv[0]).stem}: compared nothing, for lack of real data. {found}")
    raise SystemExit(0)
