# SPDX-License-Identifier: Apache-2.0
"""What stage 2 puts on the new system's partitions, on real file systems."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.core.handover import DataFile, StoredFile
from balena_migrate.core.system import System
from balena_migrate.images.filesystems.ext import (
    JOURNAL_BYTES,
    SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSET,
    find_journal,
    parse_journal,
)
from balena_migrate.stage2 import transfer
from balena_migrate.stage2.disks import find_labelled
from balena_migrate.stage2.kernel import mounted
from balena_migrate.stage2.stash import RamStash

pytestmark = [
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A loop device with two partitions, the second one of which is resin-state."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(48 << 20)
    table = b"label: dos\nstart=2048, size=16384, type=83\nstart=20480, size=65536, type=83\n"
    subprocess.run(["sfdisk", "-q", "--no-tell-kernel", path], input=table, check=True)
    argv = ["losetup", "--find", "--show", "--partscan", str(path)]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(["partx", "--update", device], check=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "resin-state", f"{device}p2"], check=True)
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_the_machine_id_is_where_the_new_initramfs_looks(
    disk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STATE", tmp_path / "state")
    device = find_labelled(System("/"), disk, "resin-state")
    assert device == f"{disk}p2"
    transfer.keep_machine_id(device, "0123456789abcdef0123456789abcdef")
    with mounted(device, tmp_path / "look", "ext4", read_only=True) as folder:
        file = folder / "machine-id"
        assert file.read_text() == "0123456789abcdef0123456789abcdef\n"
        assert file.stat().st_mode & 0o777 == 0o644


def test_a_file_that_fails_costs_neither_the_others_nor_the_log(
    disk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "DATA", tmp_path / "data")
    (tmp_path / "volumes").write_bytes(b"volumes")
    files = [
        DataFile(file=StoredFile(path=path, size_bytes=7, sha256=""), name=name)
        for name, path in (("a", "/lost"), ("b", "/volumes"))
    ]
    with pytest.raises(FileNotFoundError):
        transfer.transfer(f"{disk}p2", files, RamStash(tmp_path), "the log\n")
    with mounted(f"{disk}p2", tmp_path / "look", "ext4", read_only=True) as folder:
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert found == {"b": b"volumes", "migrate.log": b"the log\n"}


def test_a_label_that_is_not_there(disk: str) -> None:
    assert find_labelled(System("/"), disk, "resin-data") is None


@pytest.mark.parametrize("features", ["metadata_csum", "metadata_csum,^extent,^64bit"])
def test_a_kernel_that_writes_to_a_new_file_system_gives_its_journal_features(tmp_path: Path, features: str) -> None:
    """So an image that was written to while it was made, for a preloaded application, needs Linux 3.18."""
    file = tmp_path / "fs"
    with file.open("wb") as target:
        target.truncate(32 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", features, file], check=True)
    assert journal_features(file) == 0
    argv = ["losetup", "--find", "--show", str(file)]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    try:
        with mounted(device, tmp_path / "point", "ext4") as folder:
            (folder / "file").touch()
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    assert journal_features(file) & 0x10
    told = subprocess.run(["dumpe2fs", "-h", file], check=True, capture_output=True, text=True).stdout
    assert "journal_checksum_v3" in told


def journal_features(file: Path) -> int:
    content = file.read_bytes()
    place = find_journal(content[SUPERBLOCK_OFFSET : SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES])
    assert place is not None
    return parse_journal(content[place : place + JOURNAL_BYTES])
