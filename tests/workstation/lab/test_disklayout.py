# SPDX-License-Identifier: Apache-2.0
"""An old system's disk is as its layout says, in the eyes of sfdisk, blkid and the kernel."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.disklayout import DiskLayout, Kind, Part, Table, make_laid_out
from balena_migrate.workstation.lab.disks import FileSystem, Span, mounted_system

ROOT = Part(kind=Kind.ROOT, uuid="0f6d3c1e-7a52-4b39-9d0e-5c1b8a7e2f41")
ALL = DiskLayout(
    table=Table.GPT,
    table_id="7d0c1c5b-2a8f-4b46-9be4-6f1d0c8f2a31",
    parts=(
        Part(kind=Kind.BIOS_GRUB, size_bytes=MIB),
        Part(kind=Kind.ESP, size_bytes=100 * MIB, uuid="5C1E-A0B7"),
        Part(kind=Kind.BOOT, size_bytes=32 * MIB, uuid="e2a9b1d4-3c5f-4a7b-8d60-1f2e3d4c5b6a"),
        ROOT,
        Part(kind=Kind.SWAP, size_bytes=16 * MIB, uuid="a1c3e5f7-9b0d-4c2e-8f6a-7b5d3e1c9a80"),
    ),
    swap_file_bytes=4 * MIB,
)
SIZE = 256 * MIB


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_the_part_without_a_size_takes_what_the_others_leave() -> None:
    spans = DiskLayout(table_id="0x12345678", parts=(ROOT, Part(kind=Kind.USR, size_bytes=8 * MIB))).spans(SIZE)
    assert spans == {
        Kind.ROOT: Span(start_bytes=MIB, size_bytes=SIZE - 9 * MIB),
        Kind.USR: Span(start_bytes=SIZE - 8 * MIB, size_bytes=8 * MIB),
    }


def test_each_file_system_comes_after_the_one_that_has_its_folder() -> None:
    found = ALL.file_systems(SIZE)
    assert [(system.folder, system.fat) for system in found] == [("", False), ("boot", False), ("boot/efi", True)]


def test_fstab_names_them_all_and_the_swap_file() -> None:
    assert ALL.fstab == (
        "UUID=5C1E-A0B7 /boot/efi vfat umask=0077 0 1\n"
        "UUID=e2a9b1d4-3c5f-4a7b-8d60-1f2e3d4c5b6a /boot ext4 defaults 0 2\n"
        "UUID=0f6d3c1e-7a52-4b39-9d0e-5c1b8a7e2f41 / ext4 errors=remount-ro 0 1\n"
        "UUID=a1c3e5f7-9b0d-4c2e-8f6a-7b5d3e1c9a80 none swap sw 0 0\n"
        "/swapfile none swap sw 0 0\n"
    )


@pytest.mark.loop
@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop")
def test_a_gpt_disk_has_all_that_its_layout_says(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    systems = make_laid_out(disk, SIZE, ALL)
    table = json.loads(run("sfdisk", "--json", disk))["partitiontable"]
    assert (table["label"], table["id"].lower()) == ("gpt", ALL.table_id)
    assert [part["type"][:8] for part in table["partitions"]] == [
        *("21686148", "C12A7328", "0FC63DAF", "0FC63DAF", "0657FD6D")
    ]
    spans = ALL.spans(SIZE)
    assert [part["start"] * 512 for part in table["partitions"]] == [span.start_bytes for span in spans.values()]
    assert {kind: probe(disk, spans[kind]) for kind in (Kind.ESP, Kind.BOOT, Kind.ROOT, Kind.SWAP)} == {
        part.kind: part.uuid for part in ALL.parts if part.uuid
    }
    with mounted_system(disk, systems, read_only=True) as root:
        assert (root / "boot/efi").is_dir() and os.path.ismount(root / "boot")
        assert run("blkid", "-p", "-s", "TYPE", "-o", "value", root / "swapfile") == "swap\n"


@pytest.mark.loop
@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop")
def test_an_mbr_disk_has_an_active_first_partition(tmp_path: Path) -> None:
    layout = DiskLayout(table_id="0x12345678", parts=(ROOT,))
    assert make_laid_out(tmp_path / "disk", 64 * MIB, layout) == (
        FileSystem(span=Span(start_bytes=MIB, size_bytes=63 * MIB)),
    )
    (part,) = json.loads(run("sfdisk", "--json", tmp_path / "disk"))["partitiontable"]["partitions"]
    assert (part["type"], part["bootable"]) == ("83", True)


def probe(disk: Path, span: Span) -> str:
    """The UUID of the file system in the partition."""
    argv = ("blkid", "-p", "-s", "UUID", "-o", "value", "--offset", str(span.start_bytes))
    return run(*argv, "--size", str(span.size_bytes), disk).strip()
