# SPDX-License-Identifier: Apache-2.0
"""The id of a disk's partition table, by which stage 2 finds the disk again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images.partitions.device import read_table_id
from tests.support.images import mbr_image, put


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


GPT_HEADER = 512
"""Where it is; its checksum is at byte 16."""


@pytest.mark.processes
@pytest.mark.parametrize(("place", "known"), [(GPT_HEADER + 16, False), (1024 + 20, False), (8 * MIB - 512 + 16, True)])
def test_the_header_at_the_start_is_the_one_that_counts(tmp_path: Path, place: int, known: bool) -> None:
    """As for the kernel: a damaged copy at the end is no matter, and it does not help a damaged header."""
    path = disk(tmp_path / "disk")
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nsize=1MiB\n", text=True, check=True)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\x5a\xa5")
    assert (read_table_id(System(tmp_path), "/disk") != "") == known


def test_the_id_of_an_mbr_is_known_whatever_its_logical_partitions_are(tmp_path: Path) -> None:
    """The kernel takes those that it can read."""
    image = mbr_image()
    put(image, 26624, bytes(512))
    disk(tmp_path / "disk", bytes(image[: 8 * MIB]))
    assert read_table_id(System(tmp_path), "/disk") == "1234abcd"
