# SPDX-License-Identifier: Apache-2.0
"""Files go into a real FAT file system and come back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from balena_migrate.core.errors import CommandError, LabError
from balena_migrate.core.system import System
from balena_migrate.workstation.mtools import FatDrive

pytestmark = pytest.mark.processes

START_BYTES = 1 << 20
SIZE_KIB = 4096


@pytest.fixture
def drive(tmp_path: Path) -> FatDrive:
    """An empty file system behind the first MiB of an image."""
    if shutil.which("mcopy") is None or shutil.which("mkfs.fat") is None:
        pytest.skip("no mtools or no mkfs.fat here")
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(START_BYTES + SIZE_KIB * 1024)
    System().run(["mkfs.fat", "-F", "12", "--offset", str(START_BYTES // 512), image, str(SIZE_KIB)])
    return FatDrive(image=image, offset_bytes=START_BYTES)


def fill(drive: FatDrive, folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "a long name.txt").write_text("one")
    (folder / "sub/two").write_bytes(b"2" * 5000)
    drive.copy_in(sorted(folder.iterdir()))


def test_files_come_back(drive: FatDrive, tmp_path: Path) -> None:
    fill(drive, tmp_path / "in")
    assert sorted(drive.list_files()) == ["a long name.txt", "sub/two"]
    assert drive.read_file("sub/two") == b"2" * 5000
    (tmp_path / "out").write_text("of before")
    drive.copy_out("a long name.txt", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "one"


def test_free_space_shrinks_by_what_is_put_in(drive: FatDrive, tmp_path: Path) -> None:
    before = drive.free_bytes()
    assert 4_000_000 < before < SIZE_KIB * 1024
    fill(drive, tmp_path / "in")
    assert before - 20_000 <= drive.free_bytes() <= before - 5_003


def test_missing_file_is_an_error(drive: FatDrive) -> None:
    with pytest.raises(CommandError, match="none"):
        drive.read_file("none")


def test_what_is_no_file_system_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    with pytest.raises((CommandError, LabError)):
        FatDrive(image=tmp_path / "zeros").free_bytes()


def test_a_file_in_a_folder_is_replaced_and_removed(drive: FatDrive, tmp_path: Path) -> None:
    fill(drive, tmp_path / "in")
    drive.write_file("sub/two", b"3" * 7000)
    assert drive.read_file("sub/two") == b"3" * 7000
    drive.remove_file("sub/two")
    assert drive.list_files() == ["a long name.txt"]
    drive.write_file("sub/new", b"\0\xff\r\n")
    assert drive.read_file("sub/new") == b"\0\xff\r\n"
