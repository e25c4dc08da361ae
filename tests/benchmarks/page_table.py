"""Puts the benchmarks' figures into docs/benchmarks.md, between its two markers.

python tests/benchmarks/page_table.py
"""

import json

from summary import ROOT, SUMMARY

START, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def table(entries: list[dict]) -> str:
    """A row an entry: what was measured, ours, the peer's and the ratio. Plans are the affair of
    docs/scale.md."""
    rows = ["| | snaketune | peer | | ratio |", "| --- | ---: | ---: | --- | ---: |"]
    rows += [
        f"| {e['name']} | {e['ours']:,.4g} | {e['peer']:,.4g} | {e['unit']} | {e['ratio']:.2f} |"
        for e in entries
        if not e["name"].startswith("plan")
    ]
    return "\n".join(rows)


def main() -> None:
    """Rewrites the page."""
    page = ROOT / "docs" / "benchmarks.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    shown = table(json.loads(SUMMARY.read_text(encoding="utf-8")))
    page.write_text(f"{before}{START}\n{shown}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
