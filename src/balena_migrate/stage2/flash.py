# SPDX-License-Identifier: Apache-2.0
"""The flash engine: writes an image with its patches to a disk, reads all of it back, and makes it bootable last.

Order is the product. The first MiB, where partition table and boot loader are, is zeros before anything else is
written and gets its content after all the rest was read back and found right; of it sector 0 comes last. So whatever
happens in between, a half-written disk does not boot into half a system, and the flash can simply be run again.

One thread reads and unpacks, the other writes; zlib, the digests and the writes all release the interpreter's lock. The
writer flushes every SYNC_BYTES, so that progress is true, the page cache stays small, and the reader works meanwhile.

The digest of a chunk is its CRC-32 and its Adler-32, 64 bits of two different algebras: what has to be found is a chunk
that was lost, torn, misplaced or has flipped bits, not a forger, and the two run several times faster than MD5 or
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
from balena_migrate.images.formats import ImageFormat, read_chunks
from balena_migrate.images.patches import Patches
from balena_migrate.stage2.target import READ_BYTES, Disk

T = TypeVar("T")

CHUNK_BYTES = READ_BYTES
"""Also the size of what is kept back. Larger writes bring nothing on flash memory."""

SYNC_BYTES = 8 << 20
QUEUE_CHUNKS = SYNC_BYTES // CHUNK_BYTES
"""While a flush runs, the reader fills the queue: so the next one has something to do at once."""

SECTOR_ZERO_BYTES = 4096
REWRITES = 3
"""How often chunks that read back wrong are written again before we give up."""


class FlashStep(StrEnum):
    """The steps in their order; REWRITE only where something read back wrong."""

    ERASE = "erase"
    WRITE = "flash"
    VERIFY = "verify"
    REWRITE = "rewrite"
    COMMIT = "commit"


class RewindableSource(Protocol):
    """What the image is read from: a file, or anything else that gives its bytes in order, and again from the start."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...


Report = Callable[[FlashStep, int, int], None]
"""report(step, done_bytes, total_bytes), often, from the thread that called write_image()."""


@dataclass(frozen=True, kw_only=True)
class FlashResult:
    """`reads_directly` says that the verification went past the page cache."""

    size_bytes: int
    rewritten_chunks: int
    write_s: float
    verify_s: float
    reads_directly: bool


def write_image(
    source: RewindableSource,
    image_format: ImageFormat,
    size_bytes: int,
    disk: Disk,
    patches: Patches,
    report: Report,
) -> FlashResult:
    """The disk holds the image with its patches, flushed, and every byte was read back and compared.

    It can be run again after any failure, from the start. `size_bytes` is the image's size on the disk.
    Raises DiskError, and then nothing was written, where the disk is too small; FlashError where the image is damaged
    or the disk fails, and then the first MiB of the disk is zeros unless the failure was in writing that very MiB.
    """
    needed = max(size_bytes, patches.end_bytes)
    if disk.size_bytes < needed:
        raise DiskError(f"{disk.path} has {disk.size_bytes} bytes, and the image needs {needed}")
    if patches.size_bytes != size_bytes:
        raise DiskError(f"the patches are for an image of {patches.size_bytes} bytes, and this one has {size_bytes}")
    goal = _Goal(source, image_format, size_bytes, patches)
    try:
        return _write(goal, disk, report)
    except ImageError as error:
        raise FlashError(f"the image {error.message}", hint=error.hint) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise FlashError(f"{disk.path}: {reason}", hint="the disk may be worn out; run the flash again") from None


def _write(goal: _Goal, disk: Disk, report: Report) -> FlashResult:
    begin_s = time.monotonic()
    _erase(disk, goal.size_bytes, report)
    first, digests = _write_body(goal, disk, report)
    written_s = time.monotonic()
    rewritten = _verify_body(goal, disk, digests, report)
    _commit(disk, first, goal.size_bytes, report)
    return FlashResult(
        size_bytes=goal.size_bytes,
        rewritten_chunks=rewritten,
        write_s=written_s - begin_s,
        verify_s=time.monotonic() - written_s,
        reads_directly=disk.reads_directly,
    )


def _erase(disk: Disk, size_bytes: int, report: Report) -> None:
    """Nothing boots from the disk from here on, until _commit()."""
    disk.write(0, bytes(min(CHUNK_BYTES, disk.size_bytes)))
    disk.sync()
    report(FlashStep.ERASE, 0, size_bytes)


