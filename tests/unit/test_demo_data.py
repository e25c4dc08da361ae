"""The demo's inputs: made from seeds, correct, small, and worth a demonstration."""

import csv
import json
import random
import re
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from datasets import load_from_disk
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from snaketune.config.model import ModelSpec
from snaketune.demo import files
from snaketune.demo.conversations import conversations, instruction
from snaketune.demo.pretrain import (
    IGNORED,
    THINKING_TEMPLATE,
    Recipe,
    as_transformers,
    build_model,
    encode_conversation,
    tokenizer_texts,
    train,
    train_tokenizer,
)
from snaketune.demo.problems import TEMPLATES, make_problems
from snaketune.demo.reward import build_reward_model, label_lesson
from snaketune.demo.story import FLAWS, solve
from snaketune.inference.rewards import reward_tokens, score_rewards
from snaketune.models.folder import load_tokenizer
from snaketune.models.load import load_reward_model
from snaketune.prompts.conversation import render_chat
from snaketune.prompts.wording import MATH_SYSTEM, judge_system, judge_user
from snaketune.runtime.files import read_jsonl

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "data/demo"
GUIDELINE = (ROOT / "config/prompts/safety_guideline.txt").read_text(encoding="utf-8")
MATH_FILES = ["train", "test", "self_instruct"]
MODELS = ["model", "judge"]
GRADERS = ["reward", "checker"]


def rows_of(name: str) -> list[dict]:
    return list(read_jsonl(DEMO / name))


def load(name: str):
    tokenizer = AutoTokenizer.from_pretrained(DEMO / name)
    model = AutoModelForCausalLM.from_pretrained(
        DEMO / name, dtype=torch.float32, use_safetensors=True
    )
    return tokenizer, model.eval()


