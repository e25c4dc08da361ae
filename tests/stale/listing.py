"""What Snakemake lists: the jobs that a dry run plans or that a start ran."""

import re
from collections.abc import Iterator

_HEAD = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
_TOKENS = re.compile(r"/tokens/([^/]+)/train\.parquet")
# Rules that are variants of one.
_TRAIN = re.compile(r"train_(adapter|full)_\d+")


def jobs_listed(output: str) -> set[str]:
    """The jobs in what Snakemake printed, as `rule:wildcards`; neither the targets `all`, `ready`
    and `gate` nor `prompts`, which is due with whatever it compares and stands before nothing.

    Token sets are known by the first, by name, of the runs that train on them, which are listed
    wherever these are made.
    """
    blocks = list(_blocks(output))
    runs: dict[str, str] = {}
    for rule, values, text in blocks:
        if rule == "train" and (found := _TOKENS.search(text)):
            runs[found[1]] = min(values["run"], runs.get(found[1], values["run"]))
    names = set()
    for rule, values, _ in blocks:
        if rule.startswith("prompts"):
            continue
        if rule in ("tokenize", "mix"):
            values = {"tokens": runs.get(values["tokens"], values["tokens"])}
        parted = "-" if rule == "leakage" else "/"
        names.add(":".join(filter(None, [rule, parted.join(values.values())])))
    return names - {"all", "ready", "gate"}


def _blocks(output: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Rule, wildcards and text of each job."""
    rule, lines = "", []
    for line in [*output.splitlines(), ""]:
        if rule and line.startswith("    "):
            lines.append(line.strip())
            continue
        if rule:
            text = "\n".join(lines)
            found = re.search(r"^wildcards: (.*)$", text, re.MULTILINE)
            pairs = found[1].split(", ") if found else []
            yield rule, dict(pair.split("=", 1) for pair in pairs), text
        head = _HEAD.fullmatch(line)
        rule, lines = (_plain(head[1]) if head else ""), []


def _plain(rule: str) -> str:
    return "train" if _TRAIN.fullmatch(rule) else rule.removesuffix("_vllm").removesuffix("_gguf")
