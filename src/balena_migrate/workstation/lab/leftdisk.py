# SPDX-License-Identifier: Apache-2.0
"""What stage 2 left on the disk, read from outside before the new system starts: it grows resin-data further, and
repairs what it finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from balena_migrate.core.system import System, last_lines
from balena_migrate.core.units import in_mib
from balena_migrate.workstation.lab.disks import Span, read_partitions, require_file
from balena_migrate.workstation.lab.lookalike.layout import plan_layout
from balena_migrate.workstation.lab.lookalike.specs import ImageSpec
from balena_migrate.workstation.lab.result import Check, same

TABLE = "the partition table that stage 2 left"
SIZE = "resin-data as stage 2 left it"
CLEAN = "errors in resin-data as stage 2 left it"
ANY_STATUS = tuple(range(256))

_BLOCKS = re.compile(r"^(Block count|Block size):\s+(\d+)$", re.MULTILINE)


def left_disk_checks(disk: Path, image: ImageSpec, *, grown: bool) -> Iterator[Check]:
    """The table is sound, resin-data is as the image has it, or `grown` and filled by its file system, and clean."""
    shipped = plan_layout(image).labelled("resin-data")
    spans = read_partitions(disk)
    yield same(TABLE, "nothing wrong", _wrong_in_table(disk, spans))
    data = next((span for span in spans if span.start_bytes == shipped.start_bytes), None)
    if data is None:
        yield Check(name=SIZE, passed=False, expected=f"at byte {shipped.start_bytes}", found="no such partition")
        return
    yield _size_check(disk, data, shipped.size_bytes, grown=grown)
    place = f"{disk}?offset={data.start_bytes}"
    checked = System().run(["e2fsck", "-f", "-n", place], ok=ANY_STATUS)
    found = "none" if checked.returncode == 0 else checked.text.strip()
    yield same(CLEAN, "none", found)


def _wrong_in_table(disk: Path, spans: tuple[Span, ...]) -> str:
    """sfdisk sees overlaps and a chain that leads astray, but no partition that leads out of the disk."""
    verified = System().run(["sfdisk", "--verify", require_file(disk)], ok=ANY_STATUS)
    if verified.returncode or verified.stderr or "No errors detected" not in verified.text:
        return last_lines(verified.stderr + verified.stdout)
    size = disk.stat().st_size
    out = [str(span.start_bytes) for span in spans if span.start_bytes + span.size_bytes > size]
    return f"what begins at byte {', '.join(out)} ends behind the disk" if out else "nothing wrong"


def _size_check(disk: Path, data: Span, shipped_bytes: int, *, grown: bool) -> Check:
    size_bytes = _file_system_bytes(disk, data)
    if grown:
        passed = data.size_bytes > shipped_bytes and size_bytes == data.size_bytes
        expected = f"more than {in_mib(shipped_bytes)}, all of it taken by the file system"
    else:
        passed, expected = data.size_bytes == shipped_bytes, in_mib(shipped_bytes)
    found = f"{in_mib(data.size_bytes)}, with a file system of {in_mib(size_bytes)}"
    return Check(name=SIZE, passed=passed, expected=expected, found=found)


def _file_system_bytes(disk: Path, data: Span) -> int:
    told = System().run(["dumpe2fs", "-h", f"{disk}?offset={data.start_bytes}"]).text
    values = {name: int(number) for name, number in _BLOCKS.findall(told)}
    return values["Block count"] * values["Block size"]
