# SPDX-License-Identifier: Apache-2.0
"""The flash engine as stage 2 calls it, in one call; an image for it; and a disk that can be made to fail."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from balena_migrate.core.block_map import BlockMap
from balena_migrate.core.progress import Say
from balena_migrate.core.units import MIB
from balena_migrate.images.formats import format_named
from balena_migrate.images.patched_image import PatchedImage, RewindableSource
from balena_migrate.images.patches import Block, Patches
from balena_migrate.images.pieces import Piece, in_chunks
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import FlashReport, FlashResult, write_image
from balena_migrate.stage2.target import Disk

WINDOW_BYTES = 4 * MIB
"""Of the engine in tests, so that a small image fills some."""
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


class Pieces:
    """A goal of these pieces."""

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces
        self.write_bytes = sum(piece.size_bytes for piece in pieces)
        self.end_bytes = pieces[-1].end_bytes if pieces else 0

    def pieces(self, chunk_bytes: int) -> Iterator[Piece]:
        return in_chunks(self._pieces, chunk_bytes)


Fault = Callable[[str, int, bytes], bytes]
"""fault(kind, offset_bytes, data) gives what is written or read instead. kind is "write", "sync" or "read"."""


class FakeDisk(Disk):
    """A file as disk, which records what is done, and has a fault."""

    def __init__(self, path: Path, fault: Fault | None = None) -> None:
        super().__init__(os.open(path, os.O_RDWR), path)
        self.log: list[tuple[str, int, int]] = []
        self.fault = fault

    def write(self, offset_bytes: int, data: memoryview) -> None:
        self.log.append(("write", offset_bytes, len(data)))
        super().write(offset_bytes, self._faulty("write", offset_bytes, data))

    def sync(self) -> None:
        self._faulty("sync", 0, memoryview(b""))
        super().sync()
        self.log.append(("sync", 0, 0))

    def read(self, offset_bytes: int, size_bytes: int) -> memoryview:
        self.log.append(("read", offset_bytes, size_bytes))
        return self._faulty("read", offset_bytes, super().read(offset_bytes, size_bytes))

    def _faulty(self, kind: str, offset_bytes: int, data: memoryview) -> memoryview:
        return memoryview(bytearray(self.fault(kind, offset_bytes, bytes(data)))) if self.fault else data


def spoilt(data: bytes, offset_bytes: int, place_bytes: int) -> bytes:
    """The data that belongs to this offset, with the byte at the place changed, if it is in it."""
    if not offset_bytes <= place_bytes < offset_bytes + len(data):
        return data
    found = bytearray(data)
    found[place_bytes - offset_bytes] ^= 0xFF
    return bytes(found)


def flash_image(
    source: RewindableSource,
    packed: str,
    size_bytes: int,
    disk: Disk,
    patches: Patches,
    report: FlashReport = lambda progress: None,
    say: Say = lambda text: None,
) -> FlashResult:
    """The image of this format is on the disk, with its patches, the first MiB last."""
    goal = PatchedImage(source, format_named(packed), size_bytes, patches, BlockMap())
    return write_image(goal, disk, FirstMibLast(), report, say)
