"""Everything that a number was measured under, by protocol."""

from snaketune.prompts.wording import JUDGE_INSTRUCTION, MATH_SYSTEM
from snaketune.report.sources import Json, Sources
from snaketune.report.text import duration, excerpt, number
from snaketune.report.use import MEASURED
from snaketune.tables.summary import flat

_LONG = 80
"""Text of more characters gets a block of its own."""


def protocols(sources: Sources) -> list[Json]:
    """Each protocol once: settings, prompt, and how each state's outputs were made."""
    found: dict[str, Json] = {}
    for (state, name), document in sources.metrics.items():
        entry = found.setdefault(name, _protocol(name, document))
        made = sources.prediction_meta.get((state, name), {})
        judged = sources.verdict_meta.get((state, name))
        entry["states"].append({"state": state, **_made(made)})
        if judged is not None:
            entry["judged"].append({"state": state, **_made(judged)})
    for name, entry in found.items():
        entry["unlike"] = _unlike(sources, name)
    return [found[name] for name in sorted(found)]


_LIKE = ("dtype", "device", "batch_sizes")


def _unlike(sources: Sources, name: str) -> list[str]:
    """Of the runs' states and their bases, what they were not given alike: in 16 bits the text of a
    model depends on the batch that it stands in."""
    found = []
    for run in sources.runs:
        pair = [sources.prediction_meta.get((run[k], name)) for k in ("base_state", "state")]
        if not all(pair) or all(made.get("dtype") == "float32" for made in pair):
            continue
        for key in _LIKE:
            base, tuned = (made.get(key) for made in pair)
            if base != tuned:
                words = f"{_shown(tuned)}, {run['base_state']} {_shown(base)}"
                found.append(f"{key.replace('_', ' ')}: {run['state']} {words}")
    return found


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _protocol(name: str, document: Json) -> Json:
    protocol = document["protocol"]
    settings = flat(
        {key: value for key, value in protocol.items() if key not in ("system", "prompt")}
    )
    return {
        "name": name,
        "hash": document["protocol_hash"],
        "eval": document["eval"],
        "task": protocol["task"],
        "settings": [
            (key.replace("_", " "), number(v)) for key, v in settings.items() if v is not None
        ],
        "system": excerpt(_system(protocol)) if _system(protocol) else None,
        "prompt": excerpt(protocol["prompt"]) if protocol.get("prompt") else None,
        "judge": JUDGE_INSTRUCTION if protocol.get("judge") else None,
        "states": [],
        "judged": [],
    }


def _system(protocol: Json) -> str:
    """The system turn: the config's own, or else the task's."""
    asked = protocol.get("system")
    return asked if asked is not None else {"math": MATH_SYSTEM}.get(protocol["task"], "")


def _made(meta: Json) -> Json:
    """Short facts as pairs, long texts (such as an example prompt) as blocks."""
    # The protocol stands above already, versions and use below.
    elsewhere = ("protocol", "versions", *MEASURED)
    plain = flat({k: v for k, v in meta.items() if k not in elsewhere})
    if isinstance(plain.get("seconds"), int | float):
        plain["seconds"] = duration(plain["seconds"])
    long = {k for k, v in plain.items() if isinstance(v, str) and (len(v) > _LONG or "\n" in v)}
    return {
        "facts": [(k.replace("_", " "), number(v)) for k, v in plain.items() if k not in long],
        "texts": [(k.replace("_", " "), excerpt(v, 4000)) for k, v in plain.items() if k in long],
    }
