# SPDX-License-Identifier: Apache-2.0
"""The disk: past the page cache where that is possible, and right in any case."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balena_migrate.core.units import MIB
from balena_migrate.stage2.aligned import aligned_memory
from balena_migrate.stage2.target import READ_BYTES, Disk

CONTENT = random.Random(7).randbytes(3 * MIB + 512)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "disk"
    found.write_bytes(CONTENT)
    return found


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Disk]:
    with contextlib.closing(Disk(os.open(path, os.O_RDWR), path)) as disk:
        yield disk


class Calls:
    """Counts what goes past the cache and what goes through it, and refuses the former where it shall."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...] = ()) -> None:
        self.direct: list[str] = []
        self.cached: list[str] = []
        self.refused = refused
        for name in ("pwrite", "preadv"):
            monkeypatch.setattr(os, name, self.watched(name, getattr(os, name)))

    def watched(self, name: str, call: Callable[..., int]) -> Callable[..., int]:
        def watch(fd: int, data: object, offset: int) -> int:
            is_direct = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
            (self.direct if is_direct else self.cached).append(name)
            if is_direct and name in self.refused:
                raise OSError(errno.EINVAL, "Invalid argument")
            return call(fd, data, offset)

        return watch


def aligned(content: bytes) -> memoryview:
    found = aligned_memory(len(content))
    found[:] = content
    return found


def test_what_is_aligned_is_written_and_read_past_the_cache(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    with opened(path) as disk:
        disk.write(MIB, aligned(b"new!" * 2048))
        disk.sync()
        assert disk.read(MIB, 8192) == b"new!" * 2048
        assert disk.reads_directly
    assert (calls.direct, calls.cached) == (["pwrite", "preadv"], [])


@pytest.mark.parametrize(("offset", "skip", "size"), [(512, 0, 4096), (0, 512, 4096), (4096, 0, 512), (4096, 0, 5000)])
def test_what_is_not_aligned_is_written_through_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, skip: int, size: int
) -> None:
    calls = Calls(monkeypatch)
    data = aligned(b"odd " * 2048)[skip : skip + size]
    with opened(path) as disk:
        disk.write(offset, data)
        disk.sync()
        assert disk.read(offset, size) == data
        assert disk.reads_directly
    assert (calls.direct, calls.cached) == (["preadv"], ["pwrite"])
    assert path.read_bytes() == CONTENT[:offset] + bytes(data) + CONTENT[offset + size :]


@pytest.mark.parametrize("refused", [("pwrite",), ("preadv",), ("pwrite", "preadv")])
def test_a_disk_that_refuses_it_is_asked_once_and_then_used_through_the_cache(
    path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...]
) -> None:
    """A disk may refuse one of the two."""
    calls = Calls(monkeypatch, refused)
    with opened(path) as disk:
        for place in (0, MIB):
            disk.write(place, aligned(b"new!" * 1024))
            disk.sync()
            assert disk.read(place, 4096) == b"new!" * 1024
        assert disk.reads_directly == ("preadv" not in refused)
    for name in ("pwrite", "preadv"):
        assert calls.direct.count(name) == (1 if name in refused else 2)
        assert calls.cached.count(name) == (2 if name in refused else 0)


def test_an_error_that_is_no_refusal_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", fail)
    monkeypatch.setattr(os, "preadv", fail)
    with opened(path) as disk:
        with pytest.raises(OSError, match="Input/output"):
            disk.write(0, aligned(bytes(4096)))
        with pytest.raises(OSError, match="Input/output"):
            disk.read(0, 4096)
        assert disk.reads_directly


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, len(CONTENT)), size=st.integers(1, READ_BYTES))
def test_any_place_can_be_read_and_fewer_bytes_only_at_the_end(path: Path, offset: int, size: int) -> None:
    """What the kernel is asked for is aligned: not every file system minds."""
    preadv = os.preadv

    def checked(fd: int, buffers: list[memoryview], start: int) -> int:
        assert start % 4096 == len(buffers[0]) % 4096 == 0
        return preadv(fd, buffers, start)

    with opened(path) as disk, mock.patch.object(os, "preadv", checked):
        assert disk.read(offset, size) == CONTENT[offset : offset + size]
        assert disk.reads_directly
