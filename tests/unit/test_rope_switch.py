"""Positions that change with a row's length: a long row must not change a short one beside it."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from families import make_model

from snaketune.inference.backends.transformers import TransformersSession
from snaketune.inference.options import Tree, score_trees
from snaketune.models.load import RopeSwitch, rope_switch
from snaketune.training.batches import BatchLayout, TokenRow, padded_batch
from snaketune.training.loss import SummedLoss
from snaketune.training.parallel import count_lanes

CPU, SWITCH = torch.device("cpu"), 24
LONG = {
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4,
        "long_factor": [3.0, 5.0, 8.0, 12.0], "original_max_position_embeddings": SWITCH,
    },
    "original_max_position_embeddings": SWITCH,
}  # fmt: skip
GROWS = {
    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    "max_position_embeddings": SWITCH,
}


def longrope():
    return make_model("Phi-3", **LONG)


def dynamic():
    return make_model("Llama", **GROWS)


def test_it_is_read_from_the_config():
    assert rope_switch(longrope().config) == RopeSwitch(SWITCH, grows=False)
    assert rope_switch(dynamic().config) == RopeSwitch(SWITCH, grows=True)
    for family in ("Llama", "Gemma 3", "GPT-2", "Mamba"):
        assert rope_switch(make_model(family).config) is None
    assert count_lanes(longrope(), 2, CPU, True) == 1


def rows():
    """Inputs of a row are its tokens without the last: two rows on each side, and one at it."""
    found = []
    rng = np.random.default_rng(3)
    for count in (10, 40, SWITCH + 1, SWITCH + 2, 60, 12):
        ids = rng.integers(6, 320, count)
        found.append(TokenRow(str(count), ids, ids.copy()))
    return found


@torch.no_grad()
def alone(build, row):
    """By a model that has read nothing else."""
    ids = torch.from_numpy(row.input_ids)[None]
    logits = build()(input_ids=ids[:, :-1], use_cache=False).logits[0]
    return float(F.cross_entropy(logits, ids[0, 1:], reduction="sum"))


@pytest.mark.parametrize("kind", ["grouped", "packed"])
@pytest.mark.parametrize("build", [longrope, dynamic])
def test_training_takes_rows_as_if_each_were_alone(build, kind):
    model = build()
    loss = SummedLoss(model, padded_batch(rows()[:1]))
    expected = {row.id: alone(build, row) for row in rows()}

    def difference(layout):
        found = []
        with torch.no_grad():
            for part, batch in layout.batches(rows()):
                found.append(abs(float(loss(batch)) - sum(expected[row.id] for row in part)))
        return max(found)

    layout = BatchLayout(kind, 10_000, 10_000, rope_switch(model.config))
    parts = [{row.id for row in part} for part, _ in layout.batches(rows())]
    assert {"10", "12", str(SWITCH + 1)} in parts
    long = [{str(SWITCH + 2)}, {"40"}, {"60"}]
    assert all(p in parts for p in (long if build is dynamic else [set.union(*long)]))
    assert difference(layout) < 1e-2
    layout.switch = None
    assert difference(layout) > 1


def session(model):
    return TransformersSession("tiny", None, [0], None, model)


def some(counts, seed=4):
    rng = random.Random(seed)
    return [[rng.randrange(6, 320) for _ in range(count)] for count in counts]


def test_replies_are_those_of_each_prompt_alone(capsys):
    new = 6
    prompts = some([5, SWITCH - new, SWITCH - new + 1, 20, 23, 24, 30, 9])
    found = session(longrope())
    assert found.engine is not None
    replies = {r.index: r.tokens for r in found.replies(prompts, new, 8)}
    for place, prompt in enumerate(prompts):
        out = longrope().generate(
            input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)).long(),
            max_new_tokens=new, do_sample=False, eos_token_id=0, pad_token_id=0,
        )[0, len(prompt) :]  # fmt: skip
        assert replies[place] == [token for token in out.tolist() if token], place
    assert "5 prompts may pass 24 tokens" in capsys.readouterr().out
    again = {r.index: r.tokens for r in found.replies(prompts, new, 8)}
    assert again == replies, "nothing of the long rows is left in the model"


@pytest.mark.parametrize("driven", [True, False], ids=["engine", "row by row"])
def test_options_score_as_alone(driven):
    trees = [
        Tree(stem, some([1, 3, 6], seed=len(stem)), [0, 0, 0])
        for stem in some([6, SWITCH - 6, SWITCH - 5, SWITCH, 40])
    ]
    model = longrope()
    engine = session(model).engine if driven else None
    assert (engine is not None) == driven
    for found in score_trees(model, engine, trees):
        tree = trees[found.index]
        for branch, value in zip(tree.branches, found.sums, strict=True):
            ids = torch.tensor([tree.stem + branch])
            with torch.no_grad():
                gains = longrope()(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
            at = len(tree.stem)
            wanted = float(gains[at - 1 :].gather(1, ids[0, at:, None]).sum())
            assert value == pytest.approx(wanted, abs=1e-3)


def test_all_trees_are_scored_once():
    trees = [Tree(stem, [[7], [8, 9]], [0, 0]) for stem in some([6, 40, 12, 30])]
    for driven in (False, True):
        model = longrope()
        engine = session(model).engine if driven else None
        assert sorted(s.index for s in score_trees(model, engine, trees)) == [0, 1, 2, 3]


def test_rows_of_other_models_are_laid_out_as_before():
    layout = BatchLayout("grouped", 10_000, 10_000, rope_switch(tiny.make_model().config))
    assert [len(part) for part, _ in layout.batches(rows())] == [6]
    assert list(layout.batches([])) == []
