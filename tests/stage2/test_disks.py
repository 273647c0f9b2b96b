# SPDX-License-Identifier: Apache-2.0
"""Stage 2 finds the target by what it is, and resin-data by label or by place."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from balena_migrate.core.blockdev import parse_blkid, whole_disks
from balena_migrate.core.errors import DiskError
from balena_migrate.core.handover import DataPartition, DiskIdentity
from balena_migrate.core.system import Result, System
from balena_migrate.stage2.disks import find_data_partition, find_file_system, find_target, partitions

SECTORS = 16_777_216
IDENTITY = DiskIdentity(name="sda", size_bytes=SECTORS * 512, table_id="0000abcd", serial="S1")

BLKID = """DEVNAME=/dev/sdb1
UUID=1111
LABEL=resin-boot

DEVNAME=/dev/sdb6
LABEL=resin-data
"""


def mbr(table_id: int) -> bytes:
    """A partition table with one partition."""
    entry = struct.pack("<B3sB3sII", 0, b"", 0x83, b"", 2048, 4096)
    return bytes(440) + struct.pack("<IH", table_id, 0) + entry.ljust(64, b"\0") + b"\x55\xaa"


def machine(root: Path, *, serial: str = "S1", blkid: str = BLKID, tables: tuple[int, int] = (1, 0xABCD)) -> System:
    """A machine whose disk sdb is the one that stage 1 knew as sda, beside another one."""
    (root / "dev").mkdir(parents=True)
    for name, table_id in zip(("sda", "sdb"), tables, strict=True):
        (root / "dev" / name).write_bytes(mbr(table_id))
        folder = root / f"sys/class/block/{name}"
        (folder / "device").mkdir(parents=True)
        (folder / "size").write_text(f"{SECTORS}\n")
        (folder / "device/serial").write_text(f"{serial}\n")
    for number, start in ((1, 8192), (6, 1458176)):
        for folder in (root / f"sys/class/block/sdb/sdb{number}", root / f"sys/class/block/sdb{number}"):
            folder.mkdir(parents=True)
            (folder / "partition").write_text(f"{number}\n")
            (folder / "start").write_text(f"{start}\n")

    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        assert argv[0] == "blkid"
        return Result(stdout=blkid.encode(), stderr=b"", returncode=0)

    return System(root, runner=runner)


def test_blkid_export_is_read_in_blocks() -> None:
    probes = {probe.path: probe.values for probe in parse_blkid(BLKID)}
    assert probes["/dev/sdb1"] == {"UUID": "1111", "LABEL": "resin-boot"}
    assert len(probes) == 2


def test_the_disk_is_found_under_another_name(tmp_path: Path) -> None:
    assert find_target(machine(tmp_path), IDENTITY) == "/dev/sdb"


def test_another_serial_size_or_table_is_another_disk(tmp_path: Path) -> None:
    system = machine(tmp_path, serial="S2")
    with pytest.raises(DiskError, match="no disk matches the one that stage 1 saw as sda"):
        find_target(system, IDENTITY)
    for wrong in (
        DiskIdentity(name="sda", size_bytes=1, table_id="0000abcd", serial="S2"),
        DiskIdentity(name="sda", size_bytes=SECTORS * 512, table_id="0000abce", serial="S2"),
    ):
        with pytest.raises(DiskError):
            find_target(system, wrong)


def test_two_disks_that_are_alike_are_refused(tmp_path: Path) -> None:
    system = machine(tmp_path, tables=(0xABCD, 0xABCD))
    with pytest.raises(DiskError, match="2 disks match the one that stage 1 saw as sda"):
        find_target(system, IDENTITY)


def test_partitions_are_no_disks(tmp_path: Path) -> None:
    system = machine(tmp_path)
    assert whole_disks(system) == ("sda", "sdb")
    assert partitions(system, "/dev/sdb") == ("sdb1", "sdb6")


def test_resin_data_is_found_by_label_and_else_by_place(tmp_path: Path) -> None:
    place = DataPartition(start_bytes=1458176 * 512, size_bytes=1)
    assert find_data_partition(machine(tmp_path / "a"), "/dev/sdb", place) == "/dev/sdb6"
    without = machine(tmp_path / "b", blkid=BLKID.replace("resin-data", "other"))
    assert find_data_partition(without, "/dev/sdb", place) == "/dev/sdb6"
    with pytest.raises(DiskError, match="no resin-data"):
        find_data_partition(without, "/dev/sdb", DataPartition(start_bytes=0, size_bytes=1))


def test_a_file_system_is_found_by_its_uuid(tmp_path: Path) -> None:
    assert find_file_system(machine(tmp_path), "1111", limit_s=0) == "/dev/sdb1"


@pytest.mark.parametrize(
    ("blkid", "message"),
    [
        ("", "no file system has the UUID 1111"),
        (f"DEVNAME=/dev/sda1\nUUID=1111\n\n{BLKID}", "/dev/sda1 and /dev/sdb1 have the same UUID 1111"),
    ],
)
def test_no_file_system_with_a_uuid_and_two_of_them_are_an_error(tmp_path: Path, blkid: str, message: str) -> None:
    """Two are there where a copy of the disk stays plugged in: either may be the copy."""
    with pytest.raises(DiskError, match=message):
        find_file_system(machine(tmp_path, blkid=blkid), "1111", limit_s=0)
