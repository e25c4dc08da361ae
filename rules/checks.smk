# Needs: the data and models of the config.
# Makes: nothing of its own: `ready` stands for the checks that come before anything expensive.
#
# No job takes them as input. They hold all others back while one of them is due
# (workflow/scripts/snaketune/runtime/start.py), and every target that lies behind them takes
# them along, so that one that failed is tried again.

from snaketune.plan.slurm_site import JobRequest, Profile

CHECKS = ["manifest", "model", "adapter", "environment"]
GIVEN_ADAPTERS = [name for name, run in EXPERIMENT.runs.items() if run.adapter]


rule ready:
    """All data and models are checked and the machine is noted."""
    input:
        manifests=expand(f"{E}/data/{{dataset}}/manifest.json", dataset=EXPERIMENT.datasets),
        models=expand(f"{E}/models/{{model}}.json", model=EXPERIMENT.models),
        adapters=expand(f"{E}/train/{{run}}/adapter.json", run=GIVEN_ADAPTERS),
        environment=f"{E}/environment.json",


# What goes to a cluster is held against what its site has.


def submitted_jobs() -> dict[JobRequest, None]:
    """What the jobs that go to a cluster ask for, each combination once."""
    jobs = (job for job in workflow.dag.needrun_jobs() if not job.is_local)
    return {
        JobRequest.of(
            job.rule.name, {name: job.resources.get(name) for name in job.resources.keys()}
        ): None
        for job in jobs
    }


def profile_names() -> Profile:
    """What the profile, or the command line, names of its own."""
    settings = workflow.resource_settings
    return Profile(
        resources=[name for name in workflow.global_resources if not name.startswith("_")],
        scopes=list(settings.overwrite_resource_scopes),
        set_resources=list(settings.overwrite_resources),
        set_threads=list(settings.overwrite_threads),
    )
