# Needs: the network.
# Makes: what the experiment takes from it: models in the hub's cache, adapters and prepared data
# under the results. Then all else runs with the hub switched off (HF_HUB_OFFLINE=1).


HUB_ADAPTERS = [
    name for name, run in EXPERIMENT.runs.items() if (run.adapter or "").startswith("hub:")
]


localrules:
    download,


rule download:
    """Fetches models, adapters and data at their revisions, and checks them."""
    input:
        # Not all of `ready`: what there is of the network is often where there is no GPU.
        rules.ready.input.manifests,
        rules.ready.input.models,
        expand(f"{E}/train/{{run}}/final/adapter_model.safetensors", run=HUB_ADAPTERS),
