# SPDX-License-Identifier: Apache-2.0
"""What kernels and programs of 2014 show, and do not show: Ubuntu 14.04 has Linux 3.13, udev 204, util-linux 2.20."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.core.blockdev import find_kernel_name, read_serial, whole_disks
from balena_migrate.core.errors import CommandError
from balena_migrate.core.memory import parse_meminfo
from balena_migrate.core.system import Result, System
from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.facts.disks import read_disks
from balena_migrate.images.partitions.known_disk import find_target, read_identity
from balena_migrate.stage2.disks import partitions
from balena_migrate.stage2.watchdog import usable_watchdogs

SECTORS = 16_777_216
MOUNTINFO = "21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro,data=ordered\n"
KIT_LSBLK = ("/kit/base/ld.so", "/kit/base/bin/lsblk")

Runner = Callable[[Sequence[str], "bytes | None", "float | None"], Result]


def old_device(root: Path, runner: Runner, programs: dict[str, tuple[str, ...]] | None = None) -> System:
    """A disk with one partition as 3.13 shows it: nothing but size and numbers; watchdogs have no files at all."""
    disk, part = root / "sys/block/sda", root / "sys/block/sda/sda1"
    for folder in (part, disk / "holders", root / "dev", root / "proc/self", root / "sys/class/watchdog/watchdog0"):
        folder.mkdir(parents=True)
    (disk / "size").write_text(f"{SECTORS}\n")
    (part / "partition").write_text("1\n")
    (part / "start").write_text("2048\n")
    for kind in ("class/block", "dev/block"):
        (root / "sys" / kind).mkdir(parents=True)
    for folder, number in ((disk, "8:0"), (part, "8:1")):
        (root / "sys/class/block" / folder.name).symlink_to(f"/{folder.relative_to(root)}")
        (root / "sys/dev/block" / number).symlink_to(f"/{folder.relative_to(root)}")
    entry = struct.pack("<B3sB3sII", 0x80, b"", 0x83, b"", 2048, 4096)
    (root / "dev/sda").write_bytes(
        bytes(440) + struct.pack("<IH", 0x5A3C91E7, 0) + entry.ljust(64, b"\0") + b"\x55\xaa"
    )
    (root / "proc/self/mountinfo").write_text(MOUNTINFO)
    return System(root, runner=runner, programs=programs or {})


def kit_or_old_lsblk(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
    """util-linux 2.20 has no --json (2.27 brought it); the kit's lsblk has, but udev 204 noted no table id for it."""
    if tuple(argv[:2]) != KIT_LSBLK:
        return Result(stdout=b"", stderr=b"lsblk: unrecognized option '--json'\n", returncode=1)
    part = {"name": "sda1", "type": "part", "size": 1, "fstype": "ext4", "uuid": "1111", "ptuuid": None}
    disk = {
        "name": "sda", "path": "/dev/sda", "type": "disk", "size": SECTORS * SECTOR_BYTES, "ptuuid": None,
        "pttype": "dos", "children": [part],
    }  # fmt: skip
    return Result(stdout=json.dumps({"blockdevices": [disk]}).encode(), stderr=b"", returncode=0)


def test_the_kits_lsblk_is_asked_and_stage_2_finds_the_disk_by_what_stage_1_noted(tmp_path: Path) -> None:
    system = old_device(tmp_path, kit_or_old_lsblk, {"lsblk": KIT_LSBLK})
    disk = read_disks(system).devices[0]
    assert disk.table_id == "5a3c91e7"
    assert find_target(system, read_identity(system, disk.name)) == "/dev/sda"


def test_without_a_kit_an_old_lsblk_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="unrecognized option '--json'"):
        read_disks(old_device(tmp_path, kit_or_old_lsblk))


def test_where_the_disk_may_not_be_read_and_of_other_disks_the_table_id_is_lsblks(tmp_path: Path) -> None:
    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        disks: list[dict[str, Any]] = [
            {"name": n, "type": "disk", "size": size, "ptuuid": f"id-{n}"} for n, size in (("sda", 1), ("sdb", 2))
        ]
        disks[0]["children"] = [{"name": "sda1", "type": "part", "size": 1}]
        return Result(stdout=json.dumps({"blockdevices": disks}).encode(), stderr=b"", returncode=0)

    system = old_device(tmp_path, runner)
    (tmp_path / "dev/sdb").write_bytes((tmp_path / "dev/sda").read_bytes())
    ids = {device.name: device.table_id for device in read_disks(system).devices}
    assert (ids["sda"], ids["sdb"]) == ("5a3c91e7", "id-sdb")
    (tmp_path / "dev/sda").unlink()
    ids = {device.name: device.table_id for device in read_disks(system).devices}
    assert ids["sda"] == "id-sda"


def test_of_a_second_disk_of_the_same_size_is_read_what_stage_2_will_compare(tmp_path: Path) -> None:
    """lsblk knows a serial number from udev, and no id of a table that udev did not note."""

    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        disks: list[dict[str, Any]] = [
            {"name": n, "type": "disk", "size": 1, "serial": "udev's"} for n in ("sda", "sdb")
        ]
        disks[0]["children"] = [{"name": "sda1", "type": "part", "size": 1}]
        return Result(stdout=json.dumps({"blockdevices": disks}).encode(), stderr=b"", returncode=0)

    system = old_device(tmp_path, runner)
    (tmp_path / "dev/sdb").write_bytes((tmp_path / "dev/sda").read_bytes())
    (tmp_path / "sys/class/block/sdb/device").mkdir(parents=True)
    (tmp_path / "sys/class/block/sdb/device/wwid").write_text("naa.5000c500a1b2c3d4\n")
    found = {device.name: (device.table_id, device.serial) for device in read_disks(system).devices}
    assert (found["sda"], found["sdb"]) == (("5a3c91e7", ""), ("5a3c91e7", "naa.5000c500a1b2c3d4"))


def test_its_sysfs_tells_disks_and_partitions_and_neither_serials_nor_watchdogs(tmp_path: Path) -> None:
    system = old_device(tmp_path, kit_or_old_lsblk)
    assert whole_disks(system) == ("sda",)
    assert partitions(system, "/dev/sda") == ("sda1",)
    assert find_kernel_name(system, "8:1") == "sda1"
    assert find_kernel_name(system, "8:2") == ""
    assert read_serial(system, "sda") == ""
    assert usable_watchdogs(system) == ()


def test_memory_is_what_is_free_and_what_files_occupy_but_no_tmpfs() -> None:
    """Stage 2 at 512 MiB: 120 MiB are in its initramfs and in the image that it loaded, and can never be freed."""
    text = (
        "MemTotal:         503036 kB\n"
        "MemFree:          281600 kB\n"
        "Buffers:             512 kB\n"
        "Cached:           137216 kB\n"
        "Active:             9216 kB\n"
        "Inactive:         130048 kB\n"
        "Active(anon):       4096 kB\n"
        "Inactive(anon):   122880 kB\n"
        "Active(file):       5120 kB\n"
        "Inactive(file):     7168 kB\n"
        "Shmem:            122880 kB\n"
    )
    assert parse_meminfo(text).available_bytes == (281600 + 5120 + 7168) << 10 == 287 * MIB
