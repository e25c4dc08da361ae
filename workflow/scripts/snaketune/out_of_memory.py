"""How a lack of memory looks. Told without torch, which not every job has loaded."""

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