def _write_body(goal: _Goal, disk: Disk, report: Report) -> tuple[bytes, dict[int, _Digest]]:
    """All but the first chunk is on the disk. Returns the first chunk, and offset -> digest of the others."""
    first, digests, synced = b"", {}, 0
    with contextlib.closing(_read_ahead(goal.chunks())) as chunks:
        for offset, chunk in chunks:
            if offset == 0:
                first = chunk
                continue
            disk.write(offset, chunk)
            digests[offset] = _digest(chunk)
            if offset + len(chunk) - synced >= SYNC_BYTES:
                disk.sync()
                synced = offset + len(chunk)
                report(FlashStep.WRITE, min(synced, goal.size_bytes), goal.size_bytes)
    disk.sync()
    report(FlashStep.WRITE, goal.size_bytes, goal.size_bytes)
    return first, digests


def _verify_body(goal: _Goal, disk: Disk, digests: dict[int, _Digest], report: Report) -> int:
    """What the disk gives back has these digests. Returns how many chunks had to be written again.

    After a rewrite all is read once more: on a disk that is smaller than it says, one write spoils another's place.
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
        raise FlashError(
            f"{disk.path}: {len(wrong)} MiB read back wrong, the first at byte {min(wrong)}, also after they were "
            f"written {REWRITES + 1} times",
            hint="the disk is defective, or smaller than it says",
        )
    return rewritten


def _find_wrong(disk: Disk, digests: dict[int, _Digest], size_bytes: int, report: Report) -> set[int]:
    """The offsets of the chunks that do not have their digest on the disk."""
    disk.drop_cache()
    wrong = set()
    places = ((offset, digest.length) for offset, digest in digests.items())
    with contextlib.closing(_read_ahead(_read_back(disk, places))) as chunks:
        for offset, chunk in chunks:
            if _digest(chunk) != digests[offset]:
                wrong.add(offset)
            report(FlashStep.VERIFY, min(offset + CHUNK_BYTES, size_bytes), size_bytes)
    return wrong


def _read_back(disk: Disk, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """What the disk gives at each offset, of this length; nothing where it cannot be read, which is as wrong as wrong
    bytes."""
    for offset, length in places:
        try:
            yield offset, disk.read(offset, length)
        except OSError:
            yield offset, b""


def _rewrite(goal: _Goal, disk: Disk, wrong: set[int], report: Report) -> None:
    with contextlib.closing(_read_ahead(goal.chunks())) as chunks:
        for offset, chunk in chunks:
            if offset in wrong:
                disk.write(offset, chunk)
                report(FlashStep.REWRITE, min(offset + len(chunk), goal.size_bytes), goal.size_bytes)
    disk.sync()


def _commit(disk: Disk, first: bytes, size_bytes: int, report: Report) -> None:
    """The first MiB is on the disk, its first sectors last: with them the disk boots."""
    for _ in range(REWRITES + 1):
        disk.write(SECTOR_ZERO_BYTES, first[SECTOR_ZERO_BYTES:])
        disk.sync()
        disk.write(0, first[:SECTOR_ZERO_BYTES])
        disk.sync()
        disk.drop_cache()
        if next(_read_back(disk, ((0, len(first)),))) == (0, first):
            report(FlashStep.COMMIT, size_bytes, size_bytes)
            return
    raise FlashError(f"{disk.path}: its first MiB reads back wrong", hint="the disk is defective")


class _Digest(NamedTuple):
    """What is known of a chunk once it is written."""

    length: int
    crc: int
    adler: int


def _digest(chunk: bytes) -> _Digest:
    return _Digest(len(chunk), zlib.crc32(chunk), zlib.adler32(chunk))


class _Goal:
    """What shall be on the disk: the image with its patches, and what of these lies behind it."""

    def __init__(self, source: RewindableSource, image_format: ImageFormat, size_bytes: int, patches: Patches) -> None:
        self._source = source
        self._format = image_format
        self._patches = patches
        self.size_bytes = size_bytes

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Offset and content of each chunk, from the start.

        Raises ImageError where the source cannot be read or has not `size_bytes`; so an OSError is always the disk's.
        """
        try:
            yield from self._chunks()
        except OSError as error:
            raise ImageError(f"cannot be read: {os.strerror(error.errno or 0)}") from None

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        self._source.seek(0)
        offset = 0
        for chunk in read_chunks(self._source, self._format, CHUNK_BYTES):
            if offset + len(chunk) > self.size_bytes:
                raise ImageError(f"is larger than the {self.size_bytes} bytes that it should have")
            yield offset, self._patches.apply(offset, chunk)
            offset += len(chunk)
        if offset != self.size_bytes:
            raise ImageError(f"has {offset} bytes and not the {self.size_bytes} that it should have")
        for block in self._patches.behind:
            yield block.offset_bytes, block.content


class _Failure:
    """What the reading thread could not do, for the writing one to raise."""

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
