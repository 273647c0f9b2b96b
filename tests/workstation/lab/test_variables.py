# SPDX-License-Identifier: Apache-2.0
"""Variable stores of OVMF are read as their bytes say, copied beside a disk, and can be filled."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.machines.pc import OVMF, Firmware
from balena_migrate.workstation.lab.variables import (
    BootEntry,
    BootVariables,
    copy_store,
    fill_store,
    forget_next,
    parse_entry,
    read_boot_variables,
    store_of,
)

GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
FIRST_VARIABLE = 0x64
"""Where OVMF_VARS_4M.fd has its first variable: after the headers of volume (72 bytes) and store (28)."""
PARTITION = bytes.fromhex("04012a000100000000080000000000000000020000000000") + bytes(range(16)) + b"\x02\x02"
TEXT = "HD(1,GPT,03020100-0504-0706-0809-0a0b0c0d0e0f,0x800,0x20000)"


def wide(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


def entry(label: str, path: str, optional: bytes = b"", *, active: int = 1) -> bytes:
    """An EFI_LOAD_OPTION, byte by byte."""
    file = b"\x04\x04" + struct.pack("<H", 4 + len(wide(path))) + wide(path)
    devices = PARTITION + file + b"\x7f\xff\x04\x00"
    return struct.pack("<IH", active, len(devices)) + wide(label) + devices + optional


def variable(name: str, data: bytes, *, state: int = 0x3F) -> bytes:
    """An authenticated variable as edk2 stores it (MdeModulePkg, VariableFormat.h)."""
    head = struct.pack("<HBxI", 0x55AA, state, 7) + bytes(8 + 16 + 4)
    content = head + struct.pack("<II", len(wide(name)), len(data)) + GLOBAL + wide(name) + data
    return content + b"\xff" * (-len(content) % 4)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk whose machine has the variables of a new PC."""
    Firmware.UEFI.new_store(tmp_path / "disk.img")
    return tmp_path / "disk.img"


def put(disk: Path, *variables: bytes) -> None:
    with store_of(disk).open("r+b") as file:
        file.seek(FIRST_VARIABLE)
        file.write(b"".join(variables))


def test_a_machine_without_uefi_has_no_variables(tmp_path: Path) -> None:
    Firmware.BIOS.new_store(tmp_path / "disk.img")
    assert read_boot_variables(tmp_path / "disk.img") is None


def test_a_new_pc_has_no_boot_entries(disk: Path) -> None:
    assert read_boot_variables(disk) == BootVariables(entries=(), order=(), next=None)


def test_entries_order_and_next_are_those_of_the_bytes(disk: Path) -> None:
    put(
        disk,
        variable("Boot0003", entry("debian", "\\EFI\\debian\\shimx64.efi")),
        variable("Boot00BA", entry("ours", "\\EFI\\a\\vmlinuz.efi", b"r\0o\0", active=0)),
        variable("BootOrder", struct.pack("<2H", 3, 0xBA)),
        variable("BootNext", struct.pack("<H", 0xBA)),
        variable("BootOptionSupport", b"\x03\x03\0\0"),
    )
    found = read_boot_variables(disk)
    assert found is not None
    assert found.entries == (
        BootEntry(number=3, label="debian", path=f"{TEXT}/\\EFI\\debian\\shimx64.efi"),
        BootEntry(number=0xBA, label="ours", path=f"{TEXT}/\\EFI\\a\\vmlinuz.efi", optional=b"r\0o\0", bootable=False),
    )
    assert (found.order, found.next) == ((3, 0xBA), 0xBA)
    assert found.first == found.find("ours") == found.entries[1]
    assert found.entries[1].line.endswith("vmlinuz.efi ro")
    assert replace(found.entries[1], optional=b"\x07\xff").arguments == "07ff"
    assert found.lines()[2:] == ("BootOrder 0003,00BA", "BootNext 00BA")


def test_without_boot_next_the_first_entry_of_the_order_that_exists_is_started(disk: Path) -> None:
    put(
        disk,
        variable("Boot0001", entry("debian", "\\a")),
        variable("BootOrder", struct.pack("<2H", 7, 1)),
        variable("BootNext", struct.pack("<H", 1), state=0x3C),
    )
    found = read_boot_variables(disk)
    assert found is not None and found.next is None, "the state of a deleted variable"
    assert found.first == found.find("debian")


def test_the_path_of_a_partition_in_an_mbr_has_its_signature() -> None:
    signature = bytes.fromhex("e7913c5a") + bytes(12) + b"\x01\x01"
    data = entry("old", "\\x").replace(PARTITION[24:], signature)
    assert parse_entry(0, data).path == "HD(1,MBR,0x5a3c91e7,0x800,0x20000)/\\x"


def test_a_store_is_copied_with_its_disk_and_no_store_is_none(disk: Path, tmp_path: Path) -> None:
    put(disk, variable("Boot0001", entry("debian", "\\a")))
    (tmp_path / "other").mkdir()
    copy_store(disk, tmp_path / "other/disk.img")
    assert read_boot_variables(tmp_path / "other/disk.img") == read_boot_variables(disk)
    (tmp_path / "third").mkdir()
    copy_store(tmp_path / "fourth/disk.img", tmp_path / "third/disk.img")
    assert list((tmp_path / "third").iterdir()) == []


def test_a_full_store_keeps_its_entries_and_has_the_room_that_was_asked_for(disk: Path) -> None:
    put(disk, variable("Boot0001", entry("debian", "\\a")), variable("BootOrder", b"\x01\x00"))
    before = read_boot_variables(disk)
    size = store_of(disk).stat().st_size
    fill_store(disk, 300)
    assert read_boot_variables(disk) == before
    content = store_of(disk).read_bytes()
    assert len(content) == size
    volume_end = 0x48 + struct.unpack_from("<I", content, 0x48 + 16)[0]
    free = len(content[:volume_end]) - len(content[:volume_end].rstrip(b"\xff"))
    assert 300 <= free < 400
    with pytest.raises(LabError, match="left, not 4096"):
        fill_store(disk, 4096)


def test_a_store_forgets_boot_next_and_nothing_else(disk: Path) -> None:
    put(
        disk,
        variable("Boot0001", entry("debian", "\\a")),
        variable("BootOrder", b"\1\0"),
        variable("BootNext", b"\1\0"),
    )
    before = read_boot_variables(disk)
    assert before and before.next == 1
    forget_next(disk)
    assert read_boot_variables(disk) == replace(before, next=None)
    with pytest.raises(LabError, match="has no BootNext"):
        forget_next(disk)


def test_what_is_no_variable_store_is_said_to_be_none(tmp_path: Path) -> None:
    store_of(tmp_path / "disk.img").write_bytes(b"\xff" * 4096)
    with pytest.raises(LabError, match=r"variables\.fd is not a variable store"):
        read_boot_variables(tmp_path / "disk.img")


def test_secure_boot_has_a_store_with_keys(tmp_path: Path) -> None:
    Firmware.SECURE_BOOT.new_store(tmp_path / "disk.img")
    assert store_of(tmp_path / "disk.img").read_bytes() == (OVMF / "OVMF_VARS_4M.ms.fd").read_bytes()
    arguments = Firmware.SECURE_BOOT.arguments(tmp_path / "disk.img")
    assert f"if=pflash,unit=1,format=raw,file={tmp_path}/variables.fd" in arguments
    assert any(word.endswith("property=secure,value=on") for word in arguments)
