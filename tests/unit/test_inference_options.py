"""Options as a tree against each option on its own (trap 26), labels, and the files around them."""

import json
import math

import pytest
import torch
from test_inference_decode import VOCABULARY, made, some_prompts
from tiny_chat import make_tokenizer, questions, save_chat_model

from snaketune.config.model import ModelSpec
from snaketune.data.example import Example, write_examples
from snaketune.inference import options as module
from snaketune.inference.engine import Engine
from snaketune.inference.options import Question, Tree, build_tree, distinguish_labels, score_trees
from snaketune.inference.score_options import OptionsProtocol, build_question, score_options
from snaketune.inference.session import LoadableState
from snaketune.inference.shards import Shard, join_shards
from snaketune.models.load import load_model
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl, write_json
from snaketune.tasks.multiple_choice import softmax


def some_trees(count=14, prefix=0):
    """Trees of mixed size; every third has context tokens that differ at the join."""
    trees = []
    for i, stem in enumerate(some_prompts(prefix, count)):
        branches = some_prompts(0, 2 + i % 3, seed=100 + i)
        start = 1 if i % 3 == 0 else 0
        trees.append(Tree(stem, [b[:6] for b in branches], [start] * len(branches)))
    return trees


def alone(model, tree):
    """The log-probability of each option, one plain pass each."""
    sums = []
    for branch, start in zip(tree.branches, tree.scored, strict=True):
        ids = torch.tensor([tree.stem + branch])
        with torch.no_grad():
            gains = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        at = len(tree.stem) + start
        wanted = ids[0, at:, None]
        sums.append(float(gains[at - 1 :].gather(1, wanted).sum()))
    return sums


@pytest.mark.parametrize("prefix", [0, 40])
@pytest.mark.parametrize(
    "name", ["qwen2", "mistral, window 16", "gemma3, window 16 in some layers"]
)
def test_a_tree_scores_as_each_option_alone(name, prefix):
    model, trees = made(name), some_trees(prefix=prefix)
    expected = [alone(model, t) for t in trees]
    by_cache = {s.index: s for s in score_trees(model, None, trees)}
    found = {s.index: s for s in score_trees(model, Engine(model), trees)}
    for i, tree in enumerate(trees):
        assert found[i].sums == pytest.approx(expected[i], abs=1e-4)
        assert by_cache[i].sums == pytest.approx(expected[i], abs=1e-4)
        assert found[i].tokens == [
            len(b) - s for b, s in zip(tree.branches, tree.scored, strict=True)
        ]


def test_the_scores_do_not_depend_on_the_batch(monkeypatch):
    model, trees = made("qwen2"), some_trees()
    engine = Engine(model)
    together = {s.index: s.sums for s in score_trees(model, engine, trees)}
    monkeypatch.setitem(module._TOKENS, "cpu", 1)
    single = {s.index: s.sums for s in score_trees(model, engine, trees)}
    for i in together:
        assert together[i] == pytest.approx(single[i], abs=1e-5)


def test_running_out_of_memory_halves_the_pass(monkeypatch):
    model, trees = made("qwen2"), some_trees()
    engine = Engine(model)
    expected = {s.index: s.sums for s in score_trees(model, engine, trees)}
    call, widest = engine.call, []

    def short_of_memory(ids, *rest, **more):
        widest.append(ids.shape[1])
        if ids.shape[1] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(ids, *rest, **more)

    monkeypatch.setattr(engine, "call", short_of_memory)
    found = {s.index: s.sums for s in score_trees(model, engine, trees)}
    assert max(widest) > 100
    assert found.keys() == expected.keys()
    assert all(found[i] == pytest.approx(expected[i], abs=1e-5) for i in expected)


def test_context_and_option_are_tokenised_together():
    tokenizer = make_tokenizer()
    asked = Question("q", "how many ", ["apples", "are left"])
    tree = build_tree(tokenizer, asked, plain=True)
    assert tokenizer.decode(tree.stem) == "how many"
    assert [tokenizer.decode(b) for b in tree.branches] == [" apples", " are left"]
    assert tree.scored == [0, 0]
    assert tree.branches[0] == tokenizer(" apples", add_special_tokens=False)["input_ids"]
    as_it_is = build_tree(tokenizer, Question("q", "how many\n", ["one", "two"]), plain=False)
    assert tokenizer.decode(as_it_is.stem) == "how many\n"


def test_a_join_whose_tokens_differ_between_options():
    tokenizer = make_tokenizer()
    (whole,) = tokenizer([" apples"], add_special_tokens=False)["input_ids"]
    split = tokenizer([" apple"], add_special_tokens=False)["input_ids"][0]
    assert whole[: len(split)] != split, "this join would not change the tokens"
    tree = build_tree(tokenizer, Question("q", " apple", ["s and more", "!"]), True)
    for branch, text in zip(tree.branches, [" apples and more", " apple!"], strict=True):
        assert tree.stem + branch == tokenizer([text], add_special_tokens=False)["input_ids"][0]
    assert all(len(b) > s for b, s in zip(tree.branches, tree.scored, strict=True))


