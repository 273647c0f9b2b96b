# SPDX-License-Identifier: Apache-2.0
"""The engine on files in place of disks: order of writes, overlap, progress, limits. Disks that fail have a file of
their own."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from balena_migrate.core.errors import DiskError, FlashError
from balena_migrate.core.progress import Say
from balena_migrate.core.units import MIB
from balena_migrate.images.patches import Block, Patches
from balena_migrate.images.pieces import Piece, in_chunks, piece, zeros
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import FlashProgress, FlashResult, write_image
from balena_migrate.stage2.target import Disk
from tests.support.flash import GOAL, IMAGE, PACKED, PATCHES, WINDOW_BYTES, FakeDisk, Fault, flash_image

pytestmark = pytest.mark.usefixtures("small_windows")


@contextlib.contextmanager
def opened(path: Path, fault: Fault | None = None) -> Iterator[FakeDisk]:
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
    assert result.written_bytes == len(IMAGE)
    assert result.rewritten_runs == 0
    assert result.describe().startswith("17 MiB written and read back")


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
        assert run(disk, patches=WITH_TAIL).rewritten_runs == 1
    assert target.read_bytes()[TAIL.offset_bytes : TAIL.end_bytes] == TAIL.content


def test_progress_never_passes_the_end(target: Path) -> None:
    told: list[FlashProgress] = []
    os.truncate(target, 64 * MIB)
    far = Patches(size_bytes=len(IMAGE), blocks=(Block(offset_bytes=63 * MIB, content=b"x" * MIB),))
    with opened(target) as disk:
        flash_image(io.BytesIO(PACKED), "gzip", len(IMAGE), disk, far, told.append)
    assert max(progress.written_bytes for progress in told) == told[-1].total_bytes
    assert max(progress.verified_bytes for progress in told) == told[-1].total_bytes


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
    """And each of these is on the disk, and found right, before the next begins."""
    with opened(target) as disk:
        run(disk)
    begin, end = disk.log[:2], disk.log[-6:]
    assert begin == [("write", 0, MIB), ("sync", 0, 0)]
    assert end == [
        *(("write", 4096, MIB - 4096), ("sync", 0, 0), ("read", 4096, MIB - 4096)),
        *(("write", 0, 4096), ("sync", 0, 0), ("read", 0, 4096)),
    ]
    writes = [(offset, size) for kind, offset, size in disk.log[2:-6] if kind == "write" and offset]
    assert [offset for offset, _ in writes] == list(range(MIB, len(IMAGE), WINDOW_BYTES))
    assert sum(size for _, size in writes) == len(IMAGE) - MIB


def test_every_byte_is_read_back_after_it_was_flushed(target: Path) -> None:
    with opened(target) as disk:
        run(disk)
    written: dict[int, bool] = {}
    """Offset of each MiB that was written -> whether it was flushed since."""
    read = set()
    for kind, offset, size in disk.log:
        if kind == "write":
            written |= dict.fromkeys(range(offset - offset % MIB, offset + size, MIB), False)
        elif kind == "sync":
            written = dict.fromkeys(written, True)
        elif size != 4096:  # that is the last look
            assert written[offset - offset % MIB], f"read at {offset} before the flush"
            read.add(offset - offset % MIB)
    assert read == set(range(0, len(IMAGE), MIB))


def test_what_is_written_is_read_back_while_the_rest_is_written(target: Path) -> None:
    """The first window is read back only once the second is being written, and the last is written only once the first
    is being read back."""
    second_write, first_read = threading.Event(), threading.Event()

    def fault(kind: str, offset: int, data: bytes) -> bytes:
        if kind == "write" and offset == MIB + WINDOW_BYTES:
            second_write.set()
        if kind == "read" and offset == MIB:
            assert second_write.wait(30)
            first_read.set()
        if kind == "write" and offset == MIB + 3 * WINDOW_BYTES:
            assert first_read.wait(30)
        return data

    with opened(target, fault) as disk:
        run(disk)
    assert target.read_bytes()[: len(IMAGE)] == GOAL


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


def test_an_error_of_the_source_reaches_the_caller(target: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 3 * MIB:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with opened(target) as disk, pytest.raises(FlashError, match="the image cannot be read: Input"):
        flash_image(Broken(PACKED), "gzip", len(IMAGE), disk, PATCHES)


def test_progress_is_what_is_flushed_and_what_was_read_back(target: Path) -> None:
    """At each report all the bytes that it counts were in a write before the last flush, or in a read."""
    reports: list[tuple[FlashProgress, list[tuple[str, int, int]]]] = []
    with opened(target) as disk:
        flash_image(
            *(io.BytesIO(PACKED), "gzip", len(IMAGE), disk, PATCHES),
            lambda progress: reports.append((progress, list(disk.log))),
        )
    written, verified = zip(*((now.written_bytes, now.verified_bytes) for now, _ in reports), strict=True)
    assert list(written) == sorted(written)
    assert list(verified) == sorted(verified)
    assert (written[-1], verified[-1]) == (len(IMAGE), len(IMAGE))
    assert len(set(written)) > 4
    for now, log in reports[:-1]:
        last_sync = max(i for i, (kind, _, _) in enumerate(log) if kind == "sync")
        flushed = sum(size for kind, offset, size in log[:last_sync] if kind == "write" and offset)
        read = sum(size for kind, offset, size in log if kind == "read" and offset)
        assert now.verified_bytes <= read
        assert now.written_bytes <= flushed
        assert now.verified_bytes <= now.written_bytes <= now.total_bytes == len(IMAGE)


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
    end_bytes = 9 * MIB + 3
    write_bytes = sum(piece.size_bytes for piece in pieces_of_it)

    def pieces(self, chunk_bytes: int) -> Iterator[Piece]:
        return in_chunks(self.pieces_of_it, chunk_bytes)


def test_gaps_stay_as_they_are_but_in_the_first_mib_which_was_erased(target: Path) -> None:
    old = bytearray(target.read_bytes())
    reports: list[FlashProgress] = []
    with opened(target) as disk:
        result = write_image(Mapped(), disk, FirstMibLast(), reports.append, lambda text: None)
    old[:MIB] = bytes(MIB)
    for part in Mapped.pieces_of_it:
        old[part.offset_bytes : part.end_bytes] = part.data
    assert target.read_bytes() == old
    assert result.rewritten_runs == 0
    total = Mapped.write_bytes
    assert result.written_bytes == total < 2 * MIB
    assert reports[-1] == FlashProgress(written_bytes=total, verified_bytes=total, total_bytes=total)
    assert [entry for entry in disk.log if entry[0] == "write"] == [
        *(("write", 0, MIB), ("write", 4 * MIB, MIB), ("write", 9 * MIB, 3), ("write", 0, MIB)),
        *(("write", 4096, MIB - 4096), ("write", 0, 4096)),
    ]


def test_a_commit_of_another_kind_decides_what_comes_first_and_last(target: Path) -> None:
    """As one that switches a single sector, and leaves the old system's start alone until then."""

    class Recorder:
        calls: ClassVar[list[str]] = []

        def begin(self, disk: Disk, say: Say) -> None:
            self.calls.append("begin")

        def holds_back(self, piece: Piece) -> bool:
            return piece.offset_bytes == 4 * MIB

        def finish(self, disk: Disk, say: Say) -> None:
            self.calls.append("finish")

    old = target.read_bytes()
    with opened(target) as disk:
        write_image(Mapped(), disk, Recorder(), lambda progress: None, lambda text: None)
    assert Recorder.calls == ["begin", "begin", "finish"]
    new = target.read_bytes()
    assert new[:4096] == b"boot" * 1024
    assert new[4096 : MIB - 512] == old[4096 : MIB - 512]
    assert new[4 * MIB : 5 * MIB] == old[4 * MIB : 5 * MIB]
