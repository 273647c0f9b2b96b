# SPDX-License-Identifier: Apache-2.0
"""The engine on disks that fail: for a moment, at one place, for good, or by claiming to be larger than they are."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.core.errors import FlashError
from balena_migrate.core.units import KIB, MIB
from balena_migrate.stage2.flash import FlashReport, FlashResult
from balena_migrate.stage2.patience import PAUSES_S
from balena_migrate.stage2.readback import REWRITES
from tests.support.flash import GOAL, IMAGE, PACKED, PATCHES, WINDOW_BYTES, FakeDisk, Fault, flash_image, spoilt

pytestmark = pytest.mark.usefixtures("small_windows")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No pause takes time; they are kept."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@contextlib.contextmanager
def opened(path: Path, fault: Fault | None = None) -> Iterator[FakeDisk]:
    with contextlib.closing(FakeDisk(path, fault)) as disk:
        yield disk


def run(disk: FakeDisk, said: list[str] | None = None, report: FlashReport = lambda progress: None) -> FlashResult:
    source, log = io.BytesIO(PACKED), [] if said is None else said
    return flash_image(source, "gzip", len(IMAGE), disk, PATCHES, report, log.append)


def failing(kind: str, place: int, times: int) -> Fault:
    """An error at the first `times` writes or reads of this place; a flush has the place 0."""
    left = itertools.count(times, -1)

    def fault(here: str, offset: int, data: bytes) -> bytes:
        if here == kind and offset <= place < offset + max(len(data), 1) and next(left) > 0:
            raise OSError(errno.EIO, "Input/output error")
        return data

    return fault


@pytest.mark.parametrize(("kind", "place"), [("write", 0), ("write", 6 * MIB), ("sync", 0)])
def test_a_write_or_flush_that_fails_once_is_done_again(target: Path, kind: str, place: int) -> None:
    """Also the very first; and what a failed flush may have lost is written again before the next."""
    said: list[str] = []
    with opened(target, failing(kind, place, 1)) as disk:
        run(disk, said)
    assert target.read_bytes()[: len(IMAGE)] == GOAL
    assert len(said) == 1
    start, end = map(int, re.findall(r"writing bytes (\d+) to (\d+): ", said[0])[0])
    assert start <= place < end
    assert said[0].endswith("Input/output error; try 1 failed, the next one comes in 1 s")
    assert len([entry for entry in disk.log if entry[0] == "write" and entry[1] == start]) >= 2


def test_a_write_that_fails_again_and_again_is_tried_without_end_with_growing_pauses(
    target: Path, pauses: list[float]
) -> None:
    said: list[str] = []
    with opened(target, failing("write", 9 * MIB, 50)) as disk:
        run(disk, said)
    assert target.read_bytes()[: len(IMAGE)] == GOAL
    assert pauses == [*PAUSES_S, *[PAUSES_S[-1]] * (50 - len(PAUSES_S))]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 30
    assert [int(found) for line in said for found in re.findall(r"try (\d+) failed", line)] == [*range(1, 51)]
    assert [float(found) for line in said for found in re.findall(r"comes in (\d+) s", line)] == pauses


@pytest.mark.parametrize("kind", ["write", "read"])
def test_a_place_that_reads_back_wrong_is_written_again(target: Path, kind: str) -> None:
    """Once lost on its way to the disk, or once misread."""
    left, said = [3 * MIB, 5 * MIB + 70], list[str]()

    def fault(here: str, offset: int, data: bytes) -> bytes:
        for place in left[:]:
            if here == kind and (found := spoilt(data, offset, place)) != data:
                left.remove(place)
                return found
        return data

    with opened(target, fault) as disk:
        assert run(disk, said).rewritten_runs == 2
    assert target.read_bytes()[: len(IMAGE)] == GOAL
    assert f"bytes {3 * MIB} to {4 * MIB} read back wrong" in said[0]


def test_a_place_that_cannot_be_read_is_written_again(target: Path) -> None:
    """As a disk that replaces a bad sector when it is written."""
    said: list[str] = []
    with opened(target, failing("read", 7 * MIB, 1)) as disk:
        assert run(disk, said).rewritten_runs == 1
    assert target.read_bytes()[: len(IMAGE)] == GOAL
    place = f"bytes {7 * MIB} to {8 * MIB} cannot be read back: Input/output error"
    assert [line.split(": ", 1)[1] for line in said] == [f"{place}; written again in parts of 1 MiB"]


@pytest.mark.parametrize("part_bytes", [64 * KIB, 4 * KIB])
def test_a_spot_that_takes_only_small_writes_gets_them(target: Path, part_bytes: int) -> None:
    place = 10 * MIB + 123_456

    def fault(kind: str, offset: int, data: bytes) -> bytes:
        return spoilt(data, offset, place) if kind == "write" and len(data) > part_bytes else data

    said: list[str] = []
    with opened(target, fault) as disk:
        assert run(disk, said).rewritten_runs == 1
    assert target.read_bytes()[: len(IMAGE)] == GOAL
    assert said[-1].endswith(f"written again in parts of {part_bytes // KIB} KiB")
    small = [entry for entry in disk.log if entry[0] == "write" and 0 < entry[2] <= part_bytes]
    assert ("write", place - place % part_bytes, part_bytes) in small


def test_a_spot_that_is_wrong_for_good_is_named_and_the_disk_does_not_boot(target: Path) -> None:
    """All around it is right."""
    place = 4 * MIB + 50_000

    def fault(kind: str, offset: int, data: bytes) -> bytes:
        return spoilt(data, offset, place) if kind == "write" else data

    start = place - place % 4096
    with opened(target, fault) as disk, pytest.raises(FlashError, match=f"bytes {start} to {start + 4096} read back"):
        run(disk)
    assert sum(1 for entry in disk.log if entry == ("write", start, 4096)) == REWRITES
    new = target.read_bytes()
    assert new[:MIB] == bytes(MIB)
    assert new[MIB:place] == GOAL[MIB:place]
    assert new[place + 1 : 5 * MIB] == GOAL[place + 1 : 5 * MIB]


@pytest.mark.parametrize("place", [0, 5000])
def test_a_first_mib_that_reads_back_wrong(target: Path, place: int) -> None:
    def fault(kind: str, offset: int, data: bytes) -> bytes:
        return spoilt(data, offset, place) if kind == "read" else data

    start = place - place % 4096
    with opened(target, fault) as disk, pytest.raises(FlashError, match=f"bytes {start} to {start + 4096} read back"):
        run(disk)
    if place:
        assert target.read_bytes()[:4096] == bytes(4096), "sector 0 is written only when the rest is right"


class Forged(FakeDisk):
    """A card that is smaller than it claims: what is written behind its real end comes out at its start."""

    real_bytes = 0

    def write(self, offset_bytes: int, data: memoryview) -> None:
        for start in range(0, len(data), 4096):
            super().write((offset_bytes + start) % self.real_bytes, data[start : start + 4096])

    def read(self, offset_bytes: int, size_bytes: int) -> memoryview:
        found = bytearray()
        while len(found) < size_bytes:
            part_bytes = min(4096, size_bytes - len(found))
            found += super().read((offset_bytes + len(found)) % self.real_bytes, part_bytes)
        return memoryview(found)


@pytest.mark.long
@pytest.mark.parametrize("real_mib", [2, 6, 13, 16])
def test_a_disk_that_lies_about_its_size(target: Path, real_mib: int) -> None:
    """Whether it is filled once or several times over; at 16 MiB only the first MiB lies under the last."""
    with contextlib.closing(Forged(target)) as disk:
        disk.real_bytes = real_mib * MIB
        with pytest.raises(FlashError, match="smaller than it claims"):
            run(disk)


def test_what_a_later_write_spoils_is_found_and_put_right(target: Path) -> None:
    """It was right when it was read back: only the last look can see it."""
    place, was_read, done = 3 * MIB, threading.Event(), list[int]()

    def fault(kind: str, offset: int, data: bytes) -> bytes:
        if kind == "read" and offset == place:
            was_read.set()
        if kind == "write" and offset == MIB + 3 * WINDOW_BYTES and not done:
            assert was_read.wait(30)
            done.append(offset)
            with target.open("r+b") as file:
                os.pwrite(file.fileno(), b"x" * MIB, place)
        return data

    said, verified = list[str](), list[int]()
    with opened(target, fault) as disk:
        assert run(disk, said, lambda progress: verified.append(progress.verified_bytes)).rewritten_runs == 1
    assert target.read_bytes()[: len(IMAGE)] == GOAL
    assert f"1 of the places that were right are not any more, one at byte {place + MIB // 2}" in said[0]
    assert len(said) == 2
    assert max(verified) == verified[-1]
    assert verified != sorted(verified), "it begins anew"


@pytest.mark.parametrize("error", [None, OSError(errno.EIO, "Input/output error")])
def test_a_block_that_is_only_misread_in_the_last_look_is_no_error(target: Path, error: OSError | None) -> None:
    reads: list[int] = []

    def fault(kind: str, offset: int, data: bytes) -> bytes:
        if kind == "read" and len(data) == 4096:
            reads.append(offset)
            if len(reads) == 3 and error:
                raise error
            return bytes(4096) if len(reads) == 3 else data
        return data

    with opened(target, fault) as disk:
        assert run(disk).rewritten_runs == 0
    assert target.read_bytes()[: len(IMAGE)] == GOAL


def test_an_error_that_nobody_foresaw_in_the_read_back_ends_the_flash(target: Path) -> None:
    """And no thread is left."""

    def fault(kind: str, offset: int, data: bytes) -> bytes:
        if kind == "read" and offset == 2 * MIB:
            raise ZeroDivisionError
        return data

    before = threading.active_count()
    with opened(target, fault) as disk, pytest.raises(ZeroDivisionError):
        run(disk)
    assert threading.active_count() == before
    assert target.read_bytes()[:MIB] == bytes(MIB)
