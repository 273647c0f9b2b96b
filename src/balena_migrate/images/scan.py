# SPDX-License-Identifier: Apache-2.0
"""Reads an image file once, from its first byte to its last, and inspects it on the way."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from balena_migrate.core.block_map import BlockMap, Range, block_map
from balena_migrate.core.digest import Digester
from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.progress import Report
from balena_migrate.core.units import GIB, SECTOR_BYTES
from balena_migrate.images import Identity, Image
from balena_migrate.images.balenaos import find_boot_partition, read_identity
from balena_migrate.images.bmap import find_bmap, read_bmap
from balena_migrate.images.filesystems.ext import ExtFileSystem, read_file_system
from balena_migrate.images.filesystems.ext_free import read_free
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.formats import START_BYTES, Format, read_chunks, sniff_format
from balena_migrate.images.partitions import HEAD_BYTES, Partition, PartitionTable, Read
from balena_migrate.images.partitions.mbr import FIRST_LOGICAL, LogicalPartitions
from balena_migrate.images.partitions.table import parse_head, with_logical
from balena_migrate.images.passing import Passing
from balena_migrate.images.patches import Block
from balena_migrate.images.pieces import Piece, is_zeros, piece
from balena_migrate.images.zstd_packing import PackedSize

BOOT_LIMIT_BYTES = GIB


def read_image(path: Path, work_dir: Path, report: Report) -> Image:
    """Everything about the image in a file, which is read to its last byte, so that it is known to be complete.

    Where a bmap is beside it, it is compared with that.

    `report` counts bytes of the file, which may be compressed. Leaves one sparse file in `work_dir` (Image.start_file),
    which only its owner may read: a downloaded image holds a config.json with keys. Memory is bounded.
    Raises FileError if the file cannot be read, ImageError if it is damaged, cut short, of a format that is not
    supported, or no disk image.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return _read_image(path, file, work_dir / f"{path.name}.start", report)
    except ImageError as error:
        raise ImageError(f"{path}: {error.message}", hint=error.hint) from None
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise FileError(work_dir if full else error.filename or path, os.strerror(error.errno or 0)) from None


def _read_image(path: Path, file: BinaryIO, start_file: Path, report: Report) -> Image:
    start = file.read(START_BYTES)
    packed = sniff_format(start)
    file.seek(0)
    source = HashingSource(file, report)
    chunks, bmap = read_chunks(source, packed, HEAD_BYTES), find_bmap(path)
    if bmap is not None:
        chunks = read_bmap(bmap).checked(chunks)
    image = scan_pieces(chunks, path, packed, start_file)
    done = source.done.digest()
    return replace(
        image,
        file_bytes=done.size_bytes,
        sha256=done.sha256,
        bmap=bmap.name if bmap else "",
        unpacking_bytes=packed.memory_bytes(start),
    )


def scan_pieces(chunks: Iterator[Piece], path: Path, packed: Format, start_file: Path) -> Image:
    """What an image is, by its pieces, which are read to the last; without its file's size and SHA-256.

    Raises ImageError as read_image does, and OSError where `start_file` cannot be written.
    """
    head, rest = _split_head(chunks)
    scan, packed_size = _Scan(head.data), PackedSize()
    with create_private(start_file) as start:
        _save(start, head)
        for chunk in itertools.chain((head,), rest):
            _save(start, chunk.part(scan.boot.start_bytes, scan.boot.end_bytes))
            scan.take(chunk)
            packed_size.take(chunk)
        table = scan.finish()
        start.truncate(max(HEAD_BYTES, scan.boot.end_bytes))
    return Image(
        path=path,
        format=packed.name,
        file_bytes=0,
        sha256="",
        size_bytes=scan.size_bytes,
        table=table,
        boot=scan.boot,
        start_file=start_file,
        identity=identify(start_file, scan.boot, table),
        extended_records=tuple(scan.records),
        data_file_system=scan.data_file_system(),
        block_map=scan.block_map(),
        prepared_bytes=packed_size.bytes,
    )


def identify(start_file: Path, boot: Partition, table: PartitionTable) -> Identity:
    """Which balenaOS an image holds, by its `start_file`. Raises ImageError if its boot partition is damaged."""
    with start_file.open("rb") as start:
        return read_identity(Fat(partition_reader(start, boot)), table, start.read(HEAD_BYTES))


def _split_head(chunks: Iterator[Piece]) -> tuple[Piece, Iterator[Piece]]:
    """The first MiB, or all of it where it is smaller, with zeros in its gaps; and the pieces behind it."""
    head = bytearray()
    for chunk in chunks:
        if chunk.offset_bytes >= HEAD_BYTES:
            return piece(0, bytes(head.ljust(HEAD_BYTES, b"\0"))), itertools.chain((chunk,), chunks)
        head = head.ljust(chunk.offset_bytes, b"\0") + chunk.data
    return piece(0, bytes(head)), iter(())


