# SPDX-License-Identifier: Apache-2.0
"""The flash engine: writes what a disk shall hold, reads all of it back, and has it committed last.

It knows neither where the bytes come from (a `Goal`) nor what makes the disk boot (a `Commit`). What the goal leaves
open between two of its pieces stays on the disk as it is. After any failure the flash can simply be run again.

One thread reads and unpacks, the other writes; zlib, the digests and the writes all release the interpreter's lock. The
writer flushes every SYNC_BYTES, so that progress is true, the page cache stays small, and the reader works meanwhile.

The digest of a piece is its CRC-32 and its Adler-32, 64 bits of two different algebras: the goal is to find a piece
that was lost, torn, misplaced or has flipped bits, not a forgery, and the two run several times faster than MD5 or
SHA-256 on the processors without instructions for these, as those of all Raspberry Pis before the fifth are.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from balena_migrate.core.errors import DiskError, FlashError, ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images.pieces import Piece
from balena_migrate.stage2.target import READ_BYTES, Disk

T = TypeVar("T")

CHUNK_BYTES = READ_BYTES
"""The largest piece. Larger writes bring nothing on flash memory."""

SYNC_BYTES = 8 * MIB
QUEUE_CHUNKS = SYNC_BYTES // CHUNK_BYTES
"""While a flush runs, the reader fills the queue: so the next one has something to do at once."""

REWRITES = 3
"""How often pieces that read back wrong are written again before we give up."""


class FlashStep(StrEnum):
    """The steps in their order; REWRITE only where something read back wrong."""

    ERASE = "erase"
    WRITE = "flash"
    VERIFY = "verify"
    REWRITE = "rewrite"
    COMMIT = "commit"


class Goal(Protocol):
    """What the disk shall hold."""

    @property
    def size_bytes(self) -> int:
        """Of the image, for the progress."""

    @property
    def end_bytes(self) -> int:
        """The size that the disk needs."""

    def pieces(self, chunk_bytes: int) -> Iterator[Piece]:
        """All of it, from the start, in pieces of at most `chunk_bytes`. Raises ImageError, and never OSError."""


class Commit(Protocol):
    """What makes the disk boot, and when."""

    def begin(self, disk: Disk) -> None:
        """Write what must be on the disk before the first piece. Raises OSError. May be called again."""

    def holds_back(self, piece: Piece) -> bool:
        """Whether only finish() writes this piece."""

    def finish(self, disk: Disk) -> None:
        """The disk boots what was written. Raises OSError, and FlashError where it does not read back right.

        It is called after all other pieces were read back and found right.
        """


FlashReport = Callable[[FlashStep, int, int], None]
"""report(step, done_bytes, total_bytes), often, from the thread that called write_image()."""


@dataclass(frozen=True, kw_only=True)
class FlashResult:
    """`reads_directly` says that the verification went past the page cache."""

    size_bytes: int
    rewritten_chunks: int
    write_s: float
    verify_s: float
    reads_directly: bool


def write_image(goal: Goal, disk: Disk, commit: Commit, report: FlashReport) -> FlashResult:
    """The disk holds the goal, flushed, and every byte was read back and compared; it is committed.

    It can be run again after any failure, from the start.
    Raises DiskError, and then nothing was written, where the disk is too small; FlashError where the image is damaged
    or the disk fails, and then the disk is as `commit` has it before its end.
    """
    if disk.size_bytes < goal.end_bytes:
        raise DiskError(f"{disk.path} has {disk.size_bytes} bytes, and the image needs {goal.end_bytes}")
    try:
        return _write(goal, disk, commit, report)
    except ImageError as error:
        raise FlashError(f"the image {error.message}", hint=error.hint) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise FlashError(f"{disk.path}: {reason}", hint="the disk may be worn out; run the flash again") from None


def _write(goal: Goal, disk: Disk, commit: Commit, report: FlashReport) -> FlashResult:
    begin_s = time.monotonic()
    commit.begin(disk)
    report(FlashStep.ERASE, 0, goal.size_bytes)
    digests = _write_body(goal, disk, commit, report)
    written_s = time.monotonic()
    rewritten = _verify_body(goal, disk, digests, report)
    commit.finish(disk)
    report(FlashStep.COMMIT, goal.size_bytes, goal.size_bytes)
    return FlashResult(
        size_bytes=goal.size_bytes,
        rewritten_chunks=rewritten,
        write_s=written_s - begin_s,
        verify_s=time.monotonic() - written_s,
        reads_directly=disk.reads_directly,
    )


def _write_body(goal: Goal, disk: Disk, commit: Commit, report: FlashReport) -> dict[int, _Digest]:
    """All that is not held back is on the disk. Returns the digest of each piece by its offset."""
    digests, unsynced_bytes = {}, 0
    with contextlib.closing(_read_ahead(goal.pieces(CHUNK_BYTES))) as pieces:
        for piece in pieces:
            if commit.holds_back(piece):
                continue
            disk.write(piece.offset_bytes, piece.data)
            digests[piece.offset_bytes] = _digest(piece.data)
            unsynced_bytes += piece.size_bytes
            if unsynced_bytes >= SYNC_BYTES:
                disk.sync()
                unsynced_bytes = 0
                report(FlashStep.WRITE, min(piece.end_bytes, goal.size_bytes), goal.size_bytes)
    disk.sync()
    report(FlashStep.WRITE, goal.size_bytes, goal.size_bytes)
    return digests


def _verify_body(goal: Goal, disk: Disk, digests: dict[int, _Digest], report: FlashReport) -> int:
    """What the disk gives back has these digests. Returns how many pieces had to be written again.

    After a rewrite all is read once more: on a disk that is smaller than it claims, one write spoils another's place.
    """
    rewritten = 0
    wrong = _find_wrong(disk, digests, goal.size_bytes, report)
    for _ in range(REWRITES):
        if not wrong:
            break
        _rewrite(goal, disk, wrong, report)
        rewritten += len(wrong)
        wrong = _find_wrong(disk, digests, goal.size_bytes, report)
    if wrong:
        count_mib = -(-sum(digests[offset].length for offset in wrong) // MIB)
        raise FlashError(
            f"{disk.path}: {count_mib} MiB read back wrong, the first at byte {min(wrong)}, even after being written "
            f"{REWRITES + 1} times",
            hint="the disk is defective, or smaller than it claims",
        )
    return rewritten


def _find_wrong(disk: Disk, digests: dict[int, _Digest], size_bytes: int, report: FlashReport) -> set[int]:
    """The offsets of the pieces that do not have their digest on the disk."""
    disk.drop_cache()
    wrong = set()
    places = ((offset, digest.length) for offset, digest in digests.items())
    with contextlib.closing(_read_ahead(_read_back(disk, places))) as found:
        for offset, content in found:
            if _digest(content) != digests[offset]:
                wrong.add(offset)
            report(FlashStep.VERIFY, min(offset + len(content), size_bytes), size_bytes)
    report(FlashStep.VERIFY, size_bytes, size_bytes)
    return wrong


def _read_back(disk: Disk, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    for offset, length in places:
        yield offset, read_or_nothing(disk, offset, length)


def read_or_nothing(disk: Disk, offset: int, length: int) -> bytes:
    """What the disk gives; nothing where it cannot be read, which is as wrong as wrong bytes."""
    try:
        return disk.read(offset, length)
    except OSError:
        return b""


def _rewrite(goal: Goal, disk: Disk, wrong: set[int], report: FlashReport) -> None:
    with contextlib.closing(_read_ahead(goal.pieces(CHUNK_BYTES))) as pieces:
        for piece in pieces:
            if piece.offset_bytes in wrong:
                disk.write(piece.offset_bytes, piece.data)
                report(FlashStep.REWRITE, min(piece.end_bytes, goal.size_bytes), goal.size_bytes)
    disk.sync()


class _Digest(NamedTuple):
    """What is known of a piece once it is written."""

    length: int
    crc: int
    adler: int


def _digest(content: bytes) -> _Digest:
    return _Digest(len(content), zlib.crc32(content), zlib.adler32(content))


class _Failure:
    """The error of the reading thread, for the writing one to raise."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _read_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, made in another thread, which is QUEUE_CHUNKS ahead at most. Close it to end the thread."""
    ready: queue.Queue[tuple[T] | _Failure | None] = queue.Queue(QUEUE_CHUNKS)
    stopped = threading.Event()

    def put(item: tuple[T] | _Failure | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put((item,))
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(_Failure(error))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (got := ready.get()) is not None:
            if isinstance(got, _Failure):
                raise got.error
            yield got[0]
    finally:
        stopped.set()
        thread.join()
