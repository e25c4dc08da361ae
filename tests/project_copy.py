"""A copy of the project in which the DAG runs for real."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from warm_start import warm

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "rules", "workflow", "config", "envs", "profiles", "data")
_HEADS = ("rule ", "localrule ", "checkpoint ", "localcheckpoint ")

SHORT = {
    "models": {"tiny": {"id": "data/demo/model"}, "judge": {"id": "data/demo/judge"}},
    "datasets": {
        "problems": {"source": "data/demo/math", "format": "gsm8k", "dev": 8},
        "prompts": {"source": "data/demo/safety/prompts.csv", "format": "ailuminate"},
    },
    "presets": {
        "short": {"method": "qlora", "max_steps": 3, "batch_size": 4, "learning_rate": 1e-2}
    },
}
"""Of an experiment on the demo's models and data: all but its evals and runs."""


@dataclass(frozen=True)
class Project:
    """A copy of the project, and how to run it."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """Two jobs at a time with a core each: most of a small job is one thread's work."""
        return [
            sys.executable, "-m", "snakemake", "--max-threads", "1", "--resources", "gpu=2",
            "--cores", "2", *arguments,
        ]  # fmt: skip

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Output and errors together, as a user sees them with Snakemake's own listing, which tests
        read."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**warm(), "SNAKETUNE_LISTING": "snakemake", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Runs to the end; the output where it succeeds."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def planned(self, *arguments: str) -> dict[str, list[str]]:
        """What a dry run lists: by rule, the lines about its jobs."""
        jobs: dict[str, list[str]] = {}
        rule = ""
        for line in self.run("-n", *arguments).splitlines():
            if line.startswith(_HEADS):
                rule = line.split()[1].rstrip(":")
                jobs.setdefault(rule, [])
            elif rule and line.startswith("    "):
                jobs[rule].append(line.strip())
            else:
                rule = ""
        return jobs


def copy_project(folder: Path) -> Project:
    """The project's files as they are in the working tree, without results."""
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            # With what Python compiled, which the first job of every copy would compile again, but
            # not what it is writing now.
            ignored = shutil.ignore_patterns("*.pyc.*")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, folder / part)
    return Project(folder)
