"""A few of the families that `make test-families` runs all of: with experts, with a state for a
cache, with routers and layers of other kinds."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from journey import Journey


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("Qwen3-MoE", "qlora"),
        ("Llama 4", "lora"),
        ("Bamba", "lora"),
        ("Mamba", "lora"),
        ("GPT-2", "qlora"),
    ],
)
def test_a_family_is_right(name, method, tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))
    Journey(name, method, tmp_path).run()
