"""What a job's log says of a fault, and what to do about it: no traceback for faults of what the
user gave, nor for a lack of memory or of room on a disk. And text of others, as it may be shown: a
function a door. (Pages escape by their templates, LaTeX and XML stand where they are written.)

Light: everything imports this. A lack of memory is told without torch, which not every job loads.
"""

import errno
import re


class UserError(Exception):
    """A fault in what the user gave: config, data, model folder, machine.

    The message names the file, the line or record, the field, what was found and what was
    expected. It is shown without a traceback. It may quote what others wrote, and is made visible.
    """

    def __init__(self, message: str) -> None:
        super().__init__(visible(unsigned_text(message)))


# Of the GPU's driver and libraries, and of the CPU's allocator.
_TEXTS = ("out of memory", "STATUS_ALLOC_FAILED", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host had no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def first_line(error: BaseException) -> str:
    """What the error says, in a line; Python's own `MemoryError` says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


_AGAIN = "then start the same command again; finished steps stay finished."
_NO_ROOM = (
    "out of memory where nothing can be done in smaller parts; expected room for the model and "
    "what is trained of it: take a smaller model, nf4 (method qlora), a GPU with more memory or, "
    "where main memory ran out, a larger `resources: {memory_gb: N}`"
)
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def is_told(error: BaseException) -> bool:
    """Whether the fault's own words are enough, without where in the code it was met."""
    return isinstance(error, UserError) or is_out_of_memory(error) or _is_full_disk(error)


def fault_lines(error: BaseException) -> str:
    """What a log ends with: the fault, where it is told, and what to do about this one."""
    if is_out_of_memory(error):
        return (
            f"error: {_NO_ROOM} ({first_line(error)})\n"
            f"What to do: make room in one of these ways, {_AGAIN}"
        )
    if _is_full_disk(error):
        return (
            f"error: {first_line(error)}: the disk or a quota on it is full\n"
            f"What to do: free room there, or write elsewhere (`--config output=FOLDER`), {_AGAIN}"
        )
    if isinstance(error, UserError):
        return f"error: {error}\nWhat to do: mend what this names, {_AGAIN}"
    if isinstance(error, ImportError):
        return (
            "What to do: a package is missing, or there in another version than "
            f"envs/constraints.txt says: install the environment again, {_AGAIN}"
        )
    return (
        "What to do: this is a fault of the program or of a library, not one that it knows of what "
        "it was given. Start the same command again; if it fails alike, report it with this log."
    )


def _is_full_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL_DISK


# What is unseen but changes what is seen: control characters, direction marks, lone surrogates.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
                     "\ud800-\udfff\ufffe\uffff]")  # fmt: skip


def visible(text: str) -> str:
    """`text` with every unseen character as ⟨U+202E⟩, so that it can't reorder or hide the words
    around it."""
    plain = text.replace("\r\n", "\n")
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", plain)


_ADDRESS = re.compile(r"://([^\s'\"<>]+)")


def unsigned_text(text: str) -> str:
    """`text` without what gives access in its addresses: who asks (`user:password@`), and all that
    stands behind `?`, which may be a signature."""
    return _ADDRESS.sub(_unsigned, text) if "://" in text else text


def _unsigned(found: re.Match[str]) -> str:
    address, mark, query = found[1].partition("?")
    place, slash, path = address.partition("/")
    user, at, host = place.rpartition("@")
    return f"://{'…' if user else ''}{at}{host}{slash}{path}{mark}{'…' if query else ''}"


# What GitHub's runner takes for a command to itself, wherever in a job's output a line begins so.
_COMMAND = re.compile(r"^([^\S\n]*+)(:(?=:)|#(?=#\[))", re.MULTILINE)


def in_terminal(text: str) -> str:
    """`text` as it may stand in a terminal, or in the output of a CI's job."""
    return _COMMAND.sub(r"\1\2 ", visible(unsigned_text(text)))


_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"} | {"\n": " ", "\r": " "})


def in_markdown(text: str) -> str:
    """`text` as words of a paragraph or a cell of Markdown, whatever it holds."""
    return visible(text).translate(_MARKDOWN)


# A spreadsheet takes a cell that begins so for a formula, wherever the file came from.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def in_cell(text: str) -> str:
    """`text` as a cell of a CSV: behind `'`, as spreadsheets mark text, where they would compute
    it; negative numbers stay."""
    if not _FORMULA.match(text) or (text[0] == "-" and _is_plain_number(text[1:])):
        return text
    return f"'{text}"


def _is_plain_number(text: str) -> bool:
    digits = text.replace(".", "", 1).replace(",", "")
    return digits.isascii() and digits.isdigit()
