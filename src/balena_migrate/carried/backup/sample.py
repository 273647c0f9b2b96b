# SPDX-License-Identifier: Apache-2.0
"""Estimates from a few samples how well files will compress, and how long that takes."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from balena_migrate.carried.backup.holes import find_data, may_have_holes
from balena_migrate.carried.backup.sink import LEVEL
from balena_migrate.carried.backup.tree import Entry
from balena_migrate.core.units import KIB, MIB

SAMPLE_BYTES = 64 * KIB
SAMPLES = 128


class Sampler:
    """Keeps points at equal distances in the sum of all data: at most SAMPLES, however many files there are.

    Holes count apart. Points in them would say that the data compress as well as zeros do.
    """

    def __init__(self) -> None:
        self._points: list[tuple[str, int]] = []
        self._stride_bytes = SAMPLE_BYTES
        self._next = 0
        self._data_bytes = self._hole_bytes = 0

    def add(self, entry: Entry) -> int:
        """The bytes of the file's holes, which are not in the samples."""
        data_bytes = 0
        for start, end in _data_of(entry):
            self._add_range(entry.real, start, end)
            data_bytes += end - start
        self._hole_bytes += entry.content_bytes - data_bytes
        return entry.content_bytes - data_bytes

    def _add_range(self, real: str, start: int, end: int) -> None:
        after = self._data_bytes + end - start
        while self._next < after:
            self._points.append((real, start + self._next - self._data_bytes))
            if len(self._points) > SAMPLES:
                self._points = self._points[::2]
                self._stride_bytes *= 2
            self._next += self._stride_bytes
        self._data_bytes = after

    def estimate(self) -> tuple[float, float]:
        """The compressed size by the size, from 0 to a little above 1 (1 where nothing can be read), and the seconds
        that compressing all takes at least, by what the samples take on this machine."""
        data, zeros = _Measured(), _Measured()
        for real, offset in self._points:
            data.add(_read(real, offset))
        if self._hole_bytes:
            zeros.add(bytes(MIB))
        size_bytes = self._data_bytes + self._hole_bytes
        parts = ((data, self._data_bytes), (zeros, self._hole_bytes))
        packed = sum(measured.ratio * count for measured, count in parts)
        seconds = sum(measured.byte_s * count for measured, count in parts)
        return packed / size_bytes if size_bytes else 1.0, seconds


class _Measured:
    """What compressing some samples has given."""

    def __init__(self) -> None:
        self._raw = self._packed = 0
        self._seconds = 0.0

    def add(self, sample: bytes) -> None:
        start = time.perf_counter()
        self._packed += len(zlib.compress(sample, LEVEL))
        self._seconds += time.perf_counter() - start
        self._raw += len(sample)

    @property
    def ratio(self) -> float:
        return self._packed / self._raw if self._raw else 1.0

    @property
    def byte_s(self) -> float:
        return self._seconds / self._raw if self._raw else 0.0


def _data_of(entry: Entry) -> Iterator[tuple[int, int]]:
    """Where data is in the file; all of it where it cannot be opened, and nowhere in what is not a file."""
    if not (entry.is_file and may_have_holes(entry.info)):
        yield 0, entry.content_bytes
        return
    with _opened(entry.real) as fd:
        if fd is None:
            yield 0, entry.content_bytes
        else:
            yield from find_data(fd, entry.content_bytes)


def _read(real: str, offset: int) -> bytes:
    with _opened(real) as fd:
        try:
            return os.pread(fd, SAMPLE_BYTES, offset) if fd is not None else b""
        except OSError:
            return b""


@contextmanager
def _opened(real: str) -> Iterator[int | None]:
    """The file's descriptor; None where it cannot be opened."""
    try:
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)
