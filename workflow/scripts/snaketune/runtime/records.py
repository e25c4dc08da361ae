"""Provenance, as an artefact's own record tells it: which step made it, of which code, under which
settings.

Tables and report read the settings here, never from the config of the moment.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snaketune.runtime.files import write_json

MADE_BY, SETTINGS = "made_by", "settings"


def sign(file: Path, made_by: Mapping[str, Any], **settings: Any) -> None:
    """Adds to the JSON object in `file` who made it and the `settings` that decided it.

    A file that was joined from signed ones keeps their settings, and names all its makers.
    """
    record = json.loads(file.read_text(encoding="utf-8"))
    record[MADE_BY] = [*record.get(MADE_BY, []), dict(made_by)]
    record[SETTINGS] = settings_of(record) | settings
    write_json(file, record)


def unsigned(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as it was before it was signed."""
    return {key: value for key, value in record.items() if key not in (MADE_BY, SETTINGS)}


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an artefact was made under, by its record."""
    return record.get(SETTINGS, {})


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"lora": {"r": 8}}` as `{"lora_r": 8}`; lists as text."""
    row: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            row |= flat(value, f"{prefix}{key}_")
        else:
            row[prefix + key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return row
