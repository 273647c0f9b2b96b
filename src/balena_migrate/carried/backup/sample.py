# SPDX-License-Identifier: Apache-2.0
"""Estimates from a few samples how well files will compress."""

from __future__ import annotations

import contextlib
import os
import zlib

from balena_migrate.carried.backup.sink import LEVEL
from balena_migrate.carried.backup.tree import Entry
from balena_migrate.core.units import KIB

SAMPLE_BYTES = 64 * KIB
SAMPLES = 128


class Sampler:
    """Keeps points at equal distances in the sum of all files: at most SAMPLES, however many files there are."""

    def __init__(self) -> None:
        self._points: list[tuple[str, int]] = []
        self._stride_bytes = SAMPLE_BYTES
        self._next = 0
        self._total_bytes = 0

    def add(self, entry: Entry) -> None:
        end = self._total_bytes + entry.content_bytes
        while self._next < end:
            self._points.append((entry.real, self._next - self._total_bytes))
            if len(self._points) > SAMPLES:
                self._points = self._points[::2]
                self._stride_bytes *= 2
            self._next += self._stride_bytes
        self._total_bytes = end

    def ratio(self) -> float:
        """Compressed size by size, from 0 to a little above 1; 1 where nothing can be read."""
        raw = packed = 0
        for real, offset in self._points:
            data = _read(real, offset)
            raw += len(data)
            packed += len(zlib.compress(data, LEVEL))
        return packed / raw if raw else 1.0


def _read(real: str, offset: int) -> bytes:
    with contextlib.suppress(OSError):
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.pread(fd, SAMPLE_BYTES, offset)
        finally:
            os.close(fd)
    return b""
