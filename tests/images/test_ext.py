"""The free space of an ext4 file system, as mke2fs leaves it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from balena_migrate.images.ext import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, parse_free_bytes
from balena_migrate.images.read import read_image
from tests.images.build import make_image


def make_ext4(path: Path, size_bytes: int, *options: str) -> int:
    """A file system in a file with something in it; its free bytes as dumpe2fs tells them."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(size_bytes)
    tree = path.with_name("tree")
    tree.mkdir(exist_ok=True)
    (tree / "file").write_bytes(b"x" * 500_000)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, *options, path], check=True)
    told = subprocess.run(["dumpe2fs", "-h", path], check=True, capture_output=True, text=True).stdout
    values = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    return int(values["Free blocks"]) * int(values["Block size"])


@pytest.mark.processes
@pytest.mark.parametrize("options", [["-b", "1024"], ["-b", "4096", "-O", "64bit"], ["-O", "^has_journal", "-m", "0"]])
def test_free_space_is_what_dumpe2fs_says(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "fs"
    free = make_ext4(file, 32 << 20, *options)
    superblock = file.read_bytes()[SUPERBLOCK_OFFSET:][:SUPERBLOCK_BYTES]
    assert parse_free_bytes(superblock) == free


@pytest.mark.parametrize("superblock", [b"", bytes(1024), b"\xff" * 1024])
def test_what_is_no_superblock(superblock: bytes) -> None:
    assert parse_free_bytes(superblock) is None


@pytest.mark.processes
@pytest.mark.parametrize("gpt", [False, True])
def test_an_images_data_partition_is_looked_at(tmp_path: Path, gpt: bool) -> None:
    path = tmp_path / "image"
    path.write_bytes(make_image(tmp_path, gpt=gpt))
    image = read_image(path, tmp_path, lambda done, total: None)
    assert image.data_free_bytes is None
    free = make_ext4(tmp_path / "fs", image.data.size_bytes, "-m", "0", "-O", "^has_journal")
    with path.open("r+b") as file:
        file.seek(image.data.start_bytes)
        file.write((tmp_path / "fs").read_bytes())
    assert read_image(path, tmp_path, lambda done, total: None).data_free_bytes == free
