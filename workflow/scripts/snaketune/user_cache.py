"""Where things are kept that are worth finding again, for all experiments of a user."""

import os
from pathlib import Path


def cache_root() -> Path:
    """`$SNAKETUNE_CACHE`, else `snaketune` in the user's cache folder."""
    if chosen := os.environ.get("SNAKETUNE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snaketune"
