# SPDX-License-Identifier: Apache-2.0
"""The engine on files in place of disks: order of writes, failures, limits."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from balena_migrate.core.errors import DiskError, FlashError
from balena_migrate.core.units import MIB
from balena_migrate.images.patches import Block, Patches
from balena_migrate.images.pieces import Piece, in_chunks, piece, zeros
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import CHUNK_BYTES, REWRITES, FlashResult, FlashStep, write_image
from balena_migrate.stage2.target import Disk
from tests.support.flash import flash_image

IMAGE = random.Random(0).randbytes(3 * MIB) + bytes(2 * MIB) + random.Random(1).randbytes(12 * MIB + 1536)
PACKED = gzip.compress(IMAGE[: 5 * MIB + 7], 1) + gzip.compress(IMAGE[5 * MIB + 7 :], 1)
PATCHES = Patches(
    size_bytes=len(IMAGE),
    blocks=(
        Block(offset_bytes=4096, content=b"core" * 1024),
        Block(offset_bytes=2 * MIB - 4096, content=b"over the border" * 600),
        Block(offset_bytes=len(IMAGE) - 5, content=b"patch"),
    ),
)
GOAL = PATCHES.apply(0, IMAGE)


class FakeDisk(Disk):
    """Records its writes, and calls `fault` before each write and on each read."""

    def __init__(self, path: Path, fault: Callable[[str, int, bytes], bytes] | None = None) -> None:
        super().__init__(os.open(path, os.O_RDWR), path)
        self.log: list[tuple[str, int, int]] = []
        self.fault = fault or (lambda kind, offset, data: data)

    def write(self, offset: int, data: bytes) -> None:
        self.log.append(("write", offset, len(data)))
        super().write(offset, self.fault("write", offset, data))

    def sync(self) -> None:
        self.log.append(("sync", 0, 0))
        super().sync()

    def read(self, offset: int, length: int) -> bytes:
        self.log.append(("read", offset, length))
        return self.fault("read", offset, super().read(offset, length))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"old system " * (20 * MIB // 11))
    return path


@contextlib.contextmanager
def opened(path: Path, fault: Callable[[str, int, bytes], bytes] | None = None) -> Iterator[FakeDisk]:
    with contextlib.closing(FakeDisk(path, fault)) as disk:
        yield disk


def run(disk: Disk, packed: bytes = PACKED, patches: Patches = PATCHES) -> FlashResult:
    source = io.BytesIO(packed)
    return flash_image(source, "gzip", len(IMAGE), disk, patches)


def test_the_disk_holds_the_image_with_its_patches_and_keeps_the_rest(target: Path) -> None:
    old = target.read_bytes()
    with opened(target) as disk:
        result = run(disk)
    new = target.read_bytes()
    assert new[: len(IMAGE)] == GOAL
    assert new[len(IMAGE) :] == old[len(IMAGE) :]
    assert result.size_bytes == len(IMAGE)
    assert result.rewritten_chunks == 0


TAIL = Block(offset_bytes=19 * MIB + 512, content=b"the copy of a GPT" * 990)
WITH_TAIL = Patches(size_bytes=len(IMAGE), blocks=(*PATCHES.blocks, TAIL))


def test_what_lies_behind_the_image_is_written_and_nothing_beside_it(target: Path) -> None:
    old = target.read_bytes()
    with opened(target) as disk:
        run(disk, patches=WITH_TAIL)
    new = target.read_bytes()
    assert new[: len(IMAGE)] == GOAL
    assert new[len(IMAGE) : TAIL.offset_bytes] == old[len(IMAGE) : TAIL.offset_bytes]
    assert new[TAIL.offset_bytes : TAIL.end_bytes] == TAIL.content
    assert new[TAIL.end_bytes :] == old[TAIL.end_bytes :]


def test_what_lies_behind_the_image_is_read_back_and_written_again(target: Path) -> None:
    torn: list[int] = []

    def tear(kind: str, offset: int, data: bytes) -> bytes:
        if kind == "write" and offset == TAIL.offset_bytes and not torn:
            torn.append(offset)
            return data[:-1] + b"!"
        return data

    with opened(target, tear) as disk:
        assert run(disk, patches=WITH_TAIL).rewritten_chunks == 1
    assert target.read_bytes()[TAIL.offset_bytes : TAIL.end_bytes] == TAIL.content


def test_progress_never_passes_the_end(target: Path) -> None:
    told: list[int] = []
    os.truncate(target, 64 * MIB)
    far = Patches(size_bytes=len(IMAGE), blocks=(Block(offset_bytes=63 * MIB, content=b"x" * MIB),))
    with opened(target) as disk:
        source = io.BytesIO(PACKED)
        flash_image(source, "gzip", len(IMAGE), disk, far, lambda _, done, total: told.append(done))
    assert max(told) == len(IMAGE)


def test_a_disk_that_ends_before_the_last_patch_is_left_alone(target: Path) -> None:
    old = target.read_bytes()
    far = Patches(size_bytes=len(IMAGE), blocks=(Block(offset_bytes=21 * MIB, content=b"x"),))
    with opened(target) as disk, pytest.raises(DiskError, match="the image needs 22020097"):
        run(disk, patches=far)
    assert target.read_bytes() == old


def test_a_raw_image(target: Path) -> None:
    with opened(target) as disk:
        flash_image(io.BytesIO(IMAGE), "raw", len(IMAGE), disk, PATCHES)
    assert target.read_bytes()[: len(IMAGE)] == GOAL


def test_the_first_mib_is_erased_first_and_written_last_and_sector_0_at_the_very_end(target: Path) -> None:
    """And each of these is on the disk before the next begins."""
    with opened(target) as disk:
        run(disk)
    steps = [(kind, offset) for kind, offset, _ in disk.log]
    assert steps[:2] == [("write", 0), ("sync", 0)]
    last_read = max(i for i, (kind, offset) in enumerate(steps) if kind == "read" and offset)
    assert steps[last_read + 1 : last_read + 5] == [("write", 4096), ("sync", 0), ("write", 0), ("sync", 0)]
    body = steps[2 : last_read + 1]
    assert [offset for kind, offset in body if kind == "write"] == list(range(MIB, len(IMAGE), MIB))
    assert not any(kind == "write" for kind, _ in steps[last_read + 5 :])
    first_read = min(i for i, (kind, _) in enumerate(body) if kind == "read")
    assert body[first_read - 1] == ("sync", 0)


def test_a_power_cut_after_any_write_leaves_no_disk_that_boots_half_a_system(target: Path) -> None:
    """Until the last write the boot sector is zeros; with it the disk is the goal."""

    class PowerCutError(Exception):
        pass

    with opened(target) as disk:
        run(disk)
    writes = sum(1 for kind, _, _ in disk.log if kind == "write")
    for cut in range(1, writes):
        left = [cut]

        def fault(kind: str, offset: int, data: bytes, left: list[int] = left) -> bytes:
            if kind == "write":
                if not left[0]:
                    raise PowerCutError
                left[0] -= 1
            return data

        target.write_bytes(b"old system " * (20 * MIB // 11))
        with opened(target, fault) as disk, pytest.raises(PowerCutError):
            run(disk)
        with target.open("rb") as file:
            assert file.read(4096) == bytes(4096), f"after {cut} writes"
    with opened(target) as disk:
        run(disk)
    assert target.read_bytes()[: len(IMAGE)] == GOAL, "it can be run again"


@pytest.mark.parametrize("packed", [PACKED[:-1], PACKED[: len(PACKED) // 2], PACKED + b"garbage"])
def test_a_damaged_image_is_a_flash_error_and_the_disk_does_not_boot(target: Path, packed: bytes) -> None:
    with opened(target) as disk, pytest.raises(FlashError, match="the image"):
        run(disk, packed)
    assert target.read_bytes()[:MIB] == bytes(MIB)


def test_a_corrupt_byte_in_the_image(target: Path) -> None:
    packed = bytearray(PACKED)
    packed[len(packed) // 2] ^= 0xFF
    with opened(target) as disk, pytest.raises(FlashError, match="the image is damaged"):
        run(disk, bytes(packed))
    assert target.read_bytes()[:MIB] == bytes(MIB)


@pytest.mark.parametrize("size_bytes", [len(IMAGE) - 1, len(IMAGE) + 1])
def test_an_image_of_another_size_than_stage_1_counted(target: Path, size_bytes: int) -> None:
    patches = Patches(size_bytes=size_bytes, blocks=())
    with opened(target) as disk, pytest.raises(FlashError, match="should have"):
        flash_image(io.BytesIO(PACKED), "gzip", size_bytes, disk, patches)
    assert target.read_bytes()[:MIB] == bytes(MIB)


def test_a_disk_that_is_too_small_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"old" * 1000)
    with opened(path) as disk, pytest.raises(DiskError, match="has 3000 bytes, and the image needs"):
        run(disk)
    assert path.read_bytes() == b"old" * 1000


def test_patches_for_another_image_are_refused_before_anything_is_written(target: Path) -> None:
    old = target.read_bytes()
    with opened(target) as disk, pytest.raises(DiskError, match="patches are for an image of 7 bytes"):
        run(disk, patches=Patches(size_bytes=7, blocks=()))
    assert target.read_bytes() == old


def test_an_error_of_the_disk_names_it_and_leaves_it_without_boot_sector(target: Path) -> None:
    def fault(kind: str, offset: int, data: bytes) -> bytes:
        if kind == "write" and offset == 9 * MIB:
            raise OSError(errno.EIO, "Input/output error")
        return data

    with opened(target, fault) as disk, pytest.raises(FlashError, match=r"/disk: Input/output error"):
        run(disk)
    assert target.read_bytes()[:MIB] == bytes(MIB)


def test_an_error_of_the_source_reaches_the_caller(target: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 3 * MIB:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with opened(target) as disk, pytest.raises(FlashError, match="the image cannot be read: Input"):
        flash_image(Broken(PACKED), "gzip", len(IMAGE), disk, PATCHES)


@pytest.mark.parametrize("kind", ["write", "read"])
def test_a_chunk_that_reads_back_wrong_is_written_again(target: Path, kind: str) -> None:
    """Once lost on its way to the disk, or once misread."""
    spoilt = [3 * MIB, 5 * MIB]

    def fault(here: str, offset: int, data: bytes) -> bytes:
        if here == kind and offset in spoilt:
            spoilt.remove(offset)
            return b"\xff" + data[1:]
        return data

    with opened(target, fault) as disk:
        assert run(disk).rewritten_chunks == 2
    assert target.read_bytes()[: len(IMAGE)] == GOAL


def test_a_defective_place_ends_in_an_error_and_no_boot_sector(target: Path) -> None:
    """After a bounded number of tries."""

    def fault(kind: str, offset: int, data: bytes) -> bytes:
        if kind == "read" and offset == 4 * MIB:
            raise OSError(errno.EIO, "Input/output error")
        return data

    with (
        opened(target, fault) as disk,
        pytest.raises(FlashError, match=f"1 MiB read back wrong, the first at byte {4 * MIB}"),
    ):
        run(disk)
    assert sum(1 for entry in disk.log if entry == ("write", 4 * MIB, CHUNK_BYTES)) == REWRITES + 1
    assert target.read_bytes()[:MIB] == bytes(MIB)


def test_a_disk_that_lies_about_its_size(target: Path) -> None:
    """A forged card: what is written behind its real end comes out at its start."""
    real = 6 * MIB

    class Forged(FakeDisk):
        def write(self, offset: int, data: bytes) -> None:
            super().write(offset % real, data)

        def read(self, offset: int, length: int) -> bytes:
            return super().read(offset % real, length)

    with contextlib.closing(Forged(target)) as disk, pytest.raises(FlashError, match="smaller than it claims"):
        run(disk)


def test_a_first_mib_that_reads_back_wrong(target: Path) -> None:
    def fault(kind: str, offset: int, data: bytes) -> bytes:
        return b"\xff" + data[1:] if kind == "read" and offset == 0 else data

    with opened(target, fault) as disk, pytest.raises(FlashError, match="first MiB reads back wrong"):
        run(disk)


def test_the_report_walks_through_the_steps(target: Path) -> None:
    reports: list[tuple[FlashStep, int, int]] = []
    with opened(target) as disk:
        flash_image(io.BytesIO(PACKED), "gzip", len(IMAGE), disk, PATCHES, lambda *args: reports.append(args))
    steps = list(dict.fromkeys(step for step, _, _ in reports))
    assert steps == [FlashStep.ERASE, FlashStep.WRITE, FlashStep.VERIFY, FlashStep.COMMIT]
    assert all(total == len(IMAGE) and 0 <= done <= total for _, done, total in reports)
    for step in (FlashStep.WRITE, FlashStep.VERIFY):
        done = [done for here, done, _ in reports if here == step]
        assert done == sorted(done) and done[-1] == len(IMAGE)


def test_short_writes_are_carried_on(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:300_000], offset))
    with opened(target) as disk:
        run(disk)
    assert target.read_bytes()[: len(IMAGE)] == GOAL


def test_an_image_smaller_than_the_first_mib(target: Path) -> None:
    small = b"small image" * 1000
    patches = Patches(size_bytes=len(small), blocks=())
    with opened(target) as disk:
        flash_image(io.BytesIO(small), "raw", len(small), disk, patches)
    assert target.read_bytes()[: len(small)] == small


class Mapped:
    """A goal that leaves gaps, one of them in the first MiB, and knows of zeros."""

    pieces_of_it = (piece(0, b"boot" * 1024), piece(MIB - 512, b"x" * 512), zeros(4 * MIB, MIB), piece(9 * MIB, b"end"))
    size_bytes = end_bytes = 9 * MIB + 3

    def pieces(self, chunk_bytes: int) -> Iterator[Piece]:
        return in_chunks(self.pieces_of_it, chunk_bytes)


def test_gaps_stay_as_they_are_but_in_the_first_mib_which_was_erased(target: Path) -> None:
    old = bytearray(target.read_bytes())
    reports: list[tuple[FlashStep, int, int]] = []
    with opened(target) as disk:
        result = write_image(Mapped(), disk, FirstMibLast(), lambda *args: reports.append(args))
    old[:MIB] = bytes(MIB)
    for part in Mapped.pieces_of_it:
        old[part.offset_bytes : part.end_bytes] = part.data
    assert target.read_bytes() == old
    assert result.rewritten_chunks == 0
    assert reports[-1] == (FlashStep.COMMIT, Mapped.size_bytes, Mapped.size_bytes)
    assert [entry for entry in disk.log if entry[0] == "write"] == [
        *(("write", 0, MIB), ("write", 4 * MIB, MIB), ("write", 9 * MIB, 3)),
        *(("write", 4096, MIB - 4096), ("write", 0, 4096)),
    ]


def test_a_commit_of_another_kind_decides_what_comes_first_and_last(target: Path) -> None:
    """As one that switches a single sector, and leaves the old system's start alone until then."""

    class Recorder:
        calls: ClassVar[list[str]] = []

        def begin(self, disk: Disk) -> None:
            self.calls.append("begin")

        def holds_back(self, piece: Piece) -> bool:
            return piece.offset_bytes == 4 * MIB

        def finish(self, disk: Disk) -> None:
            self.calls.append("finish")

    old = target.read_bytes()
    with opened(target) as disk:
        write_image(Mapped(), disk, Recorder(), lambda *args: None)
    assert Recorder.calls == ["begin", "finish"]
    new = target.read_bytes()
    assert new[:4096] == b"boot" * 1024
    assert new[4096 : MIB - 512] == old[4096 : MIB - 512]
    assert new[4 * MIB : 5 * MIB] == old[4 * MIB : 5 * MIB]
