"""Trains the demo's tokenizer and writes it once for each chat template."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    from snaketune.demo.pretrain import (
        CHAT_TEMPLATE,
        THINKING_TEMPLATE,
        as_transformers,
        tokenizer_texts,
        train_tokenizer,
    )

    guideline = Path(snakemake.input.guideline).read_text(encoding="utf-8")
    texts = tokenizer_texts(guideline, snakemake.params.seed)
    tokenizer = train_tokenizer(texts, snakemake.params.vocab_size)
    as_transformers(tokenizer, CHAT_TEMPLATE).save_pretrained(snakemake.output.base)
    as_transformers(tokenizer, THINKING_TEMPLATE).save_pretrained(snakemake.output.judge)
