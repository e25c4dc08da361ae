"""Progress lines with rate and time left, for logs and terminals alike."""

import sys
import time


class Progress:
    """Counts `unit`s towards `total` and prints a line at most every `every` seconds."""

    def __init__(self, total: int, unit: str, every: float = 5.0, done: int = 0) -> None:
        self.total, self.unit, self.every = total, unit, every
        self.done = self._resumed_at = done
        self._start = self._last = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        """Counts `n` more; `note` is appended to the line, where one is due."""
        self.done += n
        now = time.monotonic()
        if now - self._last >= self.every or self.done >= self.total:
            self._last = now
            print(self.line(now, note), file=sys.stderr, flush=True)

    def line(self, now: float, note: str = "") -> str:
        """`120/320 rows, 38.2 rows/s, 0:05 left, loss 0.41`"""
        rate = (self.done - self._resumed_at) / max(now - self._start, 1e-9)
        left = int((self.total - self.done) / rate) if rate else 0
        text = f"{self.done}/{self.total} {self.unit}, {rate:.3g} {self.unit}/s, "
        text += f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return f"{text}, {note}" if note else text
