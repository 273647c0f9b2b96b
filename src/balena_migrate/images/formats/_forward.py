# SPDX-License-Identifier: Apache-2.0
"""A source that is read forward, with what was read of it already, and where in the file that is."""

from __future__ import annotations

from balena_migrate.core.errors import ImageError
from balena_migrate.images.formats import DOWNLOAD_AGAIN, INPUT_BYTES, Source


class Forward:
    """The bytes of a source, in order; INPUT_BYTES of it, and what was peeked at, are in memory."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held = b""
        self._used = 0
        """How much of that was given."""
        self.position = 0
        """Where in the file the next byte is."""

    def some(self, limit_bytes: int = INPUT_BYTES) -> bytes:
        """The next bytes, as many as are at hand; none at the file's end."""
        if self._used == len(self._held):
            self._held, self._used = self._source.read(INPUT_BYTES), 0
        found = self._held[self._used : self._used + limit_bytes]
        self._go(len(found))
        return found

    def step_back(self, size: int) -> None:
        """The last bytes that some() gave are the next again."""
        self._go(-size)

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay the next; fewer at the file's end."""
        while len(self._held) - self._used < size and (more := self._source.read(INPUT_BYTES)):
            self._held, self._used = self._held[self._used :] + more, 0
        return self._held[self._used : self._used + size]

    def take(self, size: int) -> bytes:
        """The next bytes, all of them. Raises ImageError where the file ends before."""
        found = self.peek(size)
        if len(found) < size:
            raise self.cut_short()
        self._go(size)
        return found

    def _go(self, size: int) -> None:
        self._used += size
        self.position += size

    def skip_zeros(self) -> int:
        """How many zeros came next, which are skipped."""
        start = self.position
        while data := self.some():
            rest = data.lstrip(b"\0")
            if rest:
                self.step_back(len(rest))
                break
        return self.position - start

    def cut_short(self) -> ImageError:
        """The error for a file that ends here, and should not."""
        where = self.position + len(self._held) - self._used
        return ImageError(f"is cut short: it ends at byte {where}, within the packed data", hint=DOWNLOAD_AGAIN)

    def something_else(self) -> ImageError:
        """The error for what is here, and belongs to no file of the format."""
        reason = f"holds something else behind the packed data, from byte {self.position}"
        return ImageError(reason, hint=DOWNLOAD_AGAIN)
