"""The library behind the snaketune workflow. It imports nothing of Snakemake."""