def test_an_option_without_a_token_of_its_own():
    tokenizer = make_tokenizer()
    with pytest.raises(UserError, match=r"question q7: found option '' without a token"):
        build_tree(tokenizer, Question("q7", "how many", ["apples", ""]), False)
    with pytest.raises(UserError, match=r"question q7: found option '' without a token"):
        build_tree(tokenizer, Question("q7", "how many", [""]), True)


@pytest.mark.parametrize("plain", [True, False])
def test_an_option_whose_token_spans_the_join_is_read_by_itself(plain):
    tokenizer = make_tokenizer()

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    tree = build_tree(tokenizer, Question("q8", "apple", ["s", "!"]), plain)
    assert len(ids("apples")) <= len(ids("apple")), "no token spans the join"
    assert (tree.stem, tree.branches, tree.scored) == (ids("apple"), [ids("s"), ids("!")], [0, 0])


def test_an_empty_context_opens_with_a_special_token():
    tree = build_tree(make_tokenizer(), Question("q", "", ["apples", "pears"]), False)
    assert tree.stem == [0] and tree.scored == [0, 0]


def test_labels_are_the_softmax_over_their_tokens():
    model = made("qwen2")
    tree = Tree(list(range(20, 40)), [[50], [51]], [0, 0])
    (found,) = score_trees(model, Engine(model), [tree])
    with torch.no_grad():
        logits = made("qwen2")(input_ids=torch.tensor([tree.stem])).logits[0, -1]
    mass = sum(math.exp(value) for value in found.sums)
    assert softmax(found.sums) == pytest.approx(logits[[50, 51]].softmax(0).tolist(), abs=1e-5)
    assert mass == pytest.approx(float(logits.softmax(0)[[50, 51]].sum()), rel=1e-4)
    assert VOCABULARY > 51


CONTEXT = "add the apples\n\nQuestion: {question}\nOptions:\n{options}Answer:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("options")
    save_chat_model(base / "model")
    items = [
        Example(f"e{i}", q, choices=["apples", "the {boy}", "pears add"], source="x", record=i + 1)
        for i, q in enumerate(questions(11))
    ]
    write_examples(base / "examples.parquet", items)
    return base


def run(folder, name, shard=None, **changes):
    protocol = OptionsProtocol(**({"context": CONTEXT} | changes))
    extra = [] if shard is None else [shard]
    score_options(
        LoadableState(ModelSpec(id=str(folder / "model")), "none", "none", []),
        protocol,
        folder / "examples.parquet",
        folder / f"work-{name}",
        folder / f"{name}.jsonl",
        folder / f"{name}.meta.json",
        *extra,
    )
    return list(read_jsonl(folder / f"{name}.jsonl"))


def test_a_prompt_lists_its_options_and_keeps_their_braces():
    example = Example("e", "how {many}?", choices=["one", "the {letter}"])
    asked = build_question(example, OptionsProtocol(CONTEXT), make_tokenizer())
    assert asked.context.endswith(
        "Question: how {many}?\nOptions:\nA: one\nB: the {letter}\nAnswer:"
    )
    assert asked.options == [" one", " the {letter}"]


def test_options_from_files_to_files(folder):
    records = run(folder, "plain")
    assert [r["id"] for r in records] == [f"e{i}" for i in range(11)]
    assert all(len(r["sums"]) == 3 and r["characters"] == [6, 9, 9] for r in records)
    meta = json.loads((folder / "plain.meta.json").read_text())
    assert meta["example_prompt"].startswith("add the apples\n\nQuestion:")
    in_chat = run(folder, "chat", system="add", option="{letter}")
    meta = json.loads((folder / "chat.meta.json").read_text())
    assert meta["example_prompt"].endswith("Answer:<|im_end|>\n<|im_start|>assistant\n")
    assert [r["tokens"] for r in in_chat] == [[1, 1, 1]] * 11


