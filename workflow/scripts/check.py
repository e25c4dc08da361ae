"""Says the plan in words: what is trained and asked, whether it fits and how long it takes."""

from snaketune.runtime.errors import in_terminal
from snaketune.runtime.job import job

with job(snakemake.log[0]):
    print(snakemake.params.told)
print(f"\n{in_terminal(snakemake.params.told)}")
