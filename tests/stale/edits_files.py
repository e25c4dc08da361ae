"""Edits of data, models and code."""

import json
from array import array
from collections.abc import Callable

from project_copy import ROOT
from stale.edit import Edit, Files
from stale.edits_config import ADAPTER_OF_TINY, OF_TINY, TOKENS_OF_TINY

DATA, DEMO = "data/stale", "data/demo"
LIBRARY = "workflow/scripts/snaketune"


def _text(name: str, file: str, change: Callable[[str], str], expected: str = "") -> Edit:
    return Edit(name, expected, do=lambda files: files.edit(file, change), file=file)


def _bytes(name: str, file: str, change: Callable[[bytes], bytes], expected: str = "") -> Edit:
    return Edit(name, expected, do=lambda files: files.replace(file, change), file=file)


def _touch(file: str) -> Edit:
    return Edit(f"touch {file}", do=lambda files: files.touch(file), file=file)


def last_line(change: Callable[[str], str]) -> Callable[[str], str]:
    """A change of a text's last line."""

    def changed(text: str) -> str:
        *lines, last = text.splitlines()
        return "\n".join([*lines, change(last)]) + "\n"

    return changed


def other_question(line: str) -> str:
    """A record of problems with another question."""
    record = json.loads(line)
    return json.dumps(record | {"question": "Once more: " + record["question"]})


def without_weights(content: bytes) -> bytes:
    """A safetensors file with 86 % of its numbers set to zero; the header stands."""
    start = 8 + int.from_bytes(content[:8], "little")
    zeros = (len(content) - start) * 86 // 100
    return content[:start] + bytes(zeros) + content[start + zeros :]


def other_weights(content: bytes) -> bytes:
    """A safetensors file with the last hundredth of its numbers in another order, so that it still
    learns; the header stands."""
    tail = len(content) // 200 * 2
    numbers = memoryview(content[-tail:]).cast("H")
    return content[:-tail] + array("H", reversed(numbers)).tobytes()


def one_byte(content: bytes) -> bytes:
    """Another last byte."""
    return content[:-1] + bytes([content[-1] ^ 1])


ROWS = [
    _text("a test row of problems", f"{DATA}/problems/test.jsonl", last_line(other_question),
          "prepare:problems/test"),
    _text("a training row of problems", f"{DATA}/problems/train.jsonl", last_line(other_question),
          "prepare_held_out:problems"),
    _text("a broken training row", f"{DATA}/problems/train.jsonl",
          last_line(lambda line: line.replace("#### ", "so ")), "prepare_held_out:problems"),
    _text("a test row of a source by split", f"{DATA}/reading_test.jsonl",
          lambda text: text.replace("the", "that", 1), "prepare:reading/test"),
    _text("a row of a file that all splits are drawn from", f"{DATA}/quiz.csv",
          lambda text: text.replace("number", "figure", 1), "prepare:quiz/*"),
    _text("a prompt", f"{DATA}/prompts.csv", lambda text: text.replace("finding", "losing"),
          "prepare:prompts/test"),
    _text("a solution", f"{DATA}/solutions.csv", lambda text: text.replace("7 + 0", "0 + 7"),
          "prepare:solutions/test"),
    _text("a catalogue's row", f"{DATA}/catalogue.csv",
          last_line(lambda line: line.replace("off by one", "careless")),
          "prepare:solutions/test manifest:solutions"),
    _text("predictions made elsewhere", f"{DATA}/answers.jsonl",
          last_line(lambda line: line.replace('"6"', '"60"')), "bring:given/answers"),
    _text("the judge's guideline", "config/prompts/safety_guideline.txt",
          lambda text: text + "\nBe strict.\n", "judge:*"),
    _touch(f"{DATA}/problems/train.jsonl"),
    _touch("config/prompts/safety_guideline.txt"),
    _touch(f"{DATA}/answers.jsonl"),
]  # fmt: skip

MODELS = [
    _text("a space in a chat template", f"{DEMO}/model/chat_template.jinja",
          lambda text: text + " ", f"{OF_TINY} {TOKENS_OF_TINY} {ADAPTER_OF_TINY}"),
    _text("a space in the judge's chat template", f"{DEMO}/judge/chat_template.jinja",
          lambda text: text + " ", "model:judge judge:*"),
    _bytes("a model's weights overwritten with zeros", f"{DEMO}/model/model.safetensors",
           without_weights, f"{OF_TINY} {ADAPTER_OF_TINY}"),
    _bytes("other weights of a model", f"{DEMO}/model/model.safetensors", other_weights,
           f"{OF_TINY} {ADAPTER_OF_TINY}"),
    _bytes("a byte of the judge's weights", f"{DEMO}/judge/model.safetensors", one_byte,
           "model:judge judge:*"),
    _bytes("a byte of the reward model's weights", f"{DEMO}/reward/model.safetensors", one_byte,
           "model:reward score_rewards:*"),
    _bytes("a byte of an adapter", f"{DATA}/adapter/adapter_model.safetensors", one_byte,
           "adapter:borrowed"),
    Edit("a README in a model's folder", "",
         do=lambda files: files.new(f"{DEMO}/model/README.md", "Read me.")),
    Edit("a README beside an adapter", "",
         do=lambda files: files.new(f"{DATA}/adapter/README.md", "Read me.")),
    _touch(f"{DEMO}/model/model.safetensors"),
    _touch(f"{DATA}/adapter/adapter_model.safetensors"),
]  # fmt: skip