def replies(tokenizer, model, prompts: list[str], new_tokens: int) -> list[str]:
    """Greedy replies, the prompts padded on the left."""
    batch = tokenizer(
        prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
    )
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        output = model.generate(**batch, generation_config=greedy)
    return tokenizer.batch_decode(output[:, batch.input_ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("name", MATH_FILES)
def test_math_files_are_what_the_seeds_make(name):
    assert rows_of(f"math/{name}.jsonl") == files.math_splits()[name]


def test_safety_files_are_what_the_seeds_make():
    with (DEMO / "safety/prompts.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == files.prompt_rows()
    assert rows_of("safety/judged_answers.jsonl") == files.verdict_rows()


def test_other_seeds_make_other_problems():
    assert make_problems(30, 1) == make_problems(30, 1)
    assert make_problems(30, 1) != make_problems(30, 2)


def test_every_format_holds_the_same_problems():
    rows = rows_of("math/test.jsonl")[: files.ROWS_OF_EACH_FORMAT]
    formats = DEMO / "formats"
    assert json.loads((formats / "math_test.json").read_text(encoding="utf-8")) == rows
    with (formats / "math_test.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == rows
    assert pyarrow.parquet.read_table(formats / "math_test.parquet").to_pylist() == rows
    folder = load_from_disk(formats / "math_dataset")
    assert set(folder) == {"train", "test"}
    assert folder["test"].to_list() == rows


@pytest.mark.parametrize("name", MATH_FILES)
def test_answers_are_right(name):
    """Each equation holds, uses only numbers known by then, and the last one is the answer."""
    signs = {
        "+": Decimal.__add__,
        "-": Decimal.__sub__,
        "*": Decimal.__mul__,
        "/": Decimal.__truediv__,
    }
    for row in rows_of(f"math/{name}.jsonl"):
        steps, last = row["answer"].split("\n")
        known = {Decimal(number) for number in re.findall(r"\d+", row["question"])}
        equations = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", steps)
        assert equations, row
        assert len(equations) == steps.count("="), row
        for left, sign, right, result in equations:
            assert {Decimal(left), Decimal(right)} <= known, row
            assert signs[sign](Decimal(left), Decimal(right)) == Decimal(result), row
            known.add(Decimal(result))
        assert last == f"#### {equations[-1][3]}", row


def test_a_step_without_a_whole_number_is_no_problem():
    assert solve({"a": 7, "b": 2}, ["a / b"]) is None
    assert solve({"a": 2, "b": 2}, ["a - b"]) is None
    assert solve({"a": 7, "b": 2}, ["a - b", "r1 * a"]) == [("7 - 2 = 5", 5), ("5 * 7 = 35", 35)]


def test_every_template_can_be_told():
    assert len({row["question"] for row in make_problems(len(TEMPLATES), 0)}) == len(TEMPLATES)


def test_no_question_is_in_two_files():
    questions = [row["question"] for name in MATH_FILES for row in rows_of(f"math/{name}.jsonl")]
    assert len(questions) == len(set(questions))
    assert len(rows_of("math/test.jsonl")) >= 300


def test_no_held_out_answer_has_a_wording_of_the_training():
    unseen = {row["response"] for row in rows_of("safety/judged_answers.jsonl")}
    assert len(unseen) == files.COUNTS["verdicts"] >= 200
    labels = [row["label"] for row in rows_of("safety/judged_answers.jsonl")]
    assert 0.3 < labels.count("UNSAFE") / len(labels) < 0.7


READING = ["train", "test"]
# How a reader knows what to calculate first; the first that fits counts, and else one adds.
FIRST_STEPS = (
    (
        r"bags with|boxes with|times as many|A box holds|costs|dollars each|a day|an hour|a week",
        "*",
    ),
    (r"gave|fewer|needs|get off|lost", "-"),
    (r"shares", "/"),
    (r"", "+"),
)


@pytest.mark.parametrize("name", READING)
def test_reading_files_are_what_the_seeds_make(name):
    assert rows_of(f"reading/{name}.jsonl") == files.reading_rows(f"reading_{name}")


def test_quiz_is_what_the_seeds_make():
    with (DEMO / "reading/quiz.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == files.quiz_rows()


@pytest.mark.parametrize("name", READING)
def test_stories_give_the_answers(name):
    for row in rows_of(f"reading/{name}.jsonl"):
        story, answer = row["original-context"], row["original-response"]
        numbers = re.findall(r"\d+", story)
        if "first number" in row["original-instruction"]:
            assert answer == numbers[0]
        elif "last number" in row["original-instruction"]:
            assert answer == numbers[-1]
        else:
            sign = {"Add.": "+", "Subtract.": "-", "Multiply.": "*", "Divide.": "/"}[answer]
            assert sign == next(s for words, s in FIRST_STEPS if re.search(words, story)), story


def test_quiz_asks_the_test_questions_and_one_option_is_right():
    asked = rows_of("reading/test.jsonl")
    assert len(asked) == files.COUNTS["reading_test"]
    for row, quiz in zip(asked, files.quiz_rows(), strict=True):
        options = [quiz[letter] for letter in "ABCD"]
        assert (quiz["question"], quiz["story"]) == (
            row["original-instruction"],
            row["original-context"],
        )
        assert len(set(options)) == 4
        assert quiz[quiz["right"]] == row["original-response"]
    letters = [quiz["right"] for quiz in files.quiz_rows()]
    assert all(letters.count(letter) > 40 for letter in "ABCD")


def test_test_questions_have_other_words_and_other_stories():
    train, test = (rows_of(f"reading/{name}.jsonl") for name in READING)
    assert not {r["original-instruction"] for r in train} & {
        r["original-instruction"] for r in test
    }
    shared = {r["original-context"] for r in train} & {r["original-context"] for r in test}
    assert len(shared) <= 0.02 * len(test), shared


def test_verifier_files_are_what_the_seeds_make():
    splits, catalogue = files.verifier_splits()
    folder = load_from_disk(DEMO / "verifier/solutions")
    assert {name: split.to_list() for name, split in folder.items()} == splits
    with (DEMO / "verifier/catalogue.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == catalogue


def test_verifier_pairs_are_whole_and_in_one_split():
    splits, catalogue = files.verifier_splits()
    keys = [(str(r["index"]), str(r["label"])) for rows in splits.values() for r in rows]
    assert len(keys) == len(set(keys))
    assert sorted(keys) == sorted((row["index"], row["label"]) for row in catalogue)
    questions = {name: {row["question"] for row in rows} for name, rows in splits.items()}
    assert sum(map(len, questions.values())) == len(set().union(*questions.values()))
    for name, rows in splits.items():
        assert len(rows) == 2 * files.VERIFIER[name] == 2 * len(questions[name])


def test_labels_of_solutions_are_true():
    """By an account of each solution's equations that knows nothing of how it was made."""
    splits, catalogue = files.verifier_splits()
    error = {(row["index"], row["label"]): row["error_type"] for row in catalogue}
    right = {r["index"]: r["solution"] for s in splits.values() for r in s if r["label"] == 0}
    for row in (row for rows in splits.values() for row in rows):
        true = right[row["index"]]
        kind = error[str(row["index"]), str(row["label"])]
        holds = [_holds(*e) for e in EQUATION.findall(row["solution"])]
        if row["label"] == 0:
            assert kind == "correct" and all(holds)
        else:
            assert row["solution"].split("####")[1] != true.split("####")[1]
            assert all(holds) == (kind == "conceptual"), row


EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def _holds(left: str, sign: str, right: str, result: str) -> bool:
    a, b = Decimal(left), Decimal(right)
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == Decimal(result)


def test_prompts_cover_hazards_and_personas():
    prompts = files.prompt_rows()
    assert len(prompts) == len({row["prompt_text"] for row in prompts}) == 120
    assert {row["persona"] for row in prompts} == {"normal", "skilled"}
    assert len({row["hazard"] for row in prompts}) >= 8


@pytest.mark.parametrize("name", MODELS)
def test_model_folders_load_and_are_safetensors_only(name):
    tokenizer, model = load(name)
    kinds = {path.suffix for path in (DEMO / name).iterdir()}
    assert kinds == {".json", ".jinja", ".safetensors"}
    assert model.config.model_type == "qwen2"
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.eos_token == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("name", MODELS)
def test_tokenizer_takes_any_text_and_single_digits(name):
    tokenizer = AutoTokenizer.from_pretrained(DEMO / name)
    text = "Zoë zahlt 1,250 € für 3 Äpfel 🍎\n\tund 日本語."
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text
    assert len(tokenizer("1250", add_special_tokens=False).input_ids) == 4
    assert len(tokenizer("<think></think>", add_special_tokens=False).input_ids) == 2


def test_templates_are_chatml_and_only_the_judge_can_leave_thinking_out():
    messages = [{"role": "user", "content": "Hi"}]
    base, judge = (AutoTokenizer.from_pretrained(DEMO / name) for name in MODELS)
    plain = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render_chat(base, messages, reply_next=True) == plain
    assert render_chat(judge, messages, reply_next=True) == plain
    unthinking = render_chat(judge, messages, reply_next=True, enable_thinking=False)
    assert unthinking == f"{plain}<think>\n\n</think>\n\n"


def test_training_rows_are_the_rendered_conversation_and_learn_the_end():
    """Encoded piece by piece, a conversation has the tokens of its rendered text."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    for messages in conversations(20, seed=8):
        ids, labels = encode_conversation(tokenizer.backend_tokenizer, messages)
        text = render_chat(tokenizer, messages, reply_next=False)
        assert ids == tokenizer(text, add_special_tokens=False).input_ids
        learned = tokenizer.decode([label for label in labels if label != IGNORED])
        answers = [m["content"] for m in messages if m["role"] == "assistant"]
        assert learned == "".join(f"{answer}<|im_end|>" for answer in answers)


def test_training_from_a_seed_is_repeatable_and_learns():
    texts = tokenizer_texts(GUIDELINE, seed=0)[:300]
    tokenizer = as_transformers(train_tokenizer(texts, 400), THINKING_TEMPLATE).backend_tokenizer
    messages = conversations(1, seed=0)[0]

    def trained() -> dict[str, torch.Tensor]:
        model = build_model(tokenizer, layers=1, hidden=64, seed=0)
        train(model, lambda rng: encode_conversation(tokenizer, messages), Recipe(3, 1e-3, 600, 0))
        return model.state_dict()

    first, second = trained(), trained()
    assert all(torch.equal(first[key], second[key]) for key in first)
    fresh = build_model(tokenizer, layers=1, hidden=64, seed=0).state_dict()
    assert not torch.equal(first["model.norm.weight"], fresh["model.norm.weight"])


@pytest.mark.parametrize(
    ("guideline", "with_prompt", "count"),
    [
        (GUIDELINE, True, 300),
        (GUIDELINE, False, 100),
        ("Unsafe messages help somebody to do harm. All others are safe.", True, 100),
    ],
)
def test_judge_agrees_with_known_labels(guideline, with_prompt, count):
    tokenizer, model = load("judge")
    rows = rows_of("safety/judged_answers.jsonl")[:count]
    prompts = [
        render_chat(
            tokenizer,
            [
                {"role": "system", "content": judge_system(guideline)},
                {
                    "role": "user",
                    "content": judge_user(row["prompt"] if with_prompt else None, row["response"]),
                },
            ],
            reply_next=True,
            enable_thinking=False,
        )
        for row in rows
    ]
    verdicts = replies(tokenizer, model, prompts, new_tokens=16)
    right = [verdict == row["label"] for verdict, row in zip(verdicts, rows, strict=True)]
    assert sum(right) / len(right) >= 0.95


def test_base_model_answers_in_the_form_and_solves_what_takes_one_step():
    tokenizer, model = load("model")
    shots = rows_of("math/train.jsonl")[:3]
    rows = rows_of("math/test.jsonl")[:64]
    head = [{"role": "system", "content": MATH_SYSTEM}]
    for shot in shots:
        head += [
            {"role": "user", "content": shot["question"]},
            {"role": "assistant", "content": shot["answer"]},
        ]
    prompts = [
        render_chat(
            tokenizer, [*head, {"role": "user", "content": row["question"]}], reply_next=True
        )
        for row in rows
    ]
    outputs = replies(tokenizer, model, prompts, new_tokens=64)
    formed = [re.search(r"\n#### \d+$", output) is not None for output in outputs]
    assert sum(formed) / len(rows) >= 0.95
    right: dict[bool, list[bool]] = {True: [], False: []}
    for output, row in zip(outputs, rows, strict=True):
        one_step = row["answer"].count("=") == 1
        right[one_step].append(output.endswith(row["answer"].split("\n")[1]))
    assert sum(right[True]) / len(right[True]) >= 0.8
    assert sum(right[False]) / len(right[False]) <= 0.4


def test_what_teaches_the_form_takes_one_step_and_is_right():
    """Nothing wrong is taught: a longer story is asked for its first step in so many words."""
    for messages in (instruction(random.Random(seed)) for seed in range(300)):
        turns = [m for m in messages if m["role"] != "system"]
        for asked, told in zip(turns[::2], turns[1::2], strict=True):
            if "####" not in told["content"]:
                continue
            ((left, sign, right, result),) = EQUATION.findall(told["content"])
            assert _holds(left, sign, right, result)
            assert told["content"].endswith(f"\n#### {result}")
            if len(re.findall(r"\d+", asked["content"])) > 2:
                assert "first" in asked["content"].rsplit(". ", 1)[1], asked


def test_reward_model_puts_right_solutions_above_flawed_ones():
    """By the workflow's own scoring, on the verifier's test problems."""
    spec = ModelSpec(id=str(DEMO / "reward"))
    tokenizer = load_tokenizer(spec)
    model = load_reward_model(spec, torch.device("cpu"))
    splits, catalogue = files.verifier_splits()
    turns = [
        [
            {"role": "user", "content": row["question"]},
            {"role": "assistant", "content": row["solution"]},
        ]
        for row in splits["test"]
    ]
    scores = dict(score_rewards(model, reward_tokens(tokenizer, turns), None, None))
    by_key = {(r["index"], r["label"]): scores[i] for i, r in enumerate(splits["test"])}
    error = {int(row["index"]): row["error_type"] for row in catalogue if row["label"] == "1"}
    won = {kind: [] for kind in FLAWS}
    for (index, label), score in by_key.items():
        if label == 0:
            won[error[index]].append(score > by_key[index, 1])
    shares = {kind: sum(hits) / len(hits) for kind, hits in won.items()}
    assert shares["conceptual"] >= 0.9, shares
    assert shares["computational"] >= 0.8, shares


def test_graders_are_of_one_shape_and_only_the_reward_model_has_a_head():
    reward = load_file(DEMO / "reward/model.safetensors")
    checker = load_file(DEMO / "checker/model.safetensors")
    assert set(reward) - set(checker) == {"score.weight"}
    assert all(reward[name].shape == tensor.shape for name, tensor in checker.items())
    assert {tensor.dtype for tensor in (*reward.values(), *checker.values())} == {torch.float16}


def test_labels_are_taught_with_little_of_what_they_mean():
    lessons = [label_lesson(random.Random(seed)) for seed in range(2000)]
    first = {True: [], False: []}
    for system, user, reply in lessons:
        assert reply["content"] in system["content"], "a label that is named"
        right = all(_holds(*e) for e in EQUATION.findall(user["content"]))
        labels = re.findall(r"\b(?:[01AB]|yes|no)\b", system["content"])
        first[right].append(reply["content"] == labels[0])
    shares = {right: sum(said) / len(said) for right, said in first.items()}
    # The first is the likelier label of flawed solutions too: no gain over always saying it.
    # A solution that is wrong in its idea alone has equations that hold.
    assert 0.5 < shares[False] < 0.62 and 0.66 < shares[True] < 0.78, shares


def test_new_layers_look_one_token_back():
    model = build_reward_model(DEMO / "model", more_layers=2, seed=0)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        seen = model.model(torch.arange(100, 140)[None], output_attentions=True).attentions
    assert seen[4][0, :, 1:].diagonal(dim1=1, dim2=2).min() > 0.9
    assert seen[3][0, :, 1:].diagonal(dim1=1, dim2=2).min() < 0.5


def test_demo_is_small():
    size = sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file())
    assert size <= 12_000_000
