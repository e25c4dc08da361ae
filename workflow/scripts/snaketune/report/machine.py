"""Models, machine and library versions."""

from snaketune.report.sources import Json, Sources
from snaketune.report.text import number, size, visible
from snaketune.tables.summary import flat


def models(sources: Sources) -> list[Json]:
    """What each model is, as it was resolved."""
    return [
        {"name": name, "facts": [(k.replace("_", " "), number(v)) for k, v in flat(found).items()]}
        for name, found in sorted(sources.models.items())
    ]


def machine(sources: Sources) -> list[tuple[str, str]]:
    """The machine that the work ran on."""
    found = sources.environment
    facts = [(k, number(v)) for k, v in found.items() if isinstance(v, str | int | float)]
    facts = [(k, size(found[k]) if k.endswith("bytes") else v) for k, v in facts]
    gpus = [f"{visible(gpu['name'])} ({size(gpu['memory_bytes'])})" for gpu in found["gpus"]]
    named = [(k.removesuffix("_bytes").replace("_", " "), v) for k, v in facts]
    return [*named, ("GPUs", ", ".join(gpus) or "none")]


def libraries(sources: Sources) -> list[tuple[str, str]]:
    """Library versions."""
    return sorted(sources.environment["libraries"].items())
