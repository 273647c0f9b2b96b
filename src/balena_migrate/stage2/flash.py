# SPDX-License-Identifier: Apache-2.0
"""The flash engine: writes what a disk shall hold, reads all of it back meanwhile, and has it committed last.

It knows neither where the bytes come from (a `Goal`) nor what makes the disk boot (a `Commit`). What the goal leaves
open between two of its pieces stays on the disk as it is. After any failure the flash can simply be run again.

Three threads work on three windows of the goal: one unpacks and fills, the caller's writes and flushes, the third
reads back what was flushed, and puts right what is wrong. The first thing that is slow is what the flash takes: the
medium. Writes and reads go past the page cache: so the read-back comes from the medium, progress is true, and no cache
grows.

The read-back compares the bytes themselves, which are still in memory: that is stronger than any digest, and costs a
tenth of a CRC-32. What it cannot see is a write that spoils another place later, as on a card that is smaller than it
claims. So in the end one block of each piece is read again (`Witnesses`: by a CRC-32 of the block, to need no memory);
if one is wrong, the goal is unpacked once more and all of the disk is compared with it.

A write or a flush that fails is tried again without end (`patience`). Standard library only.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

from balena_migrate.core.errors import DiskError, FlashError, ImageError
from balena_migrate.core.progress import Say
from balena_migrate.core.units import MIB, in_mib
from balena_migrate.images.pieces import Piece
from balena_migrate.stage2.aligned import keep_freed_memory
from balena_migrate.stage2.pipeline import ahead, behind
from balena_migrate.stage2.readback import Witnesses, find_wrong, put_right, write
from balena_migrate.stage2.target import Disk
from balena_migrate.stage2.window import CHUNK_BYTES, Window, windows

FULL_READS = 3
"""How often all is compared once more, before the disk is given up that spoils what was right before."""


class Goal(Protocol):
    """What the disk shall hold."""

    @property
    def write_bytes(self) -> int:
        """The sum of the pieces' sizes, for the progress."""

    @property
    def end_bytes(self) -> int:
        """The size that the disk needs."""

    def pieces(self, chunk_bytes: int) -> Iterator[Piece]:
        """All of it, from the start, in pieces of at most `chunk_bytes`. Raises ImageError, and never OSError."""


class Commit(Protocol):
    """What makes the disk boot, and when."""

    def begin(self, disk: Disk, say: Say) -> None:
        """What must be on the disk before the first piece is there. Called once more before finish()."""

    def holds_back(self, piece: Piece) -> bool:
        """Whether only finish() writes this piece. Called from a thread of its own."""

    def finish(self, disk: Disk, say: Say) -> None:
        """The disk boots what was written. Raises FlashError where it does not read back right.

        It is called after all other pieces were read back and found right.
        """


@dataclass(frozen=True, kw_only=True)
class FlashProgress:
    """Bytes of `total_bytes` that are on the disk, flushed, and those of them that were read back and found right."""

    written_bytes: int
    verified_bytes: int
    total_bytes: int


FlashReport = Callable[[FlashProgress], None]
"""Called after each flush and each window that was read back, from either thread."""


@dataclass(frozen=True, kw_only=True)
class FlashResult:
    """What a flash wrote, and read back; `write_s` ends with the last flush before the commit, `verify_s` is the rest.

    `reads_directly` says that the read-back went past the page cache.
    """

    written_bytes: int
    rewritten_runs: int
    write_s: float
    verify_s: float
    reads_directly: bool

    def describe(self) -> str:
        """ "422 MiB written and read back in 21.1 s, 20.0 MiB/s"."""
        seconds = self.write_s + self.verify_s
        rate = f"{self.written_bytes / MIB / max(seconds, 0.001):.1f} MiB/s"
        how = "" if self.reads_directly else ", through the page cache"
        again = f", {self.rewritten_runs} places written again" if self.rewritten_runs else ""
        return f"{in_mib(self.written_bytes)} written and read back{how} in {seconds:.1f} s, {rate}{again}"


def check_size(goal: Goal, disk: Disk) -> None:
    """Raises DiskError where the disk is too small for the goal."""
    if disk.size_bytes < goal.end_bytes:
        raise DiskError(f"{disk.path} has {disk.size_bytes} bytes, and the image needs {goal.end_bytes}")


