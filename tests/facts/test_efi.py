# SPDX-License-Identifier: Apache-2.0
"""What the kernel shows of UEFI firmware."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from balena_migrate.core.efi_variables import EFIVARS, dump_numbers, variable_path
from balena_migrate.core.load_option import HardDrive, LoadOption, dump_option
from balena_migrate.core.system import System
from balena_migrate.facts import FirmwareEntry
from balena_migrate.facts.efi import PLATFORM_SIZE, find_esps, has_stub, read_efi
from balena_migrate.images.efi_program import X86_64
from tests.support.facts import ESP_PARTUUID, uefi_facts

KERNEL = "/boot/vmlinuz-6.1.0-test"
MOUNT = f"30 24 0:24 / {EFIVARS} rw,nosuid,nodev,noexec,relatime - efivarfs efivarfs rw\n"
ESP = HardDrive(number=1, start_lba=2048, sectors=1_048_576, partuuid=ESP_PARTUUID)
DEBIAN = dump_option(LoadOption(label="debian", hard_drive=ESP, file="\\EFI\\debian\\shimx64.efi"))


def pe_file(machine: int = X86_64) -> bytes:
    head = bytearray(512)
    head[:2], head[60:64] = b"MZ", struct.pack("<I", 0x80)
    head[0x80:0x86] = b"PE\0\0" + struct.pack("<H", machine)
    return bytes(head)


def put(root: Path, path: str, content: bytes) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "/proc/self/mountinfo", MOUNT.encode())
    put(tmp_path, PLATFORM_SIZE, b"64\n")
    put(tmp_path, KERNEL, pe_file())
    values = {
        "BootCurrent": dump_numbers((1,)),
        "BootOrder": dump_numbers((1, 0)),
        "Boot0001": DEBIAN,
        "Boot0000": dump_option(LoadOption(label="PXE", hard_drive=None, file="")),
        "Boot0009": b"\1\0\0\0\xff\xff",
    }
    for name, value in values.items():
        put(tmp_path, variable_path(name), b"\7\0\0\0" + value)
    return tmp_path


def test_firmware_its_entries_and_its_order_are_read(root: Path) -> None:
    efi = read_efi(System(root), uefi_facts().disks, KERNEL)
    assert (efi.bits, efi.current, efi.next, efi.order) == (64, 1, None, (1, 0))
    assert (efi.readable, efi.unwritable, efi.kernel_stub, efi.left_over) == (True, "", True, ())
    assert efi.damaged == ("Boot0009",)
    assert efi.entries == (
        FirmwareEntry(number=0, label="PXE", partuuid="", file=""),
        FirmwareEntry(number=1, label="debian", partuuid=ESP_PARTUUID, file="EFI\\debian\\shimx64.efi"),
    )


@pytest.mark.parametrize("name", ["balena-migrate-kernel.efi", "balena-migrate-initramfs"])
def test_a_file_of_ours_from_before_is_seen(root: Path, name: str) -> None:
    put(root, f"/boot/efi/{name}", b"")
    assert read_efi(System(root), uefi_facts().disks, KERNEL).left_over == (f"/boot/efi/{name}",)


@pytest.mark.parametrize(
    ("mounts", "readable", "unwritable"),
    [
        ("", False, "not mounted"),
        (MOUNT.replace(" rw,nosuid", " ro,nosuid"), True, "read-only"),
        (MOUNT.replace("efivarfs rw", "efivarfs ro"), True, "read-only"),
    ],
)
def test_variables_that_cannot_be_changed_say_why(root: Path, mounts: str, readable: bool, unwritable: str) -> None:
    put(root, "/proc/self/mountinfo", mounts.encode())
    efi = read_efi(System(root), uefi_facts().disks, KERNEL)
    assert efi.readable is readable and unwritable in efi.unwritable


def test_a_variable_that_is_cut_short_is_named(root: Path) -> None:
    put(root, variable_path("Boot0001"), b"\7\0")
    efi = read_efi(System(root), uefi_facts().disks, KERNEL)
    assert efi.damaged == ("Boot0001", "Boot0009")


def test_an_older_kernel_says_nothing_of_the_firmwares_size(root: Path) -> None:
    (root / PLATFORM_SIZE.lstrip("/")).unlink()
    assert read_efi(System(root), uefi_facts().disks, KERNEL).bits == 0


def test_an_esp_that_is_mounted_twice_counts_once() -> None:
    disks = uefi_facts().disks
    twice = [mount for mount in disks.mounts if mount.mount_point == "/boot/efi"]
    assert len(find_esps(disks)) == 1
    assert find_esps(disks)[0][0] == twice[0]


@pytest.mark.parametrize(
    ("content", "stub"),
    [(pe_file(), True), (pe_file(0x14C), False), (b"MZ" + bytes(600), False), (b"\x1f\x8b" + bytes(600), False)],
)
def test_a_kernel_that_64_bit_firmware_starts_is_a_program_for_it(tmp_path: Path, content: bytes, stub: bool) -> None:
    put(tmp_path, KERNEL, content)
    assert has_stub(System(tmp_path), KERNEL) is stub


def test_a_kernel_that_is_gone_is_none(tmp_path: Path) -> None:
    assert not has_stub(System(tmp_path), KERNEL)
