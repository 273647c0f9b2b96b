# SPDX-License-Identifier: Apache-2.0
"""The partition tables of look-alikes are those of the real images."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.workstation.lab.lookalike.layout import Layout, plan_layout, table_sectors
from balena_migrate.workstation.lab.lookalike.specs import SPECS, find_spec

Table = list[tuple[int, int, str, bool]]

OF_2_2: Table = [
    (8192, 81920, "e", True),
    (90112, 638976, "83", False),
    (729088, 638976, "83", False),
    (1368064, 2162688, "f", False),
    (1376256, 40960, "83", False),
    (1425408, 2105344, "83", False),
]
OF_2_82: Table = [
    (8192, 81920, "e", True),
    (90112, 655360, "83", False),
    (745472, 655360, "83", False),
    (1400832, 458752, "f", False),
    (1409024, 40960, "83", False),
    (1458176, 401408, "83", False),
]
OF_2_82_PI: Table = [(8192, 81920, "c", True), *OF_2_82[1:]]
OF_PI_5: Table = [
    (8192, 163840, "c", True),
    (172032, 1310720, "83", False),
    (1482752, 1310720, "83", False),
    (2793472, 458752, "f", False),
    (2801664, 40960, "83", False),
    (2850816, 401408, "83", False),
]
ESP, LINUX_GUID = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
OF_GENERIC: Table = [
    (8192, 81920, ESP, False),
    (90112, 2048000, LINUX_GUID, False),
    (2138112, 2048000, LINUX_GUID, False),
    (4186112, 40960, LINUX_GUID, False),
    (4227072, 415744, LINUX_GUID, False),
]
CASES = [
    ("intel-nuc-2.15", 1_807_745_024, OF_2_2),
    ("raspberrypi3-2.15", 1_807_745_024, OF_2_2),
    ("intel-nuc", 952_107_008, OF_2_82),
    ("intel-nuc-network", 952_107_008, OF_2_82),
    ("intel-nuc-flasher", 952_107_008, OF_2_82),
    ("intel-nuc-xz", 952_107_008, OF_2_82),
    ("intel-core2-32", 952_107_008, OF_2_82),
    ("generic-amd64", 2_378_170_368, OF_GENERIC),
    ("raspberry-pi", 952_107_008, OF_2_82_PI),
    ("raspberry-pi2", 952_107_008, OF_2_82_PI),
    ("raspberrypi3", 952_107_008, OF_2_82_PI),
    ("raspberrypi3-64", 952_107_008, OF_2_82_PI),
    ("raspberrypi4-64", 952_107_008, OF_2_82_PI),
    ("raspberrypi5", 1_665_138_688, OF_PI_5),
]


def write_table(layout: Layout, disk: Path) -> Path:
    with disk.open("wb") as file:
        file.truncate(layout.size_bytes)
        for offset, sectors in table_sectors(layout).items():
            file.seek(offset)
            file.write(sectors)
    return disk


def test_every_image_has_its_figures_here() -> None:
    assert {name for name, _, _ in CASES} == set(SPECS)


@pytest.mark.processes
@pytest.mark.parametrize(("name", "size_bytes", "table"), CASES)
def test_sfdisk_reads_the_figures_of_the_real_image(name: str, size_bytes: int, table: Table, tmp_path: Path) -> None:
    layout = plan_layout(find_spec(name))
    disk = write_table(layout, tmp_path / "disk.img")
    read = json.loads(System().run(["sfdisk", "--json", disk]).text)["partitiontable"]
    found = [(p["start"], p["size"], p["type"], p.get("bootable", False)) for p in read["partitions"]]
    assert read["label"] == ("gpt" if table is OF_GENERIC else "dos")
    assert found == table
    assert layout.size_bytes == size_bytes


def test_the_chain_of_extended_boot_records_is_that_of_parted() -> None:
    """The first stands at the extended partition's start, the second 128 sectors before the data partition."""
    sectors = table_sectors(plan_layout(find_spec("intel-nuc")))
    assert sorted(offset // 512 for offset in sectors) == [0, 1400832, 1458176 - 128]
    first, second = sectors[1400832 * 512], sectors[(1458176 - 128) * 512]
    link = struct.unpack_from("<B3sB3sII", first, 446 + 16)
    assert (link[2], link[4], link[5]) == (0x05, 1458176 - 128 - 1400832, 401408 + 128)
    assert struct.unpack_from("<II", second, 446 + 8) == (128, 401408)
    assert all(sector.endswith(b"\x55\xaa") and len(sector) == 512 for sector in sectors.values())


@pytest.mark.processes
def test_a_gpt_names_its_partitions_and_has_a_valid_backup_at_the_end(tmp_path: Path) -> None:
    layout = plan_layout(find_spec("generic-amd64"))
    disk = write_table(layout, tmp_path / "disk.img")
    assert "No errors detected" in System().run(["sfdisk", "--verify", disk]).text
    with disk.open("r+b") as file:
        file.seek(512)
        file.write(bytes(512))
    from_backup = System().run(["sfdisk", "--json", disk])
    assert b"primary GPT table is corrupt" in from_backup.stderr
    read = json.loads(from_backup.text)["partitiontable"]
    assert [part["name"] for part in read["partitions"]] == [part.label for part in layout.partitions]
    assert (read["firstlba"], read["lastlba"]) == (34, layout.size_bytes // 512 - 34)
