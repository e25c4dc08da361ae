"""What identifies a step: plain values and the content of files."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snaketune.hash_memory import Seen

_SMALL = 65536  # bytes; a smaller file is read faster than it is remembered
_READERS = 4  # files at once; with more, disks are what takes the time


def digest(value: object) -> str:
    """12 hex digits of `value` as canonical JSON: key order and machine play no part."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """`file_hash`, which for a file that is as it was last time takes no reading."""
    seen = Seen(path)
    if seen.size < _SMALL:
        return file_hash(path)
    known = seen.recall()
    if known is None:
        known = file_hash(path)
        seen.remember(known)
    return known


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """`content_hash` of each, several at once: hashing leaves the interpreter to others."""
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(content_hash, paths))
