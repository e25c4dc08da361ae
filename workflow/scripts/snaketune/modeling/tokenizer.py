"""A model's tokenizer, without what a model needs: importing that takes seconds."""

from typing import Any

from transformers import AutoTokenizer

from snaketune.config.model import ModelSpec


def load_tokenizer(spec: ModelSpec) -> Any:
    """The model's own tokenizer."""
    return AutoTokenizer.from_pretrained(
        spec.id, revision=spec.revision, trust_remote_code=spec.trust_remote_code
    )
