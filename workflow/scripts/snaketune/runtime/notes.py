"""What a start says before it plans: changed code, and weights that only a new training keeps."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from snaketune.config.experiment import Experiment
from snaketune.runtime.records import MADE_BY
from snaketune.steps import versions

_NAMED = 6


def code_notes(experiment: Experiment) -> Iterator[str]:
    """Steps whose code is not the one that their version stands for."""
    changed = sorted(versions.changed_steps())
    if not changed or experiment.code == "strict":
        return
    names = ", ".join(changed[:_NAMED]) + (" and others" if len(changed) > _NAMED else "")
    yield (
        f"the code of {names} was changed since its version was set; results stay as they are. "
        "`--config code=strict` makes again what other code made; `make steps` sets versions"
    )


def kept_notes(experiment: Experiment, folder: Path) -> Iterator[str]:
    """Finished trainings whose preset came to `keep` weights after them."""
    for name, run in experiment.runs.items():
        preset = experiment.presets.get(run.preset or "")
        done = (folder / "train" / name / "train_meta.json").is_file()
        if preset and preset.keep and done and not (folder / "train" / name / "kept").is_dir():
            yield (
                f"run {name} was trained before presets.{run.preset}.keep was {preset.keep}: its "
                f"further weights are gone, only a new training keeps them (--forcerun with "
                f"{folder}/train/{name}/train_meta.json)"
            )


def outdated(records: Iterable[str]) -> list[str]:
    """Of the artefacts with records those that other code made than there is now."""
    there = (Path(file) for file in records if Path(file).is_file())
    makers = [(file, maker) for file in there for maker in _makers(file)]
    return [str(file) for file in dict.fromkeys(versions.outdated(makers))]


def _makers(file: Path) -> list[dict | None]:
    return json.loads(file.read_text(encoding="utf-8")).get(MADE_BY) or [None]
