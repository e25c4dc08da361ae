"""What each format states of itself, read from the files of this folder without running them.

The config asks at every parse, for every job: a format's file is run only where records are read.
"""

from dataclasses import dataclass
from pathlib import Path

from snaketune.runtime.stated import stated_in

_MARK = "data_format"
"""The decorator in `base` that makes a file's class a format; the file's name is the format's."""


@dataclass(frozen=True)
class FormatInfo:
    """The facts that the config and the plan need to know of a format."""

    task: str
    """The task whose prompt its records are trained with, where no columns say otherwise."""
    evaluation_only: bool = False
    """Its records have no reply to train on: a lone file is a test split."""
    many_files: str | None = None
    """The pattern of its files' names, where a folder holds many, each with some records of one
    split."""
    seeded: bool = False
    """The dataset's seed decides what its examples look like."""


FORMATS = {
    name: FormatInfo(**facts) for name, facts in stated_in(Path(__file__).parent, _MARK).items()
}
"""The formats by name."""