def _save(start: BinaryIO, part: Piece | None) -> None:
    """Zeros are left out: they become holes."""
    if part is not None and not is_zeros(part.data):
        start.seek(part.offset_bytes)
        start.write(part.data)


def create_private(path: Path) -> BinaryIO:
    """A new file that only its owner may read, open for writing, in place of one that may be there. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def partition_reader(file: BinaryIO, partition: Partition) -> Read:
    """A `read(offset, length)` of a partition in an open image file or disk."""

    def read(offset: int, length: int) -> bytes:
        inside = max(0, min(length, partition.size_bytes - offset))
        return os.pread(file.fileno(), inside, partition.start_bytes + offset)

    return read


class HashingSource:
    """A file that is read in order; counts and hashes what it gives."""

    def __init__(self, file: BinaryIO, report: Report) -> None:
        self._file = file
        self._report = report
        self._total_bytes = os.fstat(file.fileno()).st_size
        self.done = Digester()

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self.done.write(data)
        self._report(self.done.size_bytes, self._total_bytes)
        return data


class _Scan:
    """Picks the partition table out of the image as it passes, what of its partitions is free, and the superblocks of
    its last partition."""

    def __init__(self, head: bytes) -> None:
        self._table = parse_head(head)
        self.boot = find_boot_partition(self._table)
        if self.boot.size_bytes > BOOT_LIMIT_BYTES:
            raise ImageError(f"its boot partition has {self.boot.size_bytes} bytes, more than any balenaOS image has")
        self._chain = LogicalPartitions(self._table)
        self.size_bytes = 0
        """Where the image ends, as far as it has passed."""
        self.records: list[Block] = []
        """The extended boot records that have passed."""
        self._free: dict[Partition, Passing[tuple[Range, ...]]] = {}
        self._data: Passing[ExtFileSystem | None] | None = None
        self._watch(self._table.partitions)

    def take(self, chunk: Piece) -> None:
        """Look at the next piece of the image."""
        self.size_bytes = chunk.end_bytes
        while (wanted := self._chain.wanted) is not None and (sector := chunk.part(wanted, wanted + SECTOR_BYTES)):
            self.records.append(Block(offset_bytes=wanted, content=sector.data))
            self._chain.take(sector.data)
            self._watch(self._chain.found)
        if self._chain.wanted is not None and self._chain.wanted < chunk.offset_bytes:
            raise ImageError("its logical partitions are not in the order of their places")
        if self._chain.wanted is None and self._data is None:
            start = max(partition.start_bytes for partition in self._partitions)
            self._data = Passing(read_file_system(), start)
        for passing in self._free.values():
            passing.take(chunk)
        if self._data is not None:
            self._data.take(chunk)

    def _watch(self, partitions: tuple[Partition, ...]) -> None:
        """What is free in these will be known at the end. The boot partition is FAT, and so written as a whole: what
        stage 1 puts into it may be where nothing is in the image."""
        for partition in partitions:
            if partition not in self._free and not partition.is_extended:
                self._free[partition] = Passing(read_free(partition.size_bytes), partition.start_bytes)

    @property
    def _partitions(self) -> tuple[Partition, ...]:
        return (*self._table.partitions, *self._chain.found)

    def data_file_system(self) -> ExtFileSystem | None:
        """That of the last partition, at the image's end; None if it is no ext4."""
        return self._data.result if self._data else None

    def finish(self) -> PartitionTable:
        """The whole table, at the image's end."""
        if self._chain.wanted is not None:
            raise ImageError(f"is cut short: the extended boot record at byte {self._chain.wanted} is missing")
        table = with_logical(self._table, self._chain.found)
        for partition in table.partitions:
            if partition.end_bytes > self.size_bytes:
                raise ImageError(
                    f"is cut short: it has {self.size_bytes} bytes, and partition {partition.number} ends at "
                    f"{partition.end_bytes}"
                )
        return table

    def block_map(self) -> BlockMap:
        """What of the image is free, at its end."""
        return block_map(
            Range(partition.start_bytes + free.start_bytes, partition.start_bytes + free.end_bytes)
            for partition, passing in self._free.items()
            if self._is_alone(partition)
            for free in passing.result or ()
        )

    def _is_alone(self, partition: Partition) -> bool:
        """Whether nothing else is in a partition: not another one, no EBR, and not the first MiB."""
        has_record = any(partition.start_bytes <= ebr.offset_bytes < partition.end_bytes for ebr in self.records)
        is_crossed = any(_overlaps(partition, other) for other in self._partitions)
        return partition.start_bytes >= HEAD_BYTES and not has_record and not is_crossed


def _overlaps(one: Partition, other: Partition) -> bool:
    """Whether two partitions share a part of the image, other than a logical one with its extended one."""
    apart = one.end_bytes <= other.start_bytes or other.end_bytes <= one.start_bytes
    is_inside = other.is_extended and one.number >= FIRST_LOGICAL
    return one != other and not is_inside and not apart
