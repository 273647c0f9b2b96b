# SPDX-License-Identifier: Apache-2.0
"""A gzip file that can be rewound to a mark while it is written, and knows its SHA-256."""

from __future__ import annotations

import queue
import threading
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

from balena_migrate.core.digest import Digester
from balena_migrate.core.units import KIB

LEVEL = 3
"""Of zlib's levels the last fast one: on a device of 2012 the backup has to end the same day."""

BATCH_BYTES = 256 * KIB
"""So much at least is compressed at once: for less, handing it over would take longer."""

BATCHES = 3
"""How many batches at most wait while one is compressed and the next one is gathered."""

_GZIP_WINDOW = 31
"""Window bits 15 plus 16: a gzip header and trailer around the deflate stream (zlib.h, deflateInit2)."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment in the life of a sink; opaque."""

    raw_bytes: int
    compressor: Any
    packed: Digester


class GzipSink:
    """Compresses into an open file, in a thread of its own, which ends with the `with` block.

    The memory it takes does not depend on how much is written. An OSError of the file is raised by whichever later
    method meets it, by `finish` at the latest.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self._packed = Digester(file=file)
        self._thread = threading.Thread(target=self._compress_all, name="backup", daemon=True)
        self._batches: queue.Queue[bytes | None] = queue.Queue(BATCHES)
        self._error: BaseException | None = None
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self.raw_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._batches.put(None)
        self._thread.join()

    @property
    def size_bytes(self) -> int:
        """What is in the file so far; zlib may hold back more, and the thread."""
        return self._packed.size_bytes

    def write(self, data: bytes) -> None:
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        self.raw_bytes += len(data)
        if self._gathered_bytes >= BATCH_BYTES:
            self._hand_over()

    def mark(self) -> Mark:
        self._settle()
        return Mark(raw_bytes=self.raw_bytes, compressor=self._compressor.copy(), packed=self._packed.copy())

    def back_to(self, mark: Mark) -> None:
        """Whatever was written since the mark never was."""
        self._settle()
        if self.size_bytes != mark.packed.size_bytes:
            self._file.seek(mark.packed.size_bytes)
            self._file.truncate()
        self._compressor = mark.compressor.copy()
        self._packed = mark.packed.copy()
        self.raw_bytes = mark.raw_bytes

    def finish(self) -> str:
        """The file is a complete gzip file; returns its SHA-256 in hexadecimal."""
        self._settle()
        self._packed.write(self._compressor.flush())
        self._file.flush()
        return self._packed.digest().sha256

    def _hand_over(self) -> None:
        batch = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        self._batches.put(batch)
        self._raise_error()

    def _settle(self) -> None:
        """All that was written has been compressed; the thread is idle."""
        self._hand_over()
        self._batches.join()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _compress_all(self) -> None:
        """The thread: after an error it only empties the queue, so that nobody waits for it."""
        while (batch := self._batches.get()) is not None:
            try:
                if self._error is None:
                    self._packed.write(self._compressor.compress(batch))
            except BaseException as error:
                self._error = error
            finally:
                self._batches.task_done()
