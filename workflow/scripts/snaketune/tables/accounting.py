"""Nothing is lost on the way from a record to a number: the last look, over all that the jobs say
of themselves.

    records ─ rejected → examples ─ dropped → rows that are learned
                                  └ sampled → rows that are measured

At each stage what goes in is what comes out and what is counted as left out, and each stage takes
all that the one before it gave.
"""

from collections.abc import Iterator
from typing import Any

from snaketune.plan.table_plan import TablePlan, learned_data
from snaketune.runtime.errors import UserError
from snaketune.tables.sources import TableSources


def require_whole_chain(plan: TablePlan, sources: TableSources) -> None:
    """Raises `UserError` that names each place where counts don't add up, with the counts."""
    faults = list(dict.fromkeys(_faults(plan, sources)))
    if faults:
        raise UserError(
            "counts that don't add up, so that no table is made:\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + "\nRemove the named files and start the same command again: they are made anew."
        )


def _faults(plan: TablePlan, sources: TableSources) -> Iterator[str]:
    for name, manifest in sources.manifests.items():
        for split, counts in manifest.get("splits", {}).items():
            yield from _balance(f"data/{name}/manifest.json: {split}", counts, "rejected")
    for run in plan.runs:
        yield from _learned(run.run, learned_data(run), sources)
    for (state, protocol), document in sources.metrics.items():
        yield from _measured(f"metrics/{state}/{protocol}.json", document, sources)


def _balance(place: str, counts: dict[str, Any], left_out: str) -> Iterator[str]:
    """in = out + what was left out."""
    gone = sum(counts[left_out].values())
    if counts["in"] != counts["out"] + gone:
        yield f"{place}: found {counts['in']} in, {counts['out']} out and {gone} {left_out}"


def _learned(run: str, data: list[str], sources: TableSources) -> Iterator[str]:
    splits = sources.stats.get(run, {}).get("splits", {})
    for split, counts in splits.items():
        place = f"tokens of {run}, stats.json: {split}"
        yield from _balance(place, counts, "dropped")
        given = [sources.manifests.get(name, {}).get("splits", {}) for name in data]
        known = [found[split]["out"] for found in given if split in found]
        if len(known) == len(data) and counts["in"] != sum(known):
            yield f"{place}: found {counts['in']} examples in, of {sum(known)} that were prepared"
    rows = sources.train_meta.get(run, {}).get("rows")
    if "train" in splits and rows is not None:
        made = splits["train"]
        there = made.get("occurrences", made["out"] + made.get("further_rows", 0))
        if rows != there:
            yield f"train/{run}/train_meta.json: found {rows} rows, of {there} that were tokenized"


def _measured(place: str, document: dict[str, Any], sources: TableSources) -> Iterator[str]:
    protocol, total = document["protocol"], document["counts"]["total"]
    splits = sources.manifests.get(protocol.get("dataset"), {}).get("splits", {})
    if protocol.get("split") not in splits:
        return
    there, sample = splits[protocol["split"]]["out"], protocol.get("sample") or {}
    if sample.get("fraction") is not None:
        if total > there:
            yield f"{place}: found {total} rows, of {there} that were prepared"
        return
    asked = there if sample.get("count") is None else min(there, sample["count"])
    if total != asked:
        yield f"{place}: found {total} rows, expected {asked} of {there} that were prepared"
