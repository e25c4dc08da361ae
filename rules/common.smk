# What several rules share: how they name their scripts, models and resources.

from snaketune.identity import code_hash, folder_fingerprint

RULES = Path(workflow.current_basedir)


def code_of(script: str) -> str:
    """Changes with the script and with every library module that it imports."""
    return code_hash(RULES.parent / "workflow" / "scripts" / script)


def local_files(folder: str) -> list[str]:
    """The files of a model or adapter in a folder; one on the hub has none here."""
    return sorted(str(f) for f in Path(folder).glob("[!.]*") if f.is_file())


def content_of(folder: str) -> str:
    """What is in a local model or adapter; its files are `ancient` inputs besides, so a fresh
    checkout with new times is the same model."""
    return folder_fingerprint(folder) if Path(folder).is_dir() else ""


def model_params(name: str, *fields: str) -> dict:
    """What identifies a model: all of its config but how it is quantised, or the named fields."""
    spec = EXPERIMENT.models[name].model_dump(mode="json", exclude={"quantisation"})
    return {key: spec[key] for key in fields or spec}


def model_content(name: str) -> str:
    return content_of(EXPERIMENT.models[name].id)


def memory(wildcards, attempt: int) -> str:
    """Main memory of a job that loads a model; more after each failure."""
    return f"{16 * attempt}GB"


def minutes(wildcards, attempt: int) -> int:
    """Run time of a job that loads a model; more after each failure."""
    return 240 * attempt
