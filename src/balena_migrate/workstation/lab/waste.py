# SPDX-License-Identifier: Apache-2.0
"""Fills what an old system's file systems do not use: a disk with a past, where nothing is zero by chance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.disks import FileSystem, Span, require_file

WASTE = 0xA5
MORE_BYTES = 64 * MIB
_BLOCK_SIZE = re.compile(r"^Block size:\s+(\d+)$", re.MULTILINE)
_FREE_BLOCKS = re.compile(r"^  Free blocks: (.+)$", re.MULTILINE)
"""Of one group, such as "8235-16383, 16390"."""


def fill_unused(disk: Path, systems: Iterable[FileSystem]) -> None:
    """Every free block of the ext4 file systems is full of WASTE, and so are MORE_BYTES behind the disk's former end.

    What lies before the first partition and between two of them stays: boot loaders keep their code there.
    """
    size_bytes = require_file(disk).stat().st_size
    tail = Span(start_bytes=size_bytes, size_bytes=MORE_BYTES)
    free = [span for system in systems if not system.fat for span in free_spans(disk, system.span.start_bytes)]
    with disk.open("r+b") as file:
        for span in (*free, tail):
            file.seek(span.start_bytes)
            for length in _pieces(span.size_bytes):
                file.write(bytes([WASTE]) * length)


def free_spans(disk: Path, start_bytes: int) -> Iterator[Span]:
    """Where on the disk the blocks are that the ext4 file system at `start_bytes` does not use, says dumpe2fs."""
    described = System().run(["dumpe2fs", f"{disk}?offset={start_bytes}"]).text
    (block_bytes,) = map(int, _BLOCK_SIZE.findall(described))
    for listed in _FREE_BLOCKS.findall(described):
        for item in listed.split(", "):
            first, _, last = item.partition("-")
            count = int(last or first) - int(first) + 1
            yield Span(start_bytes=start_bytes + int(first) * block_bytes, size_bytes=count * block_bytes)


def _pieces(size_bytes: int) -> Iterator[int]:
    for _ in range(size_bytes // MIB):
        yield MIB
    yield size_bytes % MIB
