# SPDX-License-Identifier: Apache-2.0
"""Stage 2 finds resin-data on the flashed disk by label or by place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from balena_migrate.core.errors import DiskError
from balena_migrate.core.handover import DataPartition
from balena_migrate.core.system import Result, System
from balena_migrate.stage2.disks import find_data_partition, partitions

BLKID = """DEVNAME=/dev/sdb1
UUID=1111
LABEL=resin-boot

DEVNAME=/dev/sdb6
LABEL=resin-data
"""


def machine(root: Path, *, blkid: str = BLKID) -> System:
    """A machine whose disk sdb is flashed."""
    for number, start in ((1, 8192), (6, 1458176)):
        for folder in (root / f"sys/class/block/sdb/sdb{number}", root / f"sys/class/block/sdb{number}"):
            folder.mkdir(parents=True)
            (folder / "partition").write_text(f"{number}\n")
            (folder / "start").write_text(f"{start}\n")

    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        assert argv[0] == "blkid"
        return Result(stdout=blkid.encode(), stderr=b"", returncode=0)

    return System(root, runner=runner)


def test_the_partitions_of_a_disk(tmp_path: Path) -> None:
    assert partitions(machine(tmp_path), "/dev/sdb") == ("sdb1", "sdb6")


def test_resin_data_is_found_by_label_and_else_by_place(tmp_path: Path) -> None:
    place = DataPartition(start_bytes=1458176 * 512, size_bytes=1)
    assert find_data_partition(machine(tmp_path / "a"), "/dev/sdb", place) == "/dev/sdb6"
    without = machine(tmp_path / "b", blkid=BLKID.replace("resin-data", "other"))
    assert find_data_partition(without, "/dev/sdb", place) == "/dev/sdb6"
    with pytest.raises(DiskError, match="no resin-data"):
        find_data_partition(without, "/dev/sdb", DataPartition(start_bytes=0, size_bytes=1))


def test_the_boot_parts_of_an_emmc_are_no_partitions_of_it(tmp_path: Path) -> None:
    """The kernel shows them below the disk (drivers/mmc/core/block.c, mmc_blk_alloc_part)."""
    for name in ("mmcblk0p1", "mmcblk0boot0", "mmcblk0boot1"):
        (tmp_path / "sys/class/block/mmcblk0" / name).mkdir(parents=True)
    (tmp_path / "sys/class/block/mmcblk0/mmcblk0p1/partition").write_text("1\n")
    assert partitions(System(tmp_path), "/dev/mmcblk0") == ("mmcblk0p1",)
