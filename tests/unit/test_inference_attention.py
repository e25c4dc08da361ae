"""Attention behind a shared prefix, where there is no kernel that gives log-sum-exps, and the
memory that it takes of long prompts."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from snaketune.inference.attention import attend, plain_with_lse
from snaketune.inference.engine import COLUMNS_AT_ONCE, layout_of
from snaketune.inference.memory import SlotCache

HEADS, KEY_HEADS, SIZE = 4, 2, 16


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_large_keys_lose_nothing_in_16_bits(dtype, tolerance):
    """Keys as large as Qwen2's: products of some hundreds, which 16 bits round to whole units,
    and overflow float16."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, n, 64) for n in (5, 40, 40))
    key = key + 60 * torch.randn(1, 2, 1, 64)
    query = query * 12
    held = [part.to(dtype) for part in (query, key, value)]
    out, lse = plain_with_lse(*held, None, 64**-0.5)
    exact = [part.double() for part in held]
    torch.testing.assert_close(
        out.double(), F.scaled_dot_product_attention(*exact), atol=tolerance, rtol=tolerance
    )
    scores = exact[0] @ exact[1].transpose(-1, -2) * 64**-0.5
    torch.testing.assert_close(lse.double(), scores.logsumexp(-1), atol=1e-2, rtol=1e-5)


def _peak(call: Callable[[], object]) -> int:
    """Bytes that a call held at most beside what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    held = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def _of_a_prompt(length: int, begin: int, prefix: int, window: int) -> int:
    """The peak of a layer's attention from column `begin` of a prompt on, as the engine takes it:
    some columns at once, which is all that it is given."""
    steps = min(COLUMNS_AT_ONCE, length - begin)
    cache = SlotCache(1, [0])
    cache.end = begin
    layout = layout_of(cache, steps, prefix, torch.device("cpu"))
    if prefix:
        layout.prefix = [
            (torch.randn(KEY_HEADS, prefix, SIZE), torch.randn(KEY_HEADS, prefix, SIZE))
        ]
    query = torch.randn(1, HEADS, steps, SIZE)
    own = [torch.randn(1, KEY_HEADS, begin + steps, SIZE) for _ in range(2)]
    module = SimpleNamespace(layer_idx=0)
    return _peak(lambda: attend(module, query, *own, None, layout=layout, sliding_window=window))


@pytest.mark.parametrize("window", [0, 512])
@pytest.mark.parametrize("behind", ["prefix", "own columns"])
def test_memory_of_a_long_prompt_grows_with_its_length(behind, window):
    """Scores and their likes would take 3 x heads x length^2 x 4 bytes. Of 3,000 tokens the engine
    takes several parts already."""
    peaks = {}
    for length in (3000, 12_000):
        if behind == "prefix":
            peaks[length] = _of_a_prompt(COLUMNS_AT_ONCE, 0, length, window)
        else:
            peaks[length] = _of_a_prompt(length, length - COLUMNS_AT_ONCE, 0, window)
    assert 0 < peaks[12_000] <= 5 * peaks[3000]
    assert peaks[12_000] < 0.1 * 3 * HEADS * 12_000**2 * 4


def test_the_peak_is_that_of_all_that_is_held():
    one = torch.zeros(1000)
    assert _peak(lambda: [one + k for k in range(1, 6)]) == pytest.approx(5 * 4000, rel=0.01)
    assert _peak(lambda: sum(one + k for k in range(1, 6))) == pytest.approx(3 * 4000, rel=0.01)
