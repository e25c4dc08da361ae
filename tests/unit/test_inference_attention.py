"""Attention behind a shared prefix, where there is no kernel that gives log-sum-exps."""

import pytest
import torch
from torch.nn import functional as F

from snaketune.inference.attention import plain_with_lse


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
