# SPDX-License-Identifier: Apache-2.0
"""Disks whose writes are recorded, and every state in which a power cut may leave them.

QEMU's driver blklogwrites records in the form of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/
log-writes.rst): a superblock, and for each request a sector with its place and kind, followed by its data.
"""

from __future__ import annotations

import itertools
import mmap
import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import KIB, SECTOR_BYTES

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
_SUPERBLOCK = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")

EXHAUSTIVE_SECTORS = 10
"""Up to this many unflushed sectors, every subset of them is a state: 1,024 at most."""
SAMPLE = 150
"""Subsets that are drawn where there are more."""


class SectorWrite(NamedTuple):
    """One sector of a write: what a disk stores whole or not at all."""

    start_bytes: int
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the guest asked its disk for: a write, or, without content, to flush what it wrote so far."""

    start_bytes: int = 0
    content: bytes | memoryview = field(default=b"", repr=False)
    durable: bool = False
    """Whether the disk has stored a write once it answers, whatever else waits in its cache (FUA)."""

    @property
    def is_flush(self) -> bool:
        return not self.content

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + len(self.content)

    def torn(self, sectors: int) -> Request:
        """The same with its first sectors only."""
        return replace(self, content=self.content[: sectors * SECTOR_BYTES])

    def sectors(self) -> Iterator[SectorWrite]:
        for start in range(0, len(self.content), SECTOR_BYTES):
            yield SectorWrite(self.start_bytes + start, bytes(self.content[start : start + SECTOR_BYTES]))


def next_log(folder: Path) -> Path:
    """The log of the next boot, in the order of the boots."""
    return folder / f"{len(logs_in(folder)) + 1:02}.log"


def logs_in(folder: Path) -> list[Path]:
    """The logs of all boots so far, in their order."""
    return sorted(folder.glob("[0-9][0-9].log"))


def store_log(log: Path) -> Path:
    """The log of the same boot for the variable store of a PC with UEFI."""
    return log.with_suffix(".store")


def trace_log(log: Path) -> Path:
    """QEMU's own account of the same boot: all writes in one order."""
    return log.with_suffix(".trace")


_LOG_OPTIONS = f"log-sector-size={SECTOR_BYTES},log-super-update-interval=1"


def recorded(disk: Path, log: Path, node: str = "disk") -> tuple[str, ...]:
    """QEMU's options for a block node of this name: the disk, whose requests are recorded in the log, a new file."""
    log.touch(exist_ok=False)
    return (
        *("-blockdev", f"driver=file,filename={disk},node-name={node}-file,cache.no-flush=on"),
        *("-blockdev", f"driver=file,filename={log},node-name={node}-log,cache.no-flush=on"),
        *("-blockdev", f"driver=blklogwrites,file={node}-file,log={node}-log,node-name={node},{_LOG_OPTIONS}"),
    )


def recorded_drive(file: Path, log: Path) -> str:
    """The same for memory cards and a firmware's flash memory, which take no node: a part of what follows `-drive`."""
    log.touch(exist_ok=False)
    return (
        f"cache=unsafe,driver=blklogwrites,file.driver=file,file.filename={file},"
        f"log.driver=file,log.filename={log},{_LOG_OPTIONS}"
    )


def read_recording(log: Path) -> tuple[Request, ...]:
    """The requests, in the order in which the disk got them. Their content stays in the file until it is looked at.

    Raises LabError if the log is none, or holds a kind of request that is not done here.
    """
    with log.open("rb") as file:
        text = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    magic, _, count, sector_bytes = _SUPERBLOCK.unpack_from(text)
    if magic != MAGIC or sector_bytes != SECTOR_BYTES:
        raise LabError(f"{log} is no log of writes in sectors of {SECTOR_BYTES} bytes")
    found, place = [], SECTOR_BYTES
    for _ in range(count):
        sector, sectors, flags, _ = _ENTRY.unpack_from(text, place)
        if flags & ~(FLUSH | FUA):
            raise LabError(f"{log} holds a request with the flags {flags:#x}, which are not done here")
        content = text[place + SECTOR_BYTES : place + (1 + sectors) * SECTOR_BYTES]
        place += (1 + sectors) * SECTOR_BYTES
        if content:
            found.append(Request(start_bytes=sector * SECTOR_BYTES, content=content, durable=bool(flags & FUA)))
        if flags & FLUSH:
            found.append(Request())
    return tuple(found)


RUN_BYTES = 128 * KIB


def joined(requests: Iterable[Request]) -> Iterator[Request]:
    """The same with writes that follow each other on the disk as one, of RUN_BYTES at most: a card gets sectors."""
    run: list[Request] = []
    for request in requests:
        follows = run and request.content and request.start_bytes == run[-1].end_bytes
        if run and not (follows and request.end_bytes - run[0].start_bytes <= RUN_BYTES):
            yield Request(start_bytes=run[0].start_bytes, content=b"".join(item.content for item in run))
            run = []
        if request.is_flush:
            yield request
        else:
            run.append(request)
    if run:
        yield Request(start_bytes=run[0].start_bytes, content=b"".join(item.content for item in run))


def _sector(disk: bytearray, start_bytes: int) -> bytes:
    return bytes(disk[start_bytes : start_bytes + SECTOR_BYTES])


def _put(disk: bytearray, writes: Iterable[SectorWrite]) -> None:
    for write in writes:
        disk[write.start_bytes : write.start_bytes + len(write.content)] = write.content


def states_in_order(before: bytes, requests: Iterable[Request]) -> Iterator[bytearray]:
    """Each state of a disk that stores sector by sector in the order of the requests, as SD cards do.

    It is one disk, which changes: look at it before asking for the next state.
    """
    disk = bytearray(before)
    yield disk
    for request in requests:
        for write in request.sectors():
            _put(disk, [write])
            yield disk


def states_reordered(before: bytes, requests: Iterable[Request], *, seed: int = 0) -> Iterator[bytearray]:
    """States of a disk that may store what it got since the last flush in any order: any of those sectors, or none.

    All of them where these sectors are few (EXHAUSTIVE_SECTORS); else none, all, each one alone, all but each one, and
    SAMPLE more, drawn with the seed. It is one disk, which changes: look at it before asking for the next state.
    """
    disk, draw = bytearray(before), random.Random(seed)
    for writes in _between_flushes(requests):
        places = {write.start_bytes: _sector(disk, write.start_bytes) for write in writes}
        for chosen in _subsets(len(writes), draw):
            _put(disk, (writes[index] for index in chosen))
            yield disk
            _put(disk, itertools.starmap(SectorWrite, places.items()))
        _put(disk, writes)
    yield disk


def _between_flushes(requests: Iterable[Request]) -> Iterator[list[SectorWrite]]:
    writes: list[SectorWrite] = []
    for request in requests:
        if request.is_flush:
            if writes:
                yield writes
            writes = []
        writes += request.sectors()
    if writes:
        yield writes


def _subsets(count: int, draw: random.Random) -> Iterator[Sequence[int]]:
    """Which of this many writes are stored; in their order, so that of two of one sector the later one stays."""
    everything = range(count)
    if count <= EXHAUSTIVE_SECTORS:
        for size in range(count + 1):
            yield from itertools.combinations(everything, size)
        return
    yield from ((), everything)
    for one in everything:
        yield (one,)
        yield [other for other in everything if other != one]
    for _ in range(SAMPLE):
        yield [index for index in everything if draw.random() < 0.5]
