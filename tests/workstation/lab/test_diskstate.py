# SPDX-License-Identifier: Apache-2.0
"""A disk file is read from outside: partitions, labels, types and how full they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.diskstate import find_disk_state, read_disk_state

pytestmark = pytest.mark.processes

TABLE = b"""\
label: dos
start=2048, size=40960, type=e
start=43008, type=5
start=45056, size=40960, type=83
size=2048, type=83
"""


def test_partitions_are_read_with_what_their_file_systems_hold(tmp_path: Path) -> None:
    disk, content = tmp_path / "disk.img", tmp_path / "content"
    with disk.open("wb") as file:
        file.truncate(64 * MIB)
    content.write_bytes(bytes(3 * MIB))
    system = System()
    system.run(["sfdisk", "--quiet", "--no-tell-kernel", disk], data=TABLE)
    system.run(["mkfs.fat", "-n", "BOOT", "--offset", "2048", disk, str(20 * 1024)])
    system.run(["mcopy", "-i", f"{disk}@@{MIB}", content, "::/content"])
    system.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-E", f"offset={22 * MIB}", disk, "20480k"])
    state = read_disk_state(disk)
    assert state.size_bytes == 64 * MIB
    found = [(part.label, part.fstype, part.start_bytes, part.size_bytes) for part in state.parts]
    assert found == [
        ("BOOT", "vfat", MIB, 20 * MIB),
        ("root", "ext4", 22 * MIB, 20 * MIB),
        ("", "", found[2][2], MIB),
    ]
    boot, root, raw = (part.used_bytes for part in state.parts)
    assert boot is not None
    assert 3 * MIB <= boot < 3.2 * MIB
    assert root is not None
    assert 0 < root < 6 * MIB
    assert raw is None


def test_a_disk_without_a_table_has_no_state(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(MIB))
    assert find_disk_state(disk) is None


def test_only_a_regular_file_is_read() -> None:
    with pytest.raises(LabError, match="not a regular file"):
        read_disk_state(Path("/dev/null"))
