"""Datasets on the Hugging Face hub, whose token comes from the environment alone, and files from
`https://` addresses. Light until one is asked.
"""

import http.client
import re
import shutil
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snaketune.config.base import called_exactly, without_query
from snaketune.config.dataset import SplitName
from snaketune.data.locate import SPLITS
from snaketune.data.record import Table
from snaketune.data.sources.local import class_names, records_of
from snaketune.runtime.errors import UserError

if TYPE_CHECKING:
    import datasets

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubData:
    """A dataset of the hub at one commit, one table a split; splits that have no place among
    train, dev and test are named in `unused`."""

    commit: str
    tables: dict[SplitName, Table]
    unused: list[str]


def load_hub_dataset(
    name: str, subset: str | None, revision: str | None, split: SplitName | None, limit: int | None
) -> HubData:
    """The dataset's splits, or only `split`. Raises `UserError` with a way out where the hub
    can't be reached or has no such dataset."""
    import datasets

    commit = _commit(name, revision)
    try:
        loaded = datasets.load_dataset(name, subset, revision=commit)
    except Exception as error:
        raise UserError(_way_out(name, error)) from None
    for rows in loaded.values():
        _require_commit(rows, name, commit)
    chosen = _choose(name, list(loaded), split)
    tables = {of: _table(loaded[key], name, key, limit) for of, key in chosen.items()}
    return HubData(commit, tables, sorted(set(loaded) - set(chosen.values())))


def _commit(name: str, revision: str | None) -> str:
    """The commit behind `revision`; the hub is not asked where it is one already."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    import huggingface_hub

    try:
        found = huggingface_hub.HfApi().dataset_info(name, revision=revision, timeout=60)
    except Exception as error:
        raise UserError(_way_out(name, error)) from None
    return str(found.sha)


def _require_commit(rows: "datasets.Dataset", name: str, commit: str) -> None:
    """Where the hub can't be reached, `datasets` falls back on whatever commit its cache holds,
    with a warning at most. The cache's folder is named for the commit."""
    for file in rows.cache_files:
        found = Path(file["filename"]).parent.name
        if _COMMIT.fullmatch(found) and found != commit:
            raise UserError(
                f"hub:{name}: found only commit {found} in the local cache, with the hub out of "
                f"reach; expected {commit}. Give that as `revision`, or connect and start again"
            )


def _choose(name: str, keys: list[str], split: SplitName | None) -> dict[SplitName, str]:
    """Which of the hub's splits serves as which of ours."""
    # `train_sft` and its like are not taken for `train` by themselves.
    exact = {of: [key for key in keys if called_exactly(key) == of] for of in SPLITS}
    wanted = [split] if split else [of for of, found in exact.items() if found]
    for of in wanted:
        if len(exact[of]) > 1:
            raise UserError(
                f"hub:{name}: found the splits {', '.join(exact[of])}, which all speak of {of}; "
                "expected one. Save the one that is meant in a file, and give that as `source`"
            )
    if chosen := {of: exact[of][0] for of in wanted if exact[of]}:
        return chosen
    if split is not None and len(keys) == 1:
        return {split: keys[0]}
    expected = split or "train, validation or test"
    raise UserError(f"hub:{name}: found the splits {', '.join(keys)}, expected {expected}")


def _table(rows: "datasets.Dataset", name: str, key: str, limit: int | None) -> Table:
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    place = f"hub:{name}/{key}"
    return Table(place, place, rows.column_names, records_of(rows), classes=class_names(rows))


def _way_out(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return (
        f"hub:{name}: found {type(error).__name__}: {first}; expected a dataset on the hub that "
        "this machine can reach. Without the hub: get the data elsewhere and give `source` a "
        "local file (.jsonl, .json, .csv, .parquet), a folder with train and test files, or a "
        "`save_to_disk` folder. For a private dataset set HF_TOKEN in the environment."
    )


_TIMEOUT_S = 60


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not away from https."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, target: Path, context: ssl.SSLContext | None = None) -> None:
    """Streams `url` to `target`. Raises `UserError` where it is not there whole."""
    _require_https(url)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _HttpsOnly())
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as reply, target.open("wb") as file:
            shutil.copyfileobj(reply, file, 1 << 20)
            expected = reply.headers.get("Content-Length")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        query = url.partition("?")[2]  # some faults name it without the address before it
        said = str(error).replace(query, "…") if query else str(error)
        raise UserError(
            f"{without_query(url)}: found {type(error).__name__}: {said}, expected a file that "
            "this machine can download; without the network give `source` a local file"
        ) from None
    size = target.stat().st_size
    # Reading in pieces does not notice a connection that ends early.
    if expected is not None and size != int(expected):
        raise UserError(
            f"{without_query(url)}: found {size} bytes, expected {expected}; start again"
        )


def _require_https(url: str) -> None:
    if not url.startswith("https://"):
        raise UserError(
            f"{without_query(url)}: found an address that is not encrypted, expected https://"
        )
