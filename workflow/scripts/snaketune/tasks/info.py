"""What each task states of itself, read from the files of this folder without running them.

The config asks at every parse, for every job: a task's file is run only where replies are measured,
compared or shown.
"""

from dataclasses import dataclass
from pathlib import Path

from snaketune.runtime.stated import stated_in


@dataclass(frozen=True)
class TaskInfo:
    """The facts that the config and the plan need to know of a task."""

    goals: tuple[str, ...]
    """The metrics of which more is better: what snapshots are chosen by and thresholds are set for.
    """
    samples_of: str | None = None
    """The task of which this one measures several samples a question. No eval names it: it follows
    from `sampling`."""

    @property
    def primary(self) -> str:
        """The metric by which the task is summarised."""
        return self.goals[0]


TASKS = {
    name: TaskInfo(**facts) for name, facts in stated_in(Path(__file__).parent, "task").items()
}
"""The tasks by name."""
