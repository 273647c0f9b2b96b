# SPDX-License-Identifier: Apache-2.0
"""Disks are files; anything else is refused before it is touched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.disks import (
    Span,
    copy_disk,
    make_disk,
    make_ext4,
    mounted,
    read_partitions,
    require_file,
)


def test_refuses_devices_links_and_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    (tmp_path / "good-link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"")
    for path in (Path("/dev/null"), tmp_path, tmp_path / "link", tmp_path / "good-link", tmp_path / "nothing"):
        with pytest.raises(LabError, match="not a regular file"):
            require_file(path)
    assert require_file(tmp_path / "file") == tmp_path / "file"


@pytest.mark.processes
def test_a_disk_has_the_partition_that_it_says_and_is_sparse(tmp_path: Path) -> None:
    span = make_disk(tmp_path / "disk", 64 * MIB, table_id="0x12345678")
    assert read_partitions(tmp_path / "disk") == (span,)
    assert span == Span(start_bytes=MIB, size_bytes=63 * MIB)
    assert (tmp_path / "disk").stat().st_blocks * 512 < MIB
    with pytest.raises(FileExistsError):
        make_disk(tmp_path / "disk", 64 * MIB, table_id="0x12345678")


@pytest.mark.loop
@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop")
def test_what_is_put_on_a_disk_is_there_and_no_loop_device_is_left(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    span = make_disk(disk, 64 * MIB, table_id="0x12345678")
    make_ext4(disk, span, label="root", uuid="0f6d3c1e-7a52-4b39-9d0e-5c1b8a7e2f41")
    with mounted(disk, span) as root:
        (root / "file").write_text("there")
    copy_disk(disk, tmp_path / "copy")
    roots = []

    def fail_inside() -> None:
        with mounted(tmp_path / "copy", span, read_only=True) as root:
            roots.append(root)
            assert (root / "file").read_text() == "there"
            raise RuntimeError("something else went wrong")

    with pytest.raises(RuntimeError, match="something else"):
        fail_inside()
    assert [root.exists() for root in roots] == [False]
    loops = subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in loops
