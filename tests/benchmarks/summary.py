"""The benchmarks' common result file: `results/benchmarks/summary.json`.

    python tests/benchmarks/summary.py

fails where an entry has missed its bar.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = ROOT / "results" / "benchmarks" / "summary.json"


@dataclass(frozen=True)
class Entry:
    """One bar: our figure, the peer's, and the ratio that was asked for."""

    name: str
    ours: float
    peer: float
    unit: str
    bar: float
    """What `ratio` = ours / peer should reach, or stay below where `better` is `lower`."""
    better: Literal["higher", "lower"]

    @property
    def ratio(self) -> float:
        """Ours over the peer's."""
        return self.ours / self.peer

    @property
    def reached(self) -> bool:
        """Whether the ratio is on the right side of the bar."""
        return self.ratio >= self.bar if self.better == "higher" else self.ratio <= self.bar


def record(entries: list[Entry], path: Path = SUMMARY) -> None:
    """Puts the entries into the file, over older ones of the same name, and prints them."""
    kept = json.loads(path.read_text()) if path.exists() else []
    names = {entry.name for entry in entries}
    lines = [old for old in kept if old["name"] not in names]
    lines += [asdict(entry) | {"ratio": round(entry.ratio, 3)} for entry in entries]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sorted(lines, key=lambda line: line["name"]), indent=2) + "\n")
    for entry in entries:
        print(line(entry), flush=True)


def missed(path: Path = SUMMARY) -> list[Entry]:
    """The entries of the file that are on the wrong side of their bars."""
    lines = json.loads(path.read_text()) if path.exists() else []
    entries = [Entry(**{k: v for k, v in line.items() if k != "ratio"}) for line in lines]
    return [entry for entry in entries if not entry.reached]


def line(entry: Entry) -> str:
    """`LoRA against default batches: 1218 / 504 tokens/s = 2.42, bar >= 2.2: reached`"""
    sign, verdict = (
        (">=" if entry.better == "higher" else "<="),
        "reached" if entry.reached else "MISSED",
    )
    figures = f"{entry.ours:,.4g} / {entry.peer:,.4g} {entry.unit} = {entry.ratio:.3f}"
    return f"{entry.name}: {figures}, bar {sign} {entry.bar}: {verdict}"


def main(path: Path = SUMMARY) -> None:
    """Fails with the lines of the bars that were missed."""
    if short := missed(path):
        raise SystemExit("\n".join(map(line, short)))


if __name__ == "__main__":
    main()
