# SPDX-License-Identifier: Apache-2.0
"""Stage 2 finds the disk and the file systems that stage 1 knew, and stops where two may be the one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.core.blockdev import parse_blkid, read_serial, whole_disks
from balena_migrate.core.errors import DiskError
from balena_migrate.core.handover import DiskIdentity, FileSystem, Place
from balena_migrate.core.system import Result, System
from balena_migrate.images.partitions import known_disk
from balena_migrate.images.partitions.known_disk import find_file_system, find_place, find_target, read_identity

SECTORS = 15_523_840
ROOT_START = 532_480
UUID = "7d3c52a1-0b6e-4f0f-9a54-c2f1b07d9e11"


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk as the kernel shows it, with a FAT partition and the root file system."""

    sectors: int = SECTORS
    table_id: int = 0x4E2B77F0
    serial: str = ""
    root_start: int = ROOT_START
    uuid: str = UUID


OURS = Disk(serial="0x1a2b3c4d")


def machine(root: Path, disks: dict[str, Disk], *, appears: Callable[[str], bool] = lambda name: True) -> System:
    """A machine with these disks, by name; blkid lists those that have appeared."""
    (root / "dev").mkdir(parents=True)
    for name, disk in disks.items():
        folder = root / "sys/class/block" / name
        (folder / "device").mkdir(parents=True)
        (folder / "size").write_text(f"{disk.sectors}\n")
        if disk.serial:
            (folder / "device/serial").write_text(f"{disk.serial}\n")
        (root / "dev" / name).write_bytes(mbr(disk))
        for number, start in ((1, 8192), (2, disk.root_start)):
            for place in (folder / part(name, number), root / "sys/class/block" / part(name, number)):
                place.mkdir()
                (place / "partition").write_text(f"{number}\n")
                (place / "start").write_text(f"{start}\n")

    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        assert argv[0] == "blkid"
        found = [f"DEVNAME=/dev/{part(n, 2)}\nUUID={d.uuid}\n" for n, d in disks.items() if appears(n)]
        return Result(stdout="\n".join(found).encode(), stderr=b"", returncode=0)

    return System(root, runner=runner)


def part(disk: str, number: int) -> str:
    return f"{disk}p{number}" if disk[-1].isdigit() else f"{disk}{number}"


def mbr(disk: Disk) -> bytes:
    entries = (
        struct.pack("<B3sB3sII", 0, b"", kind, b"", start, 4096)
        for kind, start in ((0x0C, 8192), (0x83, disk.root_start))
    )
    return bytes(440) + struct.pack("<IH", disk.table_id, 0) + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"


def known(disk: Disk, name: str = "mmcblk0") -> FileSystem:
    """The root file system as stage 1 hands it over."""
    identity = DiskIdentity(
        name=name, size_bytes=disk.sectors * 512, table_id=f"{disk.table_id:08x}", serial=disk.serial
    )
    place = Place(disk=identity, start_bytes=disk.root_start * 512)
    return FileSystem(uuid=UUID, fstype="ext4", mount_point="/", place=place)


def target(disk: Disk) -> DiskIdentity:
    place = known(disk).place
    assert place
    return place.disk


def root_on(system: System, wanted: FileSystem) -> str:
    return find_file_system(system, wanted, limit_s=0)


def test_what_stage_1_hands_over_is_what_stage_2_looks_for(tmp_path: Path) -> None:
    system = machine(tmp_path, {"mmcblk0": OURS})
    assert find_place(system, "/dev/mmcblk0p2") == known(OURS).place
    assert find_target(system, read_identity(system, "mmcblk0")) == "/dev/mmcblk0"


def test_a_copy_on_a_larger_disk_stays_plugged_in(tmp_path: Path) -> None:
    """Its UUIDs, its table's id and the places of its partitions are those of the card."""
    system = machine(tmp_path, {"sda": replace(OURS, sectors=60_000_000, serial=""), "mmcblk0": OURS})
    assert root_on(system, known(OURS)) == "/dev/mmcblk0p2"
    assert find_target(system, target(OURS)) == "/dev/mmcblk0"


def test_a_copy_on_a_disk_of_the_same_model_is_told_by_its_serial_number(tmp_path: Path) -> None:
    system = machine(tmp_path, {"sda": replace(OURS, serial="0x55667788"), "sdb": OURS})
    assert root_on(system, known(OURS)) == "/dev/sdb2"
    assert find_target(system, target(OURS)) == "/dev/sdb"


def test_a_copy_whose_serial_number_the_kernel_does_not_show(tmp_path: Path) -> None:
    system = machine(tmp_path, {"sda": replace(OURS, serial=""), "sdb": OURS})
    assert root_on(system, known(OURS)) == "/dev/sdb2"
    assert find_target(system, target(OURS)) == "/dev/sdb"


def test_copies_that_nothing_tells_apart_are_left_alone(tmp_path: Path) -> None:
    nameless = replace(OURS, serial="")
    system = machine(tmp_path, {"sda": nameless, "sdb": nameless})
    with pytest.raises(DiskError, match=f"/dev/sda2 and /dev/sdb2 have the same UUID {UUID}"):
        root_on(system, known(nameless))
    with pytest.raises(DiskError, match="2 disks match the one that stage 1 saw as mmcblk0"):
        find_target(system, target(nameless))


def test_two_copies_where_none_is_on_the_known_disk_are_left_alone(tmp_path: Path) -> None:
    system = machine(tmp_path, {"sda": replace(OURS, table_id=1), "sdb": replace(OURS, table_id=2)})
    with pytest.raises(DiskError, match="and none is on the disk that stage 1 saw as mmcblk0"):
        root_on(system, known(OURS))


