# SPDX-License-Identifier: Apache-2.0
"""What a BIOS and a Raspberry Pi's firmware start at all: boot code that is whole, a table with a FAT."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.cuts.chains import BiosGrub, RaspberryPi, boot_code
from balena_migrate.workstation.lab.cuts.grub import GrubPlace
from balena_migrate.workstation.lab.machines.raspberrypi.machine import RASPI3B

CORE, REST, REST_SECTORS = 1, 2, 5


def sector(content: bytes, *fields: tuple[int, bytes]) -> bytearray:
    made = bytearray(content.ljust(SECTOR_BYTES, b"\0"))
    for place, field in fields:
        made[place : place + len(field)] = field
    return made


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """GRUB as grub-install puts it: boot.img, and core.img in the sectors behind it."""
    code = sector(b"boot code", (0x5C, struct.pack("<Q", CORE)), (510, b"\x55\xaa"))
    first = sector(b"core", (SECTOR_BYTES - 12, struct.pack("<QHH", REST, REST_SECTORS, 0x820)))
    path = tmp_path / "disk"
    path.write_bytes(code + first + b"r" * REST_SECTORS * SECTOR_BYTES + bytes(64 * SECTOR_BYTES))
    return path


def change(disk: Path, place: int, content: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(place)
        file.write(content)


@pytest.mark.parametrize("place", [0, CORE * SECTOR_BYTES, (REST + REST_SECTORS) * SECTOR_BYTES - 1])
def test_boot_code_is_all_that_is_loaded(disk: Path, place: int) -> None:
    before = boot_code(disk)
    change(disk, place, b"!")
    assert boot_code(disk) != before
    with pytest.raises(LabError, match="not the old system's"):
        BiosGrub(place=GrubPlace(root="hd0,msdos1", folder="/boot/grub"), code=before).starts(disk)


@pytest.mark.parametrize("place", [446, (REST + REST_SECTORS) * SECTOR_BYTES])
def test_the_table_and_what_follows_are_no_boot_code(disk: Path, place: int) -> None:
    before = boot_code(disk)
    change(disk, place, b"!")
    assert boot_code(disk) == before


def test_a_first_sector_of_zeros_starts_nothing(disk: Path) -> None:
    change(disk, 0, bytes(SECTOR_BYTES))
    with pytest.raises(LabError, match="no signature"):
        boot_code(disk)


@pytest.mark.parametrize(
    ("kind", "signature"), [(0x83, b"\x55\xaa"), (0x0C, b"\0\0")], ids=["linux-first", "no-signature"]
)
def test_a_card_without_a_fat_in_the_first_place_starts_nothing(tmp_path: Path, kind: int, signature: bytes) -> None:
    entry = struct.pack("<4xB3xII", kind, 8192, 1000)
    card = tmp_path / "card"
    card.write_bytes(sector(b"", (446, entry), (510, signature)))
    with pytest.raises(LabError, match="no partition table with a FAT"):
        RaspberryPi(board=RASPI3B.board, folder="boot").starts(card)
