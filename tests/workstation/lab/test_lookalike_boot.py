# SPDX-License-Identifier: Apache-2.0
"""Look-alikes are built and booted: they start as the real ones would, and tell what is on the disk."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.lab.lookalike import build_image, image_content, parse_report, write_image
from balena_migrate.workstation.lab.lookalike.grubboot import make_boot_code
from balena_migrate.workstation.lab.lookalike.sources import fetch_sources
from balena_migrate.workstation.lab.lookalike.specs import Board, find_spec
from balena_migrate.workstation.lab.machines.pc import Firmware

pytestmark = pytest.mark.vm

DISK_BYTES = 4 << 30
GRUB_CFG = b"timeout=0\nmenuentry boot {\n    linux /vmlinuz root=LABEL=resin-rootA rootwait\n}\n"


def _disk(image: Path, folder: Path) -> Path:
    disk = folder / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    write_image(image, disk)
    return disk


def _boot_pc(disk: Path, timeout_s: float, firmware: Firmware = Firmware.BIOS) -> str:
    """What a PC writes to its serial port until it is off or the time is over."""
    argv = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-m", "512", "-nographic", "-no-reboot"]
    argv += ["-nic", "none", "-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "ide-hd,drive=disk"]
    argv += firmware.arguments(disk)
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=True)
    except subprocess.TimeoutExpired as stopped:
        return (stopped.stdout or b"").decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "replace")


def test_current_image_boots_by_itself_and_reports(tmp_path: Path) -> None:
    disk = _disk(build_image("intel-nuc", cache_folder()), tmp_path)
    report = parse_report(_boot_pc(disk, 600))
    found = {
        "resin-boot": report.boot_files,
        "resin-rootA": report.root_files,
        "resin-state": report.state_files,
        "resin-data": report.data_files,
    }
    listed = {label: {file.path: file.sha256 for file in files} for label, files in found.items()}
    assert listed == image_content("intel-nuc", cache_folder()).files
    assert all(len(files) > 100 for files in listed.values())
    assert [part.label for part in report.partitions if part.check_status == 0] == [
        *("resin-boot", "resin-rootA", "resin-rootB", "resin-state", "resin-data")
    ]
    data = report.find_partition("resin-data")
    assert data is not None
    assert report.data_bytes_before == 196 << 20
    assert data.start_bytes + data.size_bytes == DISK_BYTES
    assert "remove_me_to_reset" in {file.path for file in report.data_files}


@pytest.mark.parametrize("name", ["generic-amd64", "intel-nuc"])
def test_an_image_with_a_loader_for_uefi_boots_there_without_a_boot_entry(name: str, tmp_path: Path) -> None:
    image = build_image(replace(find_spec(name), root_bytes=320 << 20), cache_folder())
    disk = _disk(image, tmp_path)
    Firmware.UEFI.new_store(disk)
    report = parse_report(_boot_pc(disk, 600, Firmware.UEFI))
    assert "BootOrder: " in report.boot_entries and "balenaOS" not in report.boot_entries
    assert not report.backup_at_end, "a GPT's backup is at the image's end, and an MBR has none"
    data = report.find_partition("resin-data")
    assert data is not None and data.start_bytes + data.size_bytes > DISK_BYTES - (2 << 20)


def test_old_image_boots_only_once_it_is_given_a_boot_loader(tmp_path: Path) -> None:
    disk = _disk(build_image("intel-nuc-2.15", cache_folder()), tmp_path)
    assert "look-alike: started" not in _boot_pc(disk, 15)
    modules = fetch_sources(Board.PC, cache_folder()).grub_modules
    code = make_boot_code(modules)
    with disk.open("r+b") as file:
        file.write(code.boot[:446])
        file.seek(512)
        file.write(code.core)
    grub = tmp_path / "grub"
    shutil.copytree(modules, grub / "i386-pc")
    (grub / "grub.cfg").write_bytes(GRUB_CFG)
    System().run(["mcopy", "-s", "-i", f"{disk}@@{4 << 20}", grub, "::/"])
    report = parse_report(_boot_pc(disk, 600))
    assert "root=LABEL=resin-rootA" in report.command_line
