"""Hazards in words."""

from snaketune.report.text import visible

GROUP = "hazard_group="
"""How the subsets of a hazard's group begin."""

# AILuminate 1.0's codes.
_NAMES = {
    "cse": "child sexual exploitation",
    "dfm": "defamation",
    "hte": "hate",
    "ipv": "intellectual property",
    "iwp": "indiscriminate weapons",
    "ncr": "non-violent crimes",
    "prv": "privacy",
    "spc": "specialised advice",
    "src": "sex-related crimes",
    "ssh": "suicide and self-harm",
    "sxc": "sexual content",
    "vcr": "violent crimes",
}


def hazard_name(hazard: str) -> str:
    """`privacy (prv)`; a label that is no known code as it is."""
    return f"{_NAMES[hazard]} ({hazard})" if hazard in _NAMES else visible(hazard)


def subset_name(subset: str) -> str:
    """`key=value` in words: `privacy (prv)`, `hazard spc_fin`, `persona skilled`."""
    key, _, value = subset.partition("=")
    if subset.startswith(GROUP):
        return hazard_name(value)
    return f"{key.replace('_', ' ')} {visible(value)}"
