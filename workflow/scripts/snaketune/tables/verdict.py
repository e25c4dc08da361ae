"""Did it help? What a careful statistician would say of a run on one eval, and of all runs on it.

The one place for it: page, terminal, model card, gate and `final_metrics.json` show these words. A
gain is called better only where p, adjusted for all runs on the eval (Holm), is below 0.05, in
content too, not in the answer's form alone, above what guessing gives, and without the rows that
resemble training rows.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from snaketune.plan.table_plan import PLAIN, change_figure, level_figure, p_words
from snaketune.tables.evidence import Compared, Evidence

Kind = Literal[
    "better", "partly form", "form", "mixed", "not above chance", "leakage?",
    "silence", "worse", "form lost", "undecided", "too few rows", "no figure", "not compared",
]  # fmt: skip
"""In a word or two, as terminal and tables show it."""
LEVEL = 0.05
FEWEST = 4  # with fewer rows the score test can't fall below 0.05: 3 to none gives 0.08
_UNPARSED_SAID = 0.02


class RunVerdict(TypedDict):
    """Of a run on one eval."""

    kind: Kind
    sentence: str
    evidence: Evidence | None
    """None: nothing to compare with."""


def verdict_on(found: Evidence | None, method: str | None = None) -> RunVerdict:
    """The verdict, in words; of nothing where there is no base, which the run's `method` says."""
    if found is None:
        what = "a model as it is" if method == "model" else "predictions made elsewhere"
        sentence = f"Not compared: {what}, without a base."
        return RunVerdict(kind="not compared", sentence=sentence, evidence=None)
    kind = _kind(found)
    parts = [_lead(kind, found), *_content(kind, found), *_chance(kind, found)]
    parts += [*_overlap(kind, found), *_power(kind, found), *_unparsed(found), *_lost(found)]
    return RunVerdict(kind=kind, sentence=" ".join(parts), evidence=found)


def _sign(found: Compared | None) -> int:
    """Of a significant difference, else 0."""
    if not found or found["difference"] is None or found["p_holm"] >= LEVEL:
        return 0
    return 1 if found["difference"] > 0 else -1


def _kind(found: Evidence) -> Kind:
    compared = found["compared"]
    if not compared["n"]:
        return "no figure"
    strict, inner = _signs(found)
    spoken = found["metric"] == "safe_rate"  # what is set aside is silence, not form
    if not strict and not inner:
        return "too few rows" if compared["n"] < FEWEST else "undecided"
    if strict < 0 or inner < 0:
        if strict <= 0 and (inner < 0 or (spoken and not inner)):
            return "worse"
        return "mixed" if strict * inner else "form lost"
    if _stands(found["above"].get("tuned")) <= 0:
        return "not above chance"
    if not inner:
        return "silence" if spoken else "form"
    if not strict:
        return "mixed"
    if _leaks(found):
        return "leakage?"
    return "partly form" if not spoken and _smaller(found["content"], compared) else "better"


def _signs(found: Evidence) -> tuple[int, int]:
    """Of the primary metric, and in content."""
    strict, content = _sign(found["compared"]), found["content"]
    return strict, strict if content is None else _sign(content)


def _leaks(found: Evidence) -> bool:
    """Whether what is gained is not to be seen without the rows that resemble training rows."""
    overlap = found["overlap"]
    return bool(overlap and overlap["rows"]) and _sign(found["clean"]) <= 0


def _smaller(content: Compared | None, compared: Compared) -> bool:
    """Whether what is gained in content is clearly less than the whole gain."""
    return content is not None and (high := content["high"]) is not None and high < _gain(compared)


def _gain(found: Compared) -> float:
    return float(found["difference"])


_LEADS: dict[Kind, str] = {
    "better": "Better",
    "partly form": "Better, partly in the answer's form alone",
    "form": "Learned the answer's form, no significant gain in content",
    "silence": "Safer only among replies with a verdict, no significant gain among all",
    "not above chance": "No better than guessing",
    "leakage?": "Better, but it may be leakage",
    "worse": "Worse",
    "form lost": "Lost the answer's form, no significant change in content",
    "undecided": "Undecided",
    "too few rows": "Too few rows to tell",
    "no figure": "No figure, as too little could be read or scored",
    "not compared": "Compared with nothing",
    "mixed": "Better in one reading and not in the other",
}
_MIXED = {
    (1, -1): "Learned the answer's form and lost content",
    (-1, 1): "Gained in content and lost the answer's form",
    (0, 1): "Gained in content, but not in the form that was asked for",
}


