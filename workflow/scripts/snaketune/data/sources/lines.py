"""Text files as UTF-8, with the place of the first byte that is not."""

from pathlib import Path

from snaketune.runtime.errors import UserError


def read_text(path: Path, place: str) -> str:
    """The file's text without a byte order mark. Raises `UserError`, which names the file as
    `place`, where it is not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{place}: found {error.strerror}, expected a readable file") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{place}: line {line}: found the byte 0x{data[error.start]:02x} (byte "
            f"{error.start + 1} of the file), expected UTF-8 text"
        ) from None