def test_labels_behind_worked_examples(folder, tmp_path):
    """As one would write them by hand, in plain text and in turns."""
    shots = [{"question": "one", "answer": "safe"}, {"question": "two", "answer": "boy"}]
    write_json(tmp_path / "few_shot.json", shots)
    labels = {"labels": ["safe", "boy"], "option": " {option}"}

    def scored(name, file, context, **more):
        protocol = OptionsProtocol(context, **labels, **more)
        out = [folder / f"{name}.jsonl", folder / f"{name}.meta.json"]
        score_options(
            LoadableState(ModelSpec(id=str(folder / "model")), "none", "none", []),
            protocol,
            folder / "examples.parquet",
            folder / f"work-{name}",
            *out,
            few_shot=file,
        )
        return [row["sums"] for row in read_jsonl(out[0])]

    worded = "Q: {question}\nA:"
    shown = scored("shown", tmp_path / "few_shot.json", worded, few_shot=2)
    by_hand = scored("hand", None, "Q: one\nA: safe\n\nQ: two\nA: boy\n\n" + worded)
    assert shown == [pytest.approx(row, abs=1e-5) for row in by_hand]
    assert shown != scored("none", None, worded)
    said = []
    for few in (0, 2):
        protocol = OptionsProtocol("{question}", **labels, system="", few_shot=few)
        example = Example("e", "three")
        asked = build_question(example, protocol, make_tokenizer(), shots=shots[:few])
        said.append(asked.context)
    turns = "".join(
        f"<|im_start|>user\n{s['question']}<|im_end|>\n<|im_start|>assistant\n{s['answer']}"
        "<|im_end|>\n"
        for s in shots
    )
    assert said[1] == turns + said[0]


def test_equal_options_have_equal_scores(folder, tmp_path, monkeypatch):
    """Whatever a pass makes of them: here it gives every branch another sum."""
    (tmp_path / "model").symlink_to(folder / "model")
    twice = Example("e", "add?", choices=["pears", "apples", "pears"], source="f", record=1)
    write_examples(tmp_path / "examples.parquet", [twice])

    def apart(*_):
        yield module.OptionScores(0, [-1.5, -2.0, -1.25], [1, 1, 1])

    monkeypatch.setattr("snaketune.inference.score_options.score_trees", apart)
    (record,) = run(tmp_path, "twice")
    assert record["sums"] == [-1.5, -2.0, -1.5]


def test_a_split_without_examples_is_refused(folder, tmp_path):
    (tmp_path / "model").symlink_to(folder / "model")
    write_examples(tmp_path / "examples.parquet", [])
    with pytest.raises(UserError, match=r"examples.parquet: found no examples to ask"):
        run(tmp_path, "nothing")


def test_shards_join_to_the_same_records(folder):
    whole = run(folder, "whole")
    for number in range(3):
        run(folder, f"part{number}", Shard(number, 3))
    parts = [folder / f"part{i}.jsonl" for i in range(3)]
    metas = [folder / f"part{i}.meta.json" for i in range(3)]
    join_shards(parts, metas, folder / "joined.jsonl", folder / "joined.meta.json")
    joined = list(read_jsonl(folder / "joined.jsonl"))
    assert [r["id"] for r in joined] == [r["id"] for r in whole]
    for one, other in zip(joined, whole, strict=True):
        assert one["sums"] == pytest.approx(other["sums"], abs=1e-4)
    assert json.loads((folder / "joined.meta.json").read_text())["shards"] == 3
    (folder / "part1.jsonl").write_text("")
    with pytest.raises(UserError, match=r"found parts of \[4, 0, 3\] examples"):
        join_shards(parts, metas, folder / "joined.jsonl", folder / "joined.meta.json")


@pytest.mark.parametrize(
    ("system", "ending"), [("", "<|im_end|>"), (None, "<|endoftext|>")], ids=["chat", "plain"]
)
def test_a_label_that_begins_another_is_scored_with_the_end_of_its_reply(folder, system, ending):
    """Else 1 would be at least as likely as 10, whatever the model says."""
    labels = ["1", *(f"1{digit}" for digit in range(10)), "3"]
    name = f"labels-{system is None}"
    asked = {"system": system, "context": "{question}", "option": "{option}"}
    records = run(folder, name, labels=labels, **asked)
    model = load_model(ModelSpec(id=str(folder / "model")), "none", torch.device("cpu"))
    tokenizer = make_tokenizer()
    meta = json.loads((folder / f"{name}.meta.json").read_text())
    prompt = tokenizer(meta["example_prompt"], add_special_tokens=False)["input_ids"]
    wholes = [tokenizer(label + ending, add_special_tokens=False)["input_ids"] for label in labels]
    expected = alone(model, Tree(prompt, wholes, [0] * len(labels)))
    assert records[0]["sums"] == pytest.approx(expected, abs=1e-4)
    assert [r["tokens"] for r in records] == [[2, *[3] * 10, 2]] * 11
    assert any(r["sums"][0] < max(r["sums"][1:11]) for r in records), "or nothing is shown"
    apart = run(folder, f"{name}-apart", labels=["0", "1"], **asked)
    assert [r["tokens"] for r in apart] == [[1, 1]] * 11, "no end where the labels tell apart"


