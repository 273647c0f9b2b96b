# SPDX-License-Identifier: Apache-2.0
"""The id of a disk's partition table, by which stage 2 finds the disk again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images.partitions.device import has_gpt_copy, read_table_id


def disk(path: Path, content: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(content)
        file.truncate(8 * MIB)
    return path


@pytest.mark.processes
@pytest.mark.parametrize(("label", "size"), [("dos", 8), ("gpt", 36)])
def test_it_is_what_blkid_reads_from_the_disk(tmp_path: Path, label: str, size: int) -> None:
    path = disk(tmp_path / "disk")
    subprocess.run(["sfdisk", "-q", path], input=f"label: {label}\nsize=1MiB\n", text=True, check=True)
    told = subprocess.run(["blkid", "-p", "-s", "PTUUID", "-o", "value", path], capture_output=True, text=True)
    found = read_table_id(System(tmp_path), "/disk")
    assert (found, len(found)) == (told.stdout.strip(), size)


def test_a_disk_without_a_table_has_no_id_and_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    disk(tmp_path / "disk", b"no table here")
    assert read_table_id(System(tmp_path), "/disk") == ""
    (tmp_path / "folder").mkdir()
    for name in ("/gone", "/folder"):
        with pytest.raises(FileError, match=name):
            read_table_id(System(tmp_path), name)


@pytest.mark.processes
def test_the_copy_of_a_gpt_is_seen_also_where_another_table_was_written_over_the_first_one(tmp_path: Path) -> None:
    path, system = disk(tmp_path / "disk"), System(tmp_path)
    assert not has_gpt_copy(system, "/disk", 8 * MIB)
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nsize=1MiB\n", text=True, check=True)
    assert has_gpt_copy(system, "/disk", 8 * MIB)
    with path.open("r+b") as file:
        file.write(bytes(MIB))
    assert has_gpt_copy(system, "/disk", 8 * MIB)


def test_a_last_sector_that_cannot_be_read_holds_no_copy(tmp_path: Path) -> None:
    disk(tmp_path / "disk")
    assert not has_gpt_copy(System(tmp_path), "/disk", 8 * MIB + 512), "behind the end"
    assert not has_gpt_copy(System(tmp_path), "/gone", 8 * MIB)
