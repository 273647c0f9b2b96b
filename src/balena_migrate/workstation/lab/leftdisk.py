# SPDX-License-Identifier: Apache-2.0
"""Checks of the disk as stage 2 left it, before the new system starts: that one grows resin-data and repairs errors."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from balena_migrate.core.system import System, last_lines
from balena_migrate.core.units import SECTOR_BYTES, in_mib
from balena_migrate.workstation.lab.disklayout import Table
from balena_migrate.workstation.lab.disks import Span, read_partitions, read_table, require_file
from balena_migrate.workstation.lab.lookalike.layout import plan_layout
from balena_migrate.workstation.lab.lookalike.specs import ImageSpec
from balena_migrate.workstation.lab.result import Check, same

TABLE = "partition table after stage 2"
BACKUP = "backup of the GPT after stage 2"
ONE_TABLE = "kinds of partition tables anywhere on the disk after stage 2"
SIZE = "size of resin-data after stage 2"
JOURNAL = "journal of resin-data after stage 2"
"""On a Raspberry Pi 5, balena's boot loader mounts the new system's partitions before that system itself does."""
_GPT_ID = slice(56, 72)
ANY_STATUS = tuple(range(256))

CHECKED = ("resin-rootA", "resin-rootB", "resin-state", "resin-data")
"""The file systems that e2fsck checks."""

_BLOCKS = re.compile(r"^(Block count|Block size):\s+(\d+)$", re.MULTILINE)


def left_disk_checks(disk: Path, image: ImageSpec, *, grown: bool) -> Iterator[Check]:
    """The table is valid; the file systems are clean; resin-data has the image's size, or is `grown` and filled by its
    file system.

    e2fsck counts a journal that is still to be replayed for no error.
    """
    layout = plan_layout(image)
    shipped = layout.labelled("resin-data")
    spans = read_partitions(disk)
    yield same(TABLE, "no errors", _wrong_in_table(disk, spans))
    if image.table is Table.GPT:
        yield same(BACKUP, "at the disk's end", "at the disk's end" if _ends_with_header(disk) else "not there")
    yield same(ONE_TABLE, *_kinds_of_tables(disk))
    data = next((span for span in spans if span.start_bytes == shipped.start_bytes), None)
    if data is None:
        yield Check(name=SIZE, passed=False, expected=f"at byte {shipped.start_bytes}", found="no such partition")
        return
    place = f"{disk}?offset={data.start_bytes}"
    described = System().run(["dumpe2fs", "-h", place]).text
    yield _size_check(data, described, shipped.size_bytes, grown=grown)
    yield same(JOURNAL, "empty", "to be replayed" if "needs_recovery" in described.split() else "empty")
    for label in CHECKED:
        yield _clean_check(label, f"{disk}?offset={layout.labelled(label).start_bytes}")


def _clean_check(label: str, place: str) -> Check:
    checked = System().run(["e2fsck", "-f", "-n", place], ok=ANY_STATUS)
    found = "none" if checked.returncode == 0 else checked.text.strip()
    return same(clean(label), "none", found)


def clean(label: str) -> str:
    """The name of the check of this file system."""
    return f"errors in {label} after stage 2"


def _wrong_in_table(disk: Path, spans: tuple[Span, ...]) -> str:
    """sfdisk finds overlaps and a broken chain of extended records, but not a partition that exceeds the disk."""
    verified = System().run(["sfdisk", "--verify", require_file(disk)], ok=ANY_STATUS)
    if verified.returncode or verified.stderr or "No errors detected" not in verified.text:
        return last_lines(verified.stderr + verified.stdout)
    size = disk.stat().st_size
    out = [str(span.start_bytes) for span in spans if span.start_bytes + span.size_bytes > size]
    return f"the partition at byte {', '.join(out)} exceeds the disk" if out else "no errors"


def _ends_with_header(disk: Path) -> bool:
    """Whether the last sector is a header of this GPT and no other, says so, and has the right sum.

    Source: UEFI specification 2.10, 5.3.2.
    """
    with require_file(disk).open("rb") as file:
        first = file.read(2 * SECTOR_BYTES)[SECTOR_BYTES:]
        last = file.seek(-SECTOR_BYTES, os.SEEK_END) // SECTOR_BYTES
        sector = file.read()
    size, crc, here = struct.unpack_from("<II4xQ", sector, 12)
    checked = sector[:16] + bytes(4) + sector[20 : min(size, SECTOR_BYTES)]
    same_table = (sector[:8], sector[_GPT_ID]) == (b"EFI PART", first[_GPT_ID])
    return bool(same_table and here == last and zlib.crc32(checked) == crc)


def _kinds_of_tables(disk: Path) -> tuple[str, str]:
    """Those that belong to the disk's table, and those that wipefs finds: it looks at the disk's end as well."""
    label = read_table(disk)["label"]
    found = System().run(["wipefs", "--noheadings", "--output", "TYPE", disk]).text.split()
    return "PMBR, gpt" if label == "gpt" else label, ", ".join(sorted(set(found)))


def _size_check(data: Span, described: str, shipped_bytes: int, *, grown: bool) -> Check:
    values = {name: int(number) for name, number in _BLOCKS.findall(described)}
    size_bytes = values["Block count"] * values["Block size"]
    if grown:
        passed = data.size_bytes > shipped_bytes and size_bytes == data.size_bytes
        expected = f"more than {in_mib(shipped_bytes)}, filled by its file system"
    else:
        passed, expected = data.size_bytes == shipped_bytes, in_mib(shipped_bytes)
    found = f"{in_mib(data.size_bytes)}, with a file system of {in_mib(size_bytes)}"
    return Check(name=SIZE, passed=passed, expected=expected, found=found)