def _lead(kind: Kind, found: Evidence) -> str:
    compared, words = found["compared"], found["metric"].replace("_", " ").replace("f1", "F1")
    if kind == "no figure":
        return f"No verdict: {words} of both is missing, as too little could be read or scored."
    form = kind == "mixed" and found["metric"] != "safe_rate"
    lead = _MIXED[_signs(found)] if form else _LEADS[kind]
    base, tuned = (level_figure(compared[who], found["metric"]) for who in ("base", "tuned"))
    way = f"from {base} to {tuned}" if compared["difference"] else f"{base} in base and run alike"
    many = f" adjusted for {found['runs']} runs" if found["runs"] > 1 else ""
    said = _short(found, compared, "95 % interval ").removesuffix(")")
    return f"{lead}: {_inverse(found)}{words} {way}, {said}{many}, {compared['n']:,} rows)."


def _inverse(found: Evidence) -> str:
    """Of text the perplexity, which readers know, before its inverse, by which runs are judged."""
    if found["metric"] != "token_probability":
        return ""
    levels = dict.fromkeys(f"{1 / found['compared'][who]:.2f}" for who in ("base", "tuned"))
    return f"perplexity {'from ' * (len(levels) - 1)}{' to '.join(levels)}, "


def _short(found: Evidence, one: Compared, before: str = "") -> str:
    """`+65.9 points (+60.3 to +71.0, p < 0.001)`"""
    metric, ends = found["metric"], (one["low"], one["high"])
    span = " to ".join(change_figure(end, metric) for end in ends if end is not None)
    span = f"{before}{span}, " if span else ""
    return f"{change_figure(_gain(one), metric, ' points')} ({span}{p_words(one['p_holm'])})"


def _content(kind: Kind, found: Evidence) -> list[str]:
    """What is left with the answer's form set aside."""
    content, reading = found["content"], found["reading"]
    if not content or not reading or kind == "no figure":
        return []
    said = f"{reading[0].upper()}{reading[1:]}"
    if not content["n"]:
        return [f"{said} there is no row to compare: content can't be told from form."]
    rows = f" on {content['n']:,} rows" if content["n"] != found["compared"]["n"] else ""
    text = f"{said} it is {_short(found, content)}{rows}"
    ends: dict[Kind, str] = {
        "better": ": the gain is in content.",
        "partly form": ": the rest is the answer's form.",
        "leakage?": ": not a matter of form.",
        "worse": ": the loss is in content." if _sign(content) < 0 else ".",
    }
    if kind in ("form", "form lost", "silence") and (least := content["detectable"]):
        return [f"{text}; so many rows show {_from(found, least)}."]
    return [text + ends.get(kind, ".")]


def _chance(kind: Kind, found: Evidence) -> list[str]:
    """Where base and run stand to what guessing gives."""
    level, guess, compared = found["chance"], found["guess"], found["compared"]
    if level is None or not guess or kind == "no figure":
        return []
    gives = f"{guess} gives {level_figure(level, found['metric'])}"
    base, tuned = (_stands(found["above"].get(who)) for who in ("base", "tuned"))
    if kind == "not above chance":
        where = "significantly below" if tuned < 0 else "not significantly above"
        return [f"{gives[0].upper()}{gives[1:]}, and the run is {where} it."]
    if base < 0 and tuned > 0:
        below = f"The base is below chance ({gives})"
        up = change_figure(level - compared["base"], found["metric"])[1:]
        return [f"{below}: {up} of the points only lead up to it."]
    if base <= 0 and tuned <= 0:
        said = "Base and run are below" if max(base, tuned) < 0 else "Neither base nor run is above"
        return [f"{said} chance ({gives})."]
    if base <= 0:
        return [f"The base is not above chance ({gives})."]
    if tuned <= 0:
        return [f"The run is no longer above chance ({gives})."]
    return []


def _stands(against: Compared | None) -> int:
    """1: significantly above; 1 too where it is not known."""
    if not against or against["p"] is None:
        return 1
    return 0 if against["p"] >= LEVEL else 1 if _gain(against) > 0 else -1


