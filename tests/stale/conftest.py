"""The small experiment, run to its end once."""

import os
from pathlib import Path

import pytest
from project_copy import Project
from stale.experiment import CONFIG, new_project, write_config
from stale.starts import ARGUMENTS


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Tests leave it as they found it."""
    folder = tmp_path_factory.mktemp("stale")
    os.environ["SNAKETUNE_CACHE"] = str(folder / "cache")
    if given := os.environ.get("STALE_FINISHED"):
        return Project(Path(given))
    project = new_project(folder / "finished")
    write_config(project, CONFIG)
    (project.folder / "output.txt").write_text(project.run(*ARGUMENTS))
    return project
