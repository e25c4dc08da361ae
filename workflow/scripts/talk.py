"""A chat in the terminal with a run and its base."""

import sys

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.params.files, looks=True):
    from snaketune.runtime.devices import claim_spare_device

    claim_spare_device(snakemake.params.gpu)

    import torch

    from snaketune.inference.session import LoadableState
    from snaketune.inference.talk import Terminal, talk
    from snaketune.prompts.form import Form

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    talk(
        run=params.run,
        state=LoadableState.from_params(params=params.state, pin=params.pin, files=params.files),
        form=Form(**params.form),
        beside_base=params.beside_base,
        terminal=Terminal(sys.__stdin__, sys.__stdout__),
    )
