# SPDX-License-Identifier: Apache-2.0
"""What stage 2 left on a disk is judged before the new system can repair it."""

from __future__ import annotations

import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.images.room import grown_table
from balena_migrate.workstation.lab.disklayout import Table
from balena_migrate.workstation.lab.leftdisk import (
    BACKUP,
    CHECKED,
    JOURNAL,
    ONE_TABLE,
    SIZE,
    TABLE,
    clean,
    left_disk_checks,
)
from balena_migrate.workstation.lab.lookalike.layout import Layout, plan_layout, table_sectors
from balena_migrate.workstation.lab.lookalike.specs import find_spec
from tests.support.tables import image_of, put_blocks

pytestmark = pytest.mark.processes

SPEC = replace(find_spec("intel-nuc"), boot_bytes=8 * MIB, root_bytes=8 * MIB, data_bytes=60 * MIB)
GPT_SPEC = replace(SPEC, table=Table.GPT)
DATA = plan_layout(SPEC).labelled("resin-data")
GROWN_BYTES = 128 * MIB
DISK_BYTES = 512 * MIB


def make_disk(path: Path, *, grown: bool, file_system_bytes: int) -> Path:
    layout = plan_layout(SPEC)
    with path.open("wb") as file:
        file.truncate(layout.size_bytes)
        for offset, sector in table_sectors(layout).items():
            file.seek(offset)
            file.write(sector)
    put_blocks(path, grown_table(image_of(path), GROWN_BYTES, DISK_BYTES) if grown else (), DISK_BYTES)
    make_file_systems(path, layout, file_system_bytes)
    return path


def make_file_systems(disk: Path, layout: Layout, data_bytes: int) -> None:
    for part in (layout.labelled(label) for label in CHECKED):
        options = f"offset={part.start_bytes},nodiscard"
        size = f"{(data_bytes if part.label == 'resin-data' else part.size_bytes) // 1024}k"
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", options, disk, size], check=True, capture_output=True)


def failed(disk: Path, *, grown: bool) -> list[str]:
    checks = list(left_disk_checks(disk, SPEC, grown=grown))
    assert [check.name for check in checks] == [TABLE, ONE_TABLE, SIZE, JOURNAL, *map(clean, CHECKED)]
    return [check.name for check in checks if not check.passed]


def test_as_the_image_has_it(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", grown=False, file_system_bytes=60 * MIB)
    assert failed(disk, grown=False) == []
    assert failed(disk, grown=True) == [SIZE]


def test_grown_with_its_file_system(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", grown=True, file_system_bytes=GROWN_BYTES)
    assert failed(disk, grown=True) == []
    assert failed(disk, grown=False) == [SIZE]


def test_a_gpt_of_the_old_system_at_the_disks_end(tmp_path: Path) -> None:
    """A protective MBR that is no longer there makes no difference to wipefs."""
    disk, old = make_disk(tmp_path / "disk", grown=True, file_system_bytes=GROWN_BYTES), tmp_path / "old"
    with old.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["sfdisk", "-q", "--no-tell-kernel", old], input=b"label: gpt\nsize=1MiB\n", check=True)
    with disk.open("r+b") as file:
        file.seek(DISK_BYTES - 33 * 512)
        file.write(old.read_bytes()[-33 * 512 :])
    assert failed(disk, grown=True) == [ONE_TABLE]


def test_a_file_system_that_stayed_small(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", grown=True, file_system_bytes=60 * MIB)
    assert failed(disk, grown=True) == [SIZE]


@pytest.mark.parametrize("label", CHECKED)
def test_a_file_system_with_errors(label: str, tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", grown=True, file_system_bytes=GROWN_BYTES)
    place = f"{disk}?offset={plan_layout(SPEC).labelled(label).start_bytes}"
    subprocess.run(["debugfs", "-w", "-R", "clri <11>", place], check=True, capture_output=True)
    assert failed(disk, grown=True) == [clean(label)]


def test_a_journal_that_was_not_emptied(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", grown=True, file_system_bytes=GROWN_BYTES)
    place = f"{disk}?offset={DATA.start_bytes}"
    subprocess.run(["debugfs", "-w", "-R", "feature needs_recovery", place], check=True, capture_output=True)
    assert failed(disk, grown=True) == [JOURNAL]


@pytest.mark.parametrize("sectors", [b"\xff\xff\xff\x0f", b"\x00\x00\x02\x00"])
def test_a_table_with_an_extended_partition_that_is_too_long_or_too_short(tmp_path: Path, sectors: bytes) -> None:
    disk = make_disk(tmp_path / "disk", grown=True, file_system_bytes=GROWN_BYTES)
    with disk.open("r+b") as file:
        file.seek(446 + 3 * 16 + 12)
        file.write(sectors)
    assert TABLE in [check.name for check in left_disk_checks(disk, SPEC, grown=True) if not check.passed]


def make_gpt_disk(path: Path, table_bytes: int) -> Path:
    """A disk with a GPT made for this size, and an empty resin-data."""
    layout = plan_layout(GPT_SPEC)
    with path.open("wb") as file:
        file.truncate(DISK_BYTES)
        for offset, sectors in table_sectors(replace(layout, size_bytes=table_bytes)).items():
            file.seek(offset)
            file.write(sectors)
    make_file_systems(path, layout, 60 * MIB)
    return path


def found_on_gpt(disk: Path) -> dict[str, bool]:
    return {check.name: check.passed for check in left_disk_checks(disk, GPT_SPEC, grown=False)}


def test_a_gpt_with_its_backup_at_the_end_of_the_disk(tmp_path: Path) -> None:
    found = found_on_gpt(make_gpt_disk(tmp_path / "disk", DISK_BYTES))
    assert found == dict.fromkeys((TABLE, BACKUP, ONE_TABLE, SIZE, JOURNAL, *map(clean, CHECKED)), True)


def test_a_gpt_with_its_backup_at_the_end_of_the_image(tmp_path: Path) -> None:
    found = found_on_gpt(make_gpt_disk(tmp_path / "disk", plan_layout(GPT_SPEC).size_bytes))
    assert not found[BACKUP] and not found[TABLE]


def test_the_backup_of_another_gpt_at_the_end_of_the_disk(tmp_path: Path) -> None:
    """Such as that of the old system."""
    disk = make_gpt_disk(tmp_path / "disk", DISK_BYTES)
    with disk.open("r+b") as file:
        file.seek(DISK_BYTES - 512)
        header = bytearray(file.read())
        header[56:72] = bytes(16)
        header[16:20] = bytes(4)
        header[16:20] = zlib.crc32(header[:92]).to_bytes(4, "little")
        file.seek(DISK_BYTES - 512)
        file.write(header)
    assert not found_on_gpt(disk)[BACKUP]


def test_a_gpt_whose_backup_has_a_wrong_sum(tmp_path: Path) -> None:
    disk = make_gpt_disk(tmp_path / "disk", DISK_BYTES)
    with disk.open("r+b") as file:
        file.seek(DISK_BYTES - 512 + 56)
        file.write(b"\xff")
    assert not found_on_gpt(disk)[BACKUP]