def write_image(goal: Goal, disk: Disk, commit: Commit, report: FlashReport, say: Say) -> FlashResult:
    """The disk holds the goal, flushed, and every byte was read back and compared; it is committed.

    It can be run again after any failure, from the start; say() hears of what went wrong meanwhile.
    Raises DiskError, and then nothing was written, where the disk is too small; FlashError where the image is damaged,
    or the disk reads back wrong for good, and then the disk is as `commit` has it before its end.
    """
    check_size(goal, disk)
    keep_freed_memory()
    try:
        return _Flash(goal, disk, commit, report, say).run()
    except ImageError as error:
        raise FlashError(f"the image {error.message}", hint=error.hint) from None


class _Flash:
    """One flash, and how far it is."""

    def __init__(self, goal: Goal, disk: Disk, commit: Commit, report: FlashReport, say: Say) -> None:
        self._goal, self._disk, self._commit = goal, disk, commit
        self._report, self._say = report, say
        self._lock = threading.Lock()
        self._written_bytes = self._verified_bytes = self._held_bytes = self._rewritten_runs = 0
        self._free: list[Window] = []
        self._witnesses = Witnesses()

    def run(self) -> FlashResult:
        begin_s = time.monotonic()
        self._commit.begin(self._disk, self._say)
        written_s = self._write_body()
        self._look_again()
        self._commit.finish(self._disk, self._say)
        self._count(written_bytes=self._held_bytes, verified_bytes=self._held_bytes)
        return FlashResult(
            written_bytes=self._written_bytes,
            rewritten_runs=self._rewritten_runs,
            write_s=written_s - begin_s,
            verify_s=time.monotonic() - written_s,
            reads_directly=self._disk.reads_directly,
        )

    def _write_body(self) -> float:
        """All that is not held back is on the disk, and was found right. Returns when it was written."""
        with behind(self._verify_first) as verify, contextlib.closing(self._windows()) as filled:
            for window in filled:
                write(self._disk, window.runs, self._say)
                self._count(written_bytes=window.size_bytes)
                verify(window)
            return time.monotonic()

    def _verify_first(self, window: Window) -> None:
        self._verify(window)
        self._witnesses.add(window.runs)
        self._free.append(window)

    def _verify(self, window: Window) -> None:
        """The disk holds the window's runs."""
        for wrong in find_wrong(self._disk, window.runs):
            put_right(self._disk, wrong, self._say)
            self._rewritten_runs += 1
        self._count(verified_bytes=window.size_bytes)

    def _look_again(self) -> None:
        """What was right stayed right. It is found by one block of each piece, and all is compared if one is wrong.

        What the commit writes first and last is written once more before: on a disk that is smaller than it claims, it
        may be a piece's place too.
        """
        self._commit.begin(self._disk, self._say)
        wrong = self._witnesses.find_wrong(self._disk)
        if not wrong:
            return
        what = f"{self._disk.path}: {len(wrong)} of the places that were right are not any more, one at byte {wrong[0]}"
        self._say(f"{what}: all is compared once more")
        for _ in range(FULL_READS):
            if self._compare_all() == 0:
                return
        raise FlashError(what, hint="the disk is defective, or smaller than it claims")

    def _compare_all(self) -> int:
        """The disk holds all of the goal. Returns how many runs were written again for that."""
        rewritten, self._verified_bytes = self._rewritten_runs, 0
        with contextlib.closing(self._windows()) as filled:
            for window in filled:
                self._verify(window)
                self._free.append(window)
        return self._rewritten_runs - rewritten

    def _windows(self) -> Generator[Window, None, None]:
        return ahead(windows(self._pieces(), self._free))

    def _pieces(self) -> Iterator[Piece]:
        self._held_bytes = 0
        for piece in self._goal.pieces(CHUNK_BYTES):
            if self._commit.holds_back(piece):
                self._held_bytes += piece.size_bytes
            else:
                yield piece

    def _count(self, *, written_bytes: int = 0, verified_bytes: int = 0) -> None:
        """The report does not pass the goal's own sum."""
        total = self._goal.write_bytes
        with self._lock:
            self._written_bytes += written_bytes
            self._verified_bytes += verified_bytes
            written, verified = min(self._written_bytes, total), min(self._verified_bytes, total)
            self._report(FlashProgress(written_bytes=written, verified_bytes=verified, total_bytes=total))
