# SPDX-License-Identifier: Apache-2.0
"""The machine of an EFI program, by its header; programs of this computer's own GRUB as a second opinion."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from balena_migrate.images.efi_program import HEAD_BYTES, NO_PROGRAM, X86_64, parse_machine
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.scan import read_image
from tests.support.images import BOOT_FILES, make_fat, make_image
from tests.support.tables import reader


def program(machine: int, *, place: int = 0x80, signature: bytes = b"PE\0\0") -> bytes:
    head = b"MZ" + bytes(0x3A) + struct.pack("<I", place)
    return head.ljust(place, b"\0") + signature + struct.pack("<H", machine) + bytes(100)


@pytest.mark.parametrize(
    ("content", "machine"),
    [
        (program(X86_64), X86_64),
        (program(0x014C), 0x014C),
        (program(0xAA64, place=0x200), 0xAA64),
        (program(X86_64, signature=b"NE\0\0"), NO_PROGRAM),
        (program(X86_64, place=HEAD_BYTES), NO_PROGRAM),
        (program(X86_64)[:0x3C] + struct.pack("<I", 0xFFFFFFFF - 4) + bytes(100), NO_PROGRAM),
        (b"MZ", NO_PROGRAM),
        (b"MZ" + bytes(0x3A) + b"\xff\xff\xff\xff", NO_PROGRAM),
        (program(X86_64)[:0x85], NO_PROGRAM),
        (b"\x7fELF" + program(X86_64)[4:], NO_PROGRAM),
        (b"", NO_PROGRAM),
    ],
    ids=lambda value: None if isinstance(value, int) else f"{len(value)}-bytes",
)
def test_the_machine_of_a_program(content: bytes, machine: int) -> None:
    assert parse_machine(content[:HEAD_BYTES]) == machine


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "content", "machine"),
    [
        ("EFI/BOOT/bootx64.efi", program(X86_64), X86_64),
        ("EFI/BOOT/BOOTX64.EFI", program(0x014C, place=0xC00) + bytes(20000), 0x014C),
        ("EFI/BOOT/bootx64.efi", b"", NO_PROGRAM),
        ("EFI/BOOT/bootia32.efi", program(0x014C), None),
        ("EFI/BOOT/bootx64.efi/file", b"", None),
    ],
)
def test_an_images_loader_is_read_out_of_its_boot_partition(
    name: str, content: bytes, machine: int | None, tmp_path: Path
) -> None:
    folders = {"EFI/none": b"", f"{name.rpartition('/')[0].rpartition('/')[0]}/none": b""}
    (tmp_path / "image").write_bytes(make_image(tmp_path, {**BOOT_FILES, **folders, name: content}))
    assert read_image(tmp_path / "image", tmp_path, lambda done, total: None).identity.efi_machine == machine


@pytest.mark.processes
def test_the_start_of_a_file_is_read_and_no_more(tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    fat = Fat(reader(make_fat(tmp_path / "fat", {"file": content, "short": b"x"})))
    assert fat.read_start("FILE", 1000) == content[:1000]
    assert fat.read_start("short", 1000) == b"x"


@pytest.mark.processes
def test_a_program_that_grub_mkimage_made(tmp_path: Path) -> None:
    modules = Path("/usr/lib/grub/x86_64-efi")
    if not modules.is_dir():
        pytest.skip("grub-efi-amd64-bin is not installed")
    path = tmp_path / "bootx64.efi"
    argv = [
        "grub-mkimage",
        "--directory",
        str(modules),
        "--format",
        "x86_64-efi",
        "--prefix",
        "/",
        "--output",
        str(path),
        "fat",
    ]
    subprocess.run(argv, check=True, capture_output=True)
    assert parse_machine(path.read_bytes()[:HEAD_BYTES]) == X86_64