def test_labels_that_nothing_tells_apart_are_refused():
    tree = Tree([1, 2], [[5], [5, 6]], [0, 0])
    assert distinguish_labels(tree, [9], "q").branches == [[5, 9], [5, 6, 9]]
    with pytest.raises(UserError, match="q: found labels one of which begins another"):
        distinguish_labels(tree, [], "q")
    other = Tree([1, 2], [[5, 7], [5, 6]], [0, 0])
    assert distinguish_labels(other, [9], "q") is other


def test_faults_of_questions_name_the_record(folder, tmp_path):
    write_examples(tmp_path / "examples.parquet", [Example("e", "x", source="f.csv", record=3)])
    (tmp_path / "model").symlink_to(folder / "model")
    with pytest.raises(UserError, match=r"f.csv, record 3: choices: found none"):
        run(tmp_path, "none")
    items = [Example("e", "x", choices=["a", ""], source="f.csv", record=4)]
    write_examples(tmp_path / "examples.parquet", items)
    with pytest.raises(UserError, match=r"f.csv, record 4: found option '' without a token"):
        run(tmp_path, "empty", option="{option}")
    template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(UserError, match=r"model tiny: its chat template refuses .*System role"):
        tokenizer = make_tokenizer()
        tokenizer.chat_template = template
        build_question(items[0], OptionsProtocol(CONTEXT, system="add"), tokenizer, "tiny")


def test_a_question_longer_than_the_context_is_counted_and_never_cut(folder, tmp_path, capsys):
    (tmp_path / "model").symlink_to(folder / "model")
    asked = [
        Example("short", "apples", choices=["a", "b"], source="f.csv", record=4),
        Example("long", "apples " * 600, choices=["a", "b"], source="f.csv", record=5),
    ]
    write_examples(tmp_path / "examples.parquet", asked)
    short, long = run(tmp_path, "long")
    assert short["finish"] == "scored" and len(short["sums"]) == 2
    assert long["finish"] == "overlong" and long["sums"] is None
    meta = json.loads((tmp_path / "long.meta.json").read_text())
    assert meta["finishes"] == {"overlong": 1, "scored": 1}
    said = capsys.readouterr().out
    assert "1 questions with their longest options are longer" in said and ": long" in said


SHOWN = [
    {"question": "how many?", "answer": "two", "choices": ["one", "two"], "label": "B"},
    {"question": "are the pears <|im_end|>?", "answer": "safe", "choices": ["safe", "add"],
     "label": "A"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "context", "answers", "gap"),
    [
        (" {option}", "Q: {question}\n{options}A:", ["two", "safe"], " "),
        (" {letter}", "Q: {question}\n{options}A:", ["B", "A"], " "),
        ("{letter}", "Q: {question}\n{options}A: ", ["B", "A"], ""),
    ],
)
def test_worked_questions_stand_before_the_one_that_is_asked(
    tmp_path, option, context, answers, gap
):
    """As text that is written out by hand, by plain forward passes of transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = save_chat_model(tmp_path / "model")
    examples = [
        Example(f"e{i}", question, choices=["boy", "the apples", "take"], label="A")
        for i, question in enumerate(questions(3))
    ]
    write_examples(tmp_path / "test.parquet", examples)
    # Beside the keys that are read what a few-shot file holds.
    write_json(tmp_path / "few_shot.json", [shot | {"index": 1, "id": "x"} for shot in SHOWN])
    protocol = OptionsProtocol(context=context, option=option, few_shot=2)
    score_options(
        LoadableState(ModelSpec(id=str(folder)), "none", "none", []), protocol,
        tmp_path / "test.parquet", tmp_path / "work", tmp_path / "scores.jsonl",
        tmp_path / "meta.json", few_shot=tmp_path / "few_shot.json",
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def put(question, choices):
        lines = "".join(f"{a}: {b}\n" for a, b in zip("ABC", choices, strict=False))
        return context.replace("{question}", question).replace("{options}", lines).rstrip()

    for example, found in zip(examples, read_jsonl(tmp_path / "scores.jsonl"), strict=True):
        worked = [
            f"{put(shot['question'], shot['choices'])} {answer}"
            for shot, answer in zip(SHOWN, answers, strict=True)
        ]
        before = "\n\n".join([*worked, put(example.question, example.choices)])
        # What is typed like a control token is text: each of its characters a token of its own.
        ids = tokenizer(before, split_special_tokens=True)["input_ids"]
        for i, choice in enumerate(example.choices):
            said = " " + (choice if "{option}" in option else "ABC"[i])
            ends = tokenizer(before + said, split_special_tokens=True)["input_ids"]
            assert ends[: len(ids)] == ids
            with torch.no_grad():
                gains = model(torch.tensor([ends])).logits[0].log_softmax(-1)
            own = sum(float(gains[n - 1, ends[n]]) for n in range(len(ids), len(ends)))
            assert found["sums"][i] == pytest.approx(own, abs=1e-3)
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["example_prompt"] == before.replace(examples[2].question, examples[0].question)
