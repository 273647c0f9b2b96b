# SPDX-License-Identifier: Apache-2.0
"""A disk full of waste: all that the old system does not use, and nothing that it does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.disks import FileSystem, Span, make_disk
from balena_migrate.workstation.lab.waste import MORE_BYTES, WASTE, fill_unused, free_spans

pytestmark = pytest.mark.processes

DISK_BYTES = 40 * MIB


@pytest.fixture(params=["1024", "4096"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An old system with a file of 9 MiB that ends within a block, and another one behind a removed one."""
    (tmp_path / "root").mkdir()
    for name, size in (("first", 9 * MIB + 5), ("removed", 3 * MIB), ("last", 2 * MIB)):
        (tmp_path / "root" / name).write_bytes(name.encode() * (size // len(name)))
    span = make_disk(tmp_path / "disk", DISK_BYTES, table_id="0x5a3c91e7")
    options = f"-b {request.param} -E offset={span.start_bytes},nodiscard -d {tmp_path}/root".split()
    blocks = f"{span.size_bytes // 1024}k"
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", *options, tmp_path / "disk", blocks], check=True)
    place = f"{tmp_path / 'disk'}?offset={span.start_bytes}"
    subprocess.run(["debugfs", "-w", "-R", "rm removed", place], check=True, capture_output=True)
    return tmp_path / "disk"


def read_file(disk: Path, name: str) -> bytes:
    return subprocess.run(
        ["debugfs", "-R", f"cat {name}", f"{disk}?offset={MIB}"], check=True, capture_output=True
    ).stdout


def test_only_what_is_free_is_filled(disk: Path) -> None:
    before = {name: read_file(disk, name) for name in ("first", "last")}
    start = disk.read_bytes()[:MIB]
    fill_unused(disk, [FileSystem(span=Span(start_bytes=MIB, size_bytes=DISK_BYTES - MIB))])
    assert {name: read_file(disk, name) for name in before} == before
    assert disk.read_bytes()[:MIB] == start
    subprocess.run(["e2fsck", "-f", "-n", f"{disk}?offset={MIB}"], check=True, capture_output=True)


def test_all_that_is_free_is_filled_and_the_disk_is_larger(disk: Path) -> None:
    assert b"removedremoved" in disk.read_bytes()
    fill_unused(disk, [FileSystem(span=Span(start_bytes=MIB, size_bytes=DISK_BYTES - MIB))])
    content, spans = disk.read_bytes(), list(free_spans(disk, MIB))
    assert b"removedremoved" not in content
    assert sum(span.size_bytes for span in spans) == free_bytes(disk)
    for span in spans:
        filled = content[span.start_bytes : span.start_bytes + span.size_bytes]
        assert filled == bytes([WASTE]) * span.size_bytes
    assert content[DISK_BYTES:] == bytes([WASTE]) * MORE_BYTES


def free_bytes(disk: Path) -> int:
    """By the superblock."""
    header = subprocess.run(["dumpe2fs", "-h", f"{disk}?offset={MIB}"], check=True, capture_output=True).stdout.decode()
    values = dict(line.split(":", 1) for line in header.splitlines() if ":" in line)
    return int(values["Free blocks"]) * int(values["Block size"])


def test_a_fat_is_left_alone(disk: Path) -> None:
    before = disk.read_bytes()
    fill_unused(disk, [FileSystem(span=Span(start_bytes=MIB, size_bytes=DISK_BYTES - MIB), fat=True)])
    assert disk.read_bytes()[:DISK_BYTES] == before
