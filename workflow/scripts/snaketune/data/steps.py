"""What each step of a dataset's preparation depends on: the settings and the files' contents.

A step's settings are the fields of its `DatasetSpec` that decide what it writes, without the paths
of local files. They are what Snakemake compares. Where the files lie goes to the script beside
them, so that a file that was moved, copied or touched makes nothing run again.
"""

from collections.abc import Iterable, Sequence
from math import ceil, log
from pathlib import Path
from typing import Any

from snaketune.config.base import FORMATS, without_query
from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data.locate import catalogue_file, files_of, source_parts_for
from snaketune.runtime.content import content_hash, digest

Json = dict[str, Any]
Content = list[list[str]]
"""A name, as what is written shows it, and a SHA-256 for every file."""

_FORM = {"format", "columns", "labels", "repeated_options"}
_ROWS = _FORM | {"draw", "limit"}


def split_settings(spec: DatasetSpec, splits: Sequence[SplitName], numeric: bool) -> Json:
    """What decides the rows of `splits` before any are held out."""
    settings = _fields(spec, _ROWS, numeric)
    # A source for all splits and one by split choose differently among a hub dataset's own.
    named = spec.source if isinstance(spec.source, dict) else {None: spec.source}
    settings["addresses"] = {
        str(split): _tracked(source)
        for split, source in named.items()
        if _is_remote(source) and (split is None or split in splits or spec.draw)
    }
    if any(source.startswith("hub:") for source in named.values()):
        settings |= {"subset": spec.subset, "revision": spec.revision}
    settings["sha256"] = {s: v for s, v in spec.sha256.items() if s in splits or spec.draw}
    if spec.catalogue:
        settings["catalogue"] = spec.catalogue.model_dump(mode="json", exclude={"source"})
    if "test" in splits:
        settings["overlap"] = spec.overlap
    return settings


def held_out_settings(spec: DatasetSpec, numeric: bool) -> Json:
    """What decides the rows of train and of the dev split that is held out of it: see
    `draws.dev_places`."""
    settings = split_settings(spec, ("train", "dev"), numeric)
    return settings | {"dev": spec.dev, "seed": spec.seed, "few_shot": _first_shots(spec)}


def few_shot_settings(spec: DatasetSpec, numeric: bool, options: bool = False) -> Json:
    """What decides the few-shot examples beside the training records; `options`: they have any."""
    found = _fields(spec, _FORM, numeric) | {"few_shot": _few_shot(spec)}
    return found | ({"options": True} if options else {})


def shown_settings(spec: DatasetSpec, numeric: bool, options: bool = False) -> Json:
    """What decides the first few-shot examples, up to any number that an eval may show."""
    return few_shot_settings(spec, numeric, options) | {"few_shot": _first_shots(spec)}


def manifest_settings(spec: DatasetSpec) -> Json:
    """What the manifest tells and checks beyond what lies in the splits and their reports."""
    fields = {"licence", "rejected_at_most", "dev", "seed", "overlap", "few_shot"}
    settings = spec.model_dump(mode="json", include=_ROWS | fields)
    del settings["few_shot"]["file"]
    if spec.catalogue:
        settings["catalogue"] = spec.catalogue.model_dump(mode="json", exclude={"source"})
    return settings


def source_places(spec: DatasetSpec) -> Json:
    """Where the dataset's files lie, and how many few-shot examples it has, which settings may
    leave open: all that is not compared."""
    return {
        "source": spec.source,
        "subset": spec.subset,
        "catalogue": spec.catalogue.source if spec.catalogue else None,
        "few_shot": spec.few_shot.file,
        "few_shot_count": spec.few_shot.count,
    }


def spec_of(settings: Json, places: Json) -> DatasetSpec:
    """The spec that a step works by: its settings and where the files lie; all else is unset."""
    known = {k: v for k, v in settings.items() if k in DatasetSpec.model_fields}
    known["source"] = places["source"]
    # Of a local folder it says which files are meant, and their content is known.
    known.setdefault("subset", places["subset"])
    if known.get("catalogue"):
        known["catalogue"] = known["catalogue"] | {"source": places["catalogue"]}
    if "few_shot" in known:
        shots = {"file": places["few_shot"], "count": places["few_shot_count"]}
        known["few_shot"] = known["few_shot"] | shots
    return DatasetSpec.model_validate(known)


def split_content(spec: DatasetSpec, splits: Sequence[SplitName]) -> Content:
    """The files that the records of `splits` are read from, the catalogue's among them."""
    read = source_parts_for(spec, splits)
    found = [[name, content_hash(path)] for part in read for name, path in files_of(part)]
    return found + (catalogue_content(spec) if read else [])


def catalogue_content(spec: DatasetSpec) -> Content:
    """The catalogue's file, where there is one."""
    path = catalogue_file(spec)
    return [] if path is None else _contents([path])


def few_shot_content(spec: DatasetSpec) -> Content:
    """The user's own few-shot examples, where the config names a file of them."""
    return _contents([Path(spec.few_shot.file)]) if spec.few_shot.file else []


def paths_by_name(spec: DatasetSpec, split: SplitName) -> dict[str, str]:
    """The files of a split as the config names them, by the name that reports have."""
    return {part.name: without_query(part.address) for part in source_parts_for(spec, (split,))}


def _contents(files: Iterable[Path]) -> Content:
    return [[path.name, content_hash(path)] for path in files]


def _fields(spec: DatasetSpec, names: set[str], numeric: bool) -> Json:
    settings = spec.model_dump(mode="json", include=names) | {"numeric": numeric}
    # The letters that options get where the source has none.
    # Only where it is set: elsewhere nothing is made anew for a key that came later.
    settings |= {"group": spec.group} if spec.group and "draw" in names else {}
    return settings | ({"seed": spec.seed} if FORMATS[spec.format].seeded else {})


def _few_shot(spec: DatasetSpec) -> Json:
    """A file is used as it stands, whatever would be drawn."""
    drawn = {"count", "seed"} if spec.few_shot.file is None else set()
    return spec.few_shot.model_dump(mode="json", include=drawn)


def _first_shots(spec: DatasetSpec) -> Json:
    """The same for every `count` whose draw begins alike."""
    settings = _few_shot(spec)
    return settings | ({"count": same_draw(settings["count"])} if "count" in settings else {})


def same_draw(count: int) -> int:
    """The largest count whose draw begins as that of `count` does: however many records there are,
    the shorter of `Random(seed).sample(range(n), min(count, n))` for both is the other's beginning.

    Python's `sample` swaps within a list of all n where n is at most a size that it works out from
    the count (21, and above 5 also the power of 4 that is three times the count or more), and looks
    places up in a set where n is larger: each way, places are drawn one after another. Counts of
    one size always go the same way.
    """
    return 5 if count <= 5 else 4 ** ceil(log(3 * count, 4)) // 3


def _is_remote(source: str) -> bool:
    return source.startswith("hub:") or "://" in source


def _tracked(source: str) -> str:
    """An address as Snakemake may keep it: what follows `?` may be a signature."""
    plain = without_query(source)
    return plain if plain == source else f"{plain}?{digest(source)}"