def _version(step: str, expected: str) -> Edit:
    """The version of a step goes up, as an update of the workflow may bring it."""

    def raised(text: str) -> str:
        steps = json.loads(text)
        steps[step]["version"] += 1
        return json.dumps(steps, indent=0)

    return _text(f"version of {step}", "workflow/steps.json", raised, expected)


VERSIONS = [
    _version("prepare", "prepare:*"),
    _version("prepare_held_out", "prepare_held_out:*"),
    _version("few_shot", "few_shot:*"),
    _version("manifest", "manifest:*"),
    _version("leakage", "leakage:*"),
    _version("pin_model", "pin_model:*"),
    _version("check_model", "model:*"),
    _version("environment", "environment"),
    _version("fetch_adapter", "adapter:*"),
    _version("tokenize", "tokenize:*"),
    _version("train", "train:*"),
    _version("generate", "generate:*"),
    _version("score_options", "score_options:*"),
    _version("score_rewards", "score_rewards:*"),
    _version("bring", "bring:*"),
    _version("judge", "judge:*"),
    _version("measure", "measure:*"),
    _version("choose", "choose:*"),
    _version("aggregate", "aggregate"),
    _version("report", "report"),
    _version("join_shards", ""),
    _version("merge", ""),
]


def _library() -> list[str]:
    """Ten files of the library, at equal distances."""
    files = sorted((ROOT / LIBRARY).rglob("*.py"))
    full = [str(f.relative_to(ROOT)) for f in files if f.stat().st_size > 500]
    return full[:: len(full) // 10][:10]


def commented(text: str) -> str:
    """Python with a comment and other layout."""
    return f"{text}\n\n\n# A remark.\n"


def extended(text: str) -> str:
    """Python that does a little more."""
    return f"{text}\n_MORE = 1\n"


def _comments(files: Files) -> None:
    for name in _library():
        files.edit(name, commented)


def _strict(script: str, expected: str) -> Edit:
    """Under `code: strict` other code of a step makes again what it made."""
    return Edit(f"other code in {script}, strictly", expected, (("code", "strict"),),
                lambda files: files.edit(f"workflow/scripts/{script}", extended))  # fmt: skip


CODE = [
    Edit("remarks in ten library files", do=_comments),
    _text("a remark in errors.py", f"{LIBRARY}/runtime/errors.py", commented),
    Edit("a remark in errors.py, strictly", "", (("code", "strict"),),
         lambda files: files.edit(f"{LIBRARY}/runtime/errors.py", commented)),
    # Alone, as beside `code: strict` it would not be nothing.
    Edit("other code in errors.py", alone=True,
         do=lambda files: files.edit(f"{LIBRARY}/runtime/errors.py", extended)),
    Edit("other code in train.py", alone=True,
         do=lambda files: files.edit("workflow/scripts/train.py", extended)),
    # Every script that makes something here, and what it makes.
    _strict("prepare.py", "prepare:*"),
    _strict("prepare_held_out.py", "prepare_held_out:*"),
    _strict("few_shot.py", "few_shot:*"),
    _strict("manifest.py", "manifest:*"),
    _strict("leakage.py", "leakage:*"),
    _strict("pin_model.py", "pin_model:*"),
    _strict("check_model.py", "model:*"),
    _strict("environment.py", "environment"),
    _strict("fetch_adapter.py", "adapter:*"),
    _strict("tokenize_rows.py", "tokenize:*"),
    _strict("train.py", "train:*"),
    _strict("generate.py", "generate:* generate_shard:*"),
    _strict("join_shards.py", "join_shards:*"),
    _strict("score_options.py", "score_options:*"),
    _strict("score_rewards.py", "score_rewards:*"),
    _strict("bring.py", "bring:*"),
    _strict("judge.py", "judge:*"),
    _strict("measure.py", "measure:*"),
    _strict("choose.py", "choose:*"),
    _strict("aggregate.py", "aggregate"),
    _strict("report.py", "report"),
]  # fmt: skip

EDITS = [*ROWS, *MODELS, *VERSIONS, *CODE]
