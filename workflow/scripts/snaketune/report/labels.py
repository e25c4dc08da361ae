"""Names of runs for readers."""

from pathlib import Path

import yaml


def run_labels(settings: Path) -> dict[str, str]:
    """The labels in the resolved config, by run.

    They are read from the file that each start writes, not from params: a changed label makes
    nothing run again, and shows the next time that the report is made.
    """
    if not settings.is_file():
        return {}
    runs = yaml.safe_load(settings.read_text(encoding="utf-8"))["runs"]
    return {name: run["label"] for name, run in runs.items() if run["label"]}
