"""Are the results those of the settings that the config asks for? Told before any table is made.

The plan of the jobs sees to it that they are. This is the last look, at what the artefacts say of
themselves: a table that shows one setting beside the figures of another must never be written.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from snaketune.runtime.errors import UserError
from snaketune.runtime.records import settings_of
from snaketune.tables.sources import Sources

_MISSING = "nothing"
_SHOWN = 10

Asked = Mapping[str, Mapping[str, Any]]


def require_as_asked(asked: Asked, sources: Sources) -> None:
    """Compares the artefacts' records with `asked`: `training` by run, `states` by state and
    `protocols` by protocol, as the rules' params have them.

    Raises `UserError` that names, for each setting that differs, both values and the file.
    """
    faults = list(_faults(asked, sources))
    if faults:
        more = len(faults) - _SHOWN
        listed = "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
        listed += f"\n  and {more} more" if more > 0 else ""
        raise UserError(
            "results of other settings than the config's, of which no table is made:\n"
            f"{listed}\n"
            "Start the same command again; where that changes nothing, add --forcerun and the "
            "names of the files above, or set the config back."
        )


def _faults(asked: Asked, sources: Sources) -> Iterator[str]:
    for run, settings in asked["training"].items():
        record = settings_of(sources.train_meta[run])
        yield from _differing(f"train/{run}/train_meta.json", settings, record)
    for (state, protocol), meta in sources.prediction_meta.items():
        if meta.get("made") != "elsewhere":
            record = {"state": settings_of(meta).get("identity")}
            place = f"predictions/{state}/{protocol}.meta.json"
            yield from _differing(place, {"state": asked["states"][state]}, record)
    for (state, protocol), document in sources.metrics.items():
        place = f"metrics/{state}/{protocol}.json"
        yield from _differing(place, asked["protocols"][protocol], document["protocol"])


def _differing(place: str, asked: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    """A line a setting, at any depth."""
    ours, theirs = dict(_leaves(asked)), dict(_leaves(record))
    for name in dict.fromkeys([*ours, *theirs]):
        wanted, found = ours.get(name, _MISSING), theirs.get(name, _MISSING)
        if wanted != found:
            yield f"{place}: found {name} {found!r}, the config says {wanted!r}"


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