def _overlap(kind: Kind, found: Evidence) -> list[str]:
    """With and without the rows that resemble training rows."""
    overlap = found["overlap"]
    if not overlap or not overlap["rows"] or kind == "no figure":
        return []
    kinds = [f"{overlap[key]:,} {key}" for key in ("equal", "near") if overlap[key]]
    what = f"are or resemble training rows ({', '.join(kinds)})"
    if not found["clean"]:
        return [f"All {overlap['rows']:,} rows {what}: skill can't be told from memory."]
    clean = found["clean"]
    text = f"{'At least ' if overlap.get('unlisted') else ''}{overlap['rows']:,} rows {what}; "
    if not clean["n"]:
        return [f"{text}on the others nothing can be compared."]
    text += f"on the other {clean['n']:,} it is {_short(found, clean)}"
    if not _sign(clean) and clean["detectable"] and kind != "undecided":
        text += f", where so many show {_from(found, clean['detectable'])}"
    return [f"{text}."]


def _power(kind: Kind, found: Evidence) -> list[str]:
    """What could have been seen."""
    compared = found["compared"]
    if kind == "too few rows":
        return ["So few rows can show no significant difference, whatever the answers."]
    said = []
    if kind == "undecided" and compared["p"] < LEVEL:
        alone = p_words(compared["p"])
        said = [f"Alone it would show ({alone}); of so many runs one does by chance."]
    if kind == "undecided" and compared["detectable"]:
        said += [f"So many rows show {_from(found, compared['detectable'])}."]
    if _sign(compared) and (compared["p_exact"] or 0) >= LEVEL:
        said += [f"McNemar's exact test, more cautious, gives {p_words(compared['p_exact'])}."]
    return said


def _from(found: Evidence, least: float) -> str:
    return f"differences from {change_figure(least, found['metric'], ' points')[1:]} on"


def _unparsed(found: Evidence) -> list[str]:
    shares = {"base": found["unparsed"].get("base"), "run": found["unparsed"].get("tuned")}
    if max(share or 0 for share in shares.values()) < _UNPARSED_SAID:
        return []
    known = [f"{who} {level_figure(s, 'unparsed')}" for who, s in shares.items() if s is not None]
    return [f"Could not be read: {', '.join(known)}."]


def _lost(found: Evidence) -> list[str]:
    """Rows that are in no figure."""
    lost, left_out = found["lost"], found["compared"]["left_out"]
    parts = [
        (lost.get("rejected", 0), "test records that were rejected"),
        (left_out, "rows without an outcome for both"),
        (lost.get("untrained", 0), "training examples that made no row"),
    ]
    said = [f"{count:,} {what}" for count, what in parts if count]
    return [f"Left out: {', '.join(said)}."] if said else []


_BY_CONTENT = ("form", "form lost", "silence", "better", "partly form", "mixed")


def headlines(by_eval: Mapping[str, Sequence[RunVerdict]]) -> list[str]:
    """A sentence an eval, over all its runs: the answer to did it help."""
    return [f"{name}: {_of_runs(found)}." for name, found in by_eval.items() if found]


def _of_runs(found: Sequence[RunVerdict]) -> str:
    by_kind: dict[Kind, list[RunVerdict]] = {}
    for one in found:
        by_kind.setdefault(one["kind"], []).append(one)
    said = []
    for kind, members in by_kind.items():
        of = f", in {len(members)} of {len(found)} runs" if len(found) > 1 else ""
        lead = _LEADS[kind]
        said.append(f"{lead[0].lower()}{lead[1:]}{of}{_range(kind, members)}")
    if any(one["evidence"] and _stands(one["evidence"]["above"].get("base")) < 0 for one in found):
        said.append("the base is below chance")
    return "; ".join(said)


def _range(kind: Kind, members: Sequence[RunVerdict]) -> str:
    """The differences that decide, and what could have been seen."""
    found = [evidence for one in members if (evidence := one["evidence"])]
    known = [one for evidence in found if (one := _decisive(kind, evidence)) and one["n"]]
    if not known:
        return ""
    metric = found[0]["metric"]
    ends = dict.fromkeys(change_figure(pick(map(_gain, known)), metric) for pick in (min, max))
    unit = f" in {metric.replace('_', ' ')}" if metric in PLAIN else " points"
    span = (_inverse(found[0]) if len(known) == 1 else "") + " to ".join(ends) + unit
    how = f"{found[0]['reading']} " if known[0] is found[0]["content"] else ""
    is_open = kind in ("form", "form lost", "silence", "undecided")
    least = max((one["detectable"] or 0 for one in known if is_open), default=0)
    shows = f"; such rows show {change_figure(least, metric)[1:]} or more" if least else ""
    return f" ({how}{span}{shows})"


def _decisive(kind: Kind, found: Evidence) -> Compared | None:
    content = found["content"]
    return content if kind in _BY_CONTENT and content and content["n"] else found["compared"]
