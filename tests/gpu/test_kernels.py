"""What only a GPU computes: kernels that give log-sum-exps, packed rows, recorded steps."""

import pytest
import tiny
import torch

from snaketune.inference.attention import _as_bias, _with_lse, plain_with_lse
from snaketune.training.batches import packed_batch, padded_batch
from snaketune.training.graphs import GraphedGradients
from snaketune.training.loss import SummedLoss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU = torch.device("cuda")
DTYPES = {torch.bfloat16: 4e-3, torch.float16: 1e-3, torch.float32: 1e-5}
# Rows, heads, queries, columns, numbers of a head: none a multiple of the kernel's blocks.
SHAPES = [(64, 2, 6, 601, 128), (1, 2, 385, 1500, 128), (3, 4, 70, 33, 64), (2, 2, 5, 40, 80)]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_and_log_sum_exp(dtype, shape, biased):
    """Against float64, with keys as large as Qwen2's."""
    rows, heads, steps, columns, size = shape
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(rows, heads, n, size, device=GPU) * 4 for n in (steps, columns, columns)
    )
    key += 10 * torch.randn(1, heads, 1, size, device=GPU)
    held = [part.to(dtype) for part in (query, key, value)]
    scores = held[0].double() @ held[1].double().transpose(-1, -2) * size**-0.5
    bias = None
    if biased:
        seen = torch.rand(rows, steps, columns, device=GPU) > 0.3
        seen[..., 0] = True
        bias = _as_bias(seen, dtype)
        scores = scores.masked_fill(~seen[:, None], -torch.inf)
    expected = scores.softmax(-1) @ held[2].double()
    for attention in (_with_lse, plain_with_lse):
        found, lse = attention(*held, bias, size**-0.5)
        assert (found.double() - expected).norm() / expected.norm() < 2 * DTYPES[dtype]
        torch.testing.assert_close(lse.double(), scores.logsumexp(-1), atol=1e-2, rtol=1e-5)


def test_memory_of_long_prompts_grows_with_their_length():
    taken = []
    for steps in (2048, 8192):
        query, key, value = (
            torch.randn(1, 32, steps, 128, device=GPU, dtype=torch.bfloat16) for _ in range(3)
        )
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _with_lse(query, key, value, None, 128**-0.5)
        taken.append(torch.cuda.max_memory_allocated() - before)
    assert taken[1] < 5 * taken[0]


def test_recorded_steps_give_what_single_calls_give():
    """Packed rows in 16 bits, of two shapes, the first of which comes three times."""
    model = tiny.make_model().to(GPU, torch.bfloat16)
    weights = [p.requires_grad_("q_proj" in n or "down" in n) for n, p in model.named_parameters()]
    trained = [p for p in weights if p.requires_grad]
    rows = tiny.make_rows(12)
    loss = SummedLoss(model, padded_batch(rows[:1]).to(GPU))
    assert loss.packs(rows[0])
    graphs = GraphedGradients(loss, trained, GPU)
    for part in (rows[:4], rows[4:8], rows[8:], rows * 6):
        expected = loss(packed_batch(part).to(GPU))
        wanted = torch.autograd.grad(expected * 0.5, trained)
        graphs.begin()
        found = graphs.add(packed_batch(part), 0.5)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-2, atol=1e-1)
        for mine, theirs in zip(graphs.sums, wanted, strict=True):
            assert (mine - theirs).norm() <= 2e-2 * theirs.norm()
    assert graphs.works and len(graphs._recorded) == 1
