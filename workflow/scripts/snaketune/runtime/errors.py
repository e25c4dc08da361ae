"""What a job's log says instead of a traceback: faults of what the user gave, and a lack of memory.

Light: everything imports this. A lack of memory is told without torch, which not every job loads.
"""


class UserError(Exception):
    """A fault in what the user gave: config, data, model folder, machine.

    The message names the file, the line or record, the field, what was found and what was
    expected. It is shown without a traceback.
    """


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
