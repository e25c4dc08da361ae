"""A tokenizer as a GGUF file has it: its tokens with their kinds, what joins them, and the name of
the rule by which llama.cpp splits text before it joins.

A rule is known by what stands in `tokenizer.json`: what none of llama.cpp's does is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snaketune.prompts.conversation import turn_end_token
from snaketune.runtime.errors import UserError

_GPT2 = "gpt2"  # llama.cpp's word for byte-level BPE,
_SENTENCE_PIECE = "llama"  # and for pieces with scores
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_RULES = {
    ("own", False): "gpt-2",
    ("digits own", False): "smollm",
    (f"{_CONTRACTIONS}{_WORDS}\\p{{N}}{_REST}", False): "qwen2",
    (f"{_WORDS}\\p{{N}}{_REST}", False): "ufakzeka",
    (f"{_CONTRACTIONS}{_WORDS}\\p{{N}}{{1,3}}{_REST}", True): "llama-bpe",
    (f"{_CONTRACTIONS}{_WORDS}\\p{{N}}{{1,3}}{_REST}", False): "smaug-bpe",
    (_TEKKEN, True): "tekken",
}
"""llama.cpp's name of a rule, by how text is split and whether words that are tokens stay whole."""

_SPACE = "▁"
_NORMAL, _UNKNOWN, _CONTROL, _OWN, _UNUSED, _BYTE = range(1, 7)  # gguf.TokenType
_LEAST = -1e9  # the score of a piece that nothing is joined to


@dataclass(frozen=True)
class Vocabulary:
    """What stands under `tokenizer.ggml` in a GGUF file."""

    model: str
    pre: str
    tokens: list[str]
    kinds: list[int]
    scores: list[float] | None
    """Of pieces; the higher, the earlier they are joined."""
    merges: list[str] | None
    add_space_prefix: bool | None
    add_bos: bool
    special: dict[str, int]
    """Ids, by `bos`, `eos`, `eot`, `unk` and `pad`, as far as there are any."""
    template: str | None


def read_vocabulary(tokenizer: Any, rows: int, name: str) -> Vocabulary:
    """Of a fast tokenizer, filled up to the embeddings' `rows`. Raises UserError where llama.cpp
    would make other tokens of a text, or can't make any; `name` is the model's."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    joined = parts["model"]
    if joined["type"] != "BPE":
        raise _refused(name, f"a tokenizer of type {joined['type']}", "BPE")
    found = {index: text for text, index in joined["vocab"].items()}
    added = {token["id"]: token for token in parts["added_tokens"]}
    size = 1 + max([*found, *added])
    if size > rows:
        raise _refused(name, f"{size} tokens and {rows} rows of embeddings", "a row a token")
    pieces = _space_first(parts, name)
    rule = _rule(parts) if pieces is None else "default"
    if rule is None:
        shown = json.dumps(parts["pre_tokenizer"], ensure_ascii=False)[:200]
        raise _refused(name, f"text split by {shown}", f"one of {', '.join(_RULES.values())}")
    tokens, kinds = _tokens(found, added, rows, joined, pieces is not None)
    pairs = [pair if isinstance(pair, list) else pair.split(" ", 1) for pair in joined["merges"]]
    return Vocabulary(
        model=_GPT2 if pieces is None else _SENTENCE_PIECE,
        pre=rule,
        tokens=tokens,
        kinds=kinds,
        scores=None if pieces is None else _scores(tokens, pairs),
        merges=[" ".join(pair) for pair in pairs] if pieces is None else None,
        add_space_prefix=pieces,
        add_bos=_begins_with_bos(tokenizer),
        special=_special(tokenizer),
        template=tokenizer.chat_template,
    )


def _rule(parts: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of how byte-level BPE splits text; None: none that is known."""
    normaliser = parts["normalizer"]
    # NFC is left out in GGUF files: text comes composed.
    if normaliser and normaliser["type"] != "NFC" and normaliser.get("normalizers") != []:
        return None
    steps = parts["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    *before, last = steps
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return None
    kinds = [step["type"] for step in before]
    if last["use_regex"]:
        digits = kinds == ["Digits"] and before[0]["individual_digits"]
        split = "own" if not before else "digits own" if digits else ""
    else:
        isolated = kinds == ["Split"] and before[0]["behavior"] == "Isolated"
        split = before[0]["pattern"].get("Regex", "") if isolated else ""
    return _RULES.get((split, bool(parts["model"].get("ignore_merges"))))


def _space_first(parts: Mapping[str, Any], name: str) -> bool | None:
    """Whether a text of pieces begins with a space; None: these are no pieces, but bytes."""
    if not parts["model"].get("byte_fallback"):
        return None
    normaliser, splits = parts["normalizer"] or {}, parts["pre_tokenizer"] or {}
    kinds = {step.get("type") for step in normaliser.get("normalizers", [normaliser])}
    if kinds <= {"Replace", "Prepend"}:
        return "Prepend" in kinds
    if not normaliser and splits.get("type") == "Metaspace":
        return splits.get("prepend_scheme") != "never"
    raise _refused(name, f"text of pieces made by {normaliser or splits}", "spaces as ▁ alone")


def _tokens(
    found: Mapping[int, str],
    added: Mapping[int, Mapping[str, Any]],
    rows: int,
    joined: Mapping[str, Any],
    pieces: bool,
) -> tuple[list[str], list[int]]:
    """Every row's token and kind."""
    tokens, kinds = [], []
    for i in range(rows):
        if i in added:
            text, special = added[i]["content"], added[i]["special"]
            unknown = pieces and text == joined.get("unk_token")
            kind = _UNKNOWN if unknown else _CONTROL if special else _OWN
            tokens.append(text if special else text.replace(_SPACE, " "))
        elif i in found:
            tokens.append(found[i])
            kind = _BYTE if pieces and _is_byte(found[i]) else _NORMAL
        else:
            tokens.append(f"[PAD{i}]")
            kind = _UNUSED
        kinds.append(kind)
    return tokens, kinds


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _scores(tokens: Sequence[str], pairs: Sequence[Sequence[str]]) -> list[float]:
    """A piece that is joined earlier has a higher one."""
    first: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        first.setdefault("".join(pair), place)
    return [float(-first[text]) if text in first else _LEAST for text in tokens]


def _begins_with_bos(tokenizer: Any) -> bool:
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _special(tokenizer: Any) -> dict[str, int]:
    named = {key: getattr(tokenizer, f"{key}_token_id") for key in ("bos", "eos", "unk", "pad")}
    closing = turn_end_token(tokenizer)
    named["eot"] = None if closing == named["eos"] else closing
    return {key: value for key, value in named.items() if value is not None}


def _refused(name: str, found: str, expected: str) -> UserError:
    return UserError(
        f"model {name}: gguf: found {found}, expected {expected}: llama.cpp would read text as "
        "other tokens. Leave gguf out of this model's runs"
    )
