# Needs: the data and models of the config.
# Makes: nothing of its own: `ready` stands for the checks that come before anything expensive.
#
# No job takes them as input. They hold all others back while one of them is due
# (workflow/scripts/snaketune/runtime/start.py), and every target that lies behind them takes
# them along, so that one that failed is tried again.

CHECKS = ["manifest", "model", "adapter", "environment"]
GIVEN_ADAPTERS = [name for name, run in EXPERIMENT.runs.items() if run.adapter]


rule ready:
    """All data and models are checked and the machine is noted."""
    input:
        manifests=expand(f"{E}/data/{{dataset}}/manifest.json", dataset=EXPERIMENT.datasets),
        models=expand(f"{E}/models/{{model}}.json", model=EXPERIMENT.models),
        adapters=expand(f"{E}/train/{{run}}/adapter.json", run=GIVEN_ADAPTERS),
        environment=f"{E}/environment.json",