def test_a_copy_of_the_file_system_on_its_own_disk(tmp_path: Path) -> None:
    """The same disk, and so all that identifies it; only the place on it differs."""
    system = machine(tmp_path, {"sda": OURS})
    (tmp_path / "sys/class/block/sda/sda3").mkdir()
    (tmp_path / "sys/class/block/sda3").mkdir()
    for folder in ("sda/sda3", "sda3"):
        (tmp_path / "sys/class/block" / folder / "partition").write_text("3\n")
        (tmp_path / "sys/class/block" / folder / "start").write_text("9000000\n")
    text = "".join(f"DEVNAME=/dev/sda{number}\nUUID={UUID}\n\n" for number in (2, 3))
    twice = System(tmp_path, runner=lambda *_: Result(stdout=text.encode(), stderr=b"", returncode=0))
    assert root_on(twice, known(OURS)) == "/dev/sda2"
    assert system.root == twice.root


def test_the_kernel_names_the_disks_the_other_way_round(tmp_path: Path) -> None:
    other = Disk(table_id=0x00C0FFEE, serial="0x99", uuid="another-one")
    system = machine(tmp_path, {"sda": other, "sdb": OURS})
    assert root_on(system, known(OURS, name="sda")) == "/dev/sdb2"
    assert find_target(system, replace(target(OURS), name="sda")) == "/dev/sdb"


@pytest.mark.parametrize("shown", ["", "0x1a2b3c4d"])
def test_a_serial_number_that_one_of_the_kernels_does_not_show_prevents_nothing(tmp_path: Path, shown: str) -> None:
    """Another driver, such as usb-storage in place of uas, shows less."""
    known_as = replace(OURS, serial="" if shown else "0x1a2b3c4d")
    system = machine(tmp_path, {"sda": replace(OURS, serial=shown)})
    assert root_on(system, known(known_as)) == "/dev/sda2"
    assert find_target(system, target(known_as)) == "/dev/sda"


@pytest.mark.parametrize("change", [{"sectors": 1}, {"table_id": 1}, {"serial": "0x77"}])
def test_another_size_table_or_serial_number_is_another_disk(tmp_path: Path, change: dict[str, Any]) -> None:
    """It is not overwritten. Its file system is the only one with the UUID: the boot configuration is on none else."""
    system = machine(tmp_path, {"sda": replace(OURS, **change)})
    with pytest.raises(DiskError, match="no disk matches the one that stage 1 saw as mmcblk0"):
        find_target(system, target(OURS))
    assert root_on(system, known(OURS)) == "/dev/sda2"


def test_a_copy_that_appears_before_its_original_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A USB disk may take seconds; the card with the copy is there at once."""
    monkeypatch.setattr(known_disk, "PAUSE_S", 0)
    looks: list[str] = []

    def appears(name: str) -> bool:
        looks.append(name)
        return name == "mmcblk0" or looks.count("sda") > 2

    disks = {"sda": OURS, "mmcblk0": replace(OURS, serial="0x55667788")}
    assert find_file_system(machine(tmp_path, disks, appears=appears), known(OURS), limit_s=60) == "/dev/sda2"


def test_a_file_system_whose_place_is_unknown_is_found_by_its_uuid_alone(tmp_path: Path) -> None:
    anywhere = replace(known(OURS), place=None)
    assert root_on(machine(tmp_path / "a", {"sda": OURS}), anywhere) == "/dev/sda2"
    with pytest.raises(DiskError, match="have the same UUID"):
        root_on(machine(tmp_path / "b", {"sda": OURS, "sdb": replace(OURS, sectors=9)}), anywhere)


def test_no_file_system_with_the_uuid_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=f"no file system has the UUID {UUID}"):
        root_on(machine(tmp_path, {"sda": replace(OURS, uuid="another-one")}), known(OURS))


def test_a_disk_without_partitions_and_one_that_is_none(tmp_path: Path) -> None:
    system = machine(tmp_path, {"sda": OURS, "cciss!c0d0": OURS})
    for name in ("dm-0", "loop0"):
        (tmp_path / "sys/class/block" / name).mkdir()
    whole = find_place(system, "/dev/cciss/c0d0")
    assert whole and (whole.disk.name, whole.start_bytes) == ("cciss!c0d0", 0)
    assert find_place(system, "/dev/mapper/vg-home") is None and find_place(system, "/dev/loop0") is None
    assert whole_disks(system) == ("cciss!c0d0", "sda")


def test_a_disk_that_shows_a_world_wide_id_alone(tmp_path: Path) -> None:
    system = machine(tmp_path, {"sda": replace(OURS, serial="")})
    (tmp_path / "sys/class/block/sda/device/wwid").write_text("naa.5002538e40a1b2c3\n")
    assert read_serial(system, "sda") == "naa.5002538e40a1b2c3"


def test_blkid_export_is_read_in_blocks() -> None:
    probes = parse_blkid("DEVNAME=/dev/sdb1\nUUID=1111\nLABEL=resin-boot\n\nDEVNAME=/dev/sdb6\nLABEL=resin-data\n")
    assert [(probe.path, probe.values) for probe in probes] == [
        ("/dev/sdb1", {"UUID": "1111", "LABEL": "resin-boot"}),
        ("/dev/sdb6", {"LABEL": "resin-data"}),
    ]


def test_the_boot_parts_of_an_emmc_are_disks_to_the_kernel_and_never_the_target(tmp_path: Path) -> None:
    """They have the serial number of the eMMC; here even a table with its id."""
    parts = {f"mmcblk0{name}": replace(OURS, sectors=8192) for name in ("boot0", "boot1", "rpmb")}
    system = machine(tmp_path, {**parts, "mmcblk0": OURS})
    assert set(whole_disks(system)) == {*parts, "mmcblk0"}
    assert find_target(system, read_identity(system, "mmcblk0")) == "/dev/mmcblk0"
