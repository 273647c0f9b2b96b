# SPDX-License-Identifier: Apache-2.0
"""The free space of an ext4 file system, as mke2fs leaves it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.images.filesystems.ext import (
    SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSET,
    ExtFileSystem,
    find_journal,
    parse_journal,
    parse_superblock,
)
from balena_migrate.images.filesystems.ext_features import features_beyond
from balena_migrate.images.scan import read_image
from tests.support.images import make_image
from tests.support.tables import DATA_FILE_SYSTEM


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


def parsed(file: Path) -> ExtFileSystem:
    with file.open("rb") as opened:
        opened.seek(SUPERBLOCK_OFFSET)
        found = parse_superblock(opened.read(SUPERBLOCK_BYTES))
    assert found is not None
    return found


@pytest.mark.processes
@pytest.mark.parametrize("options", [["-b", "1024"], ["-b", "4096", "-O", "64bit"], ["-O", "^has_journal", "-m", "0"]])
def test_free_space_is_what_dumpe2fs_says(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "fs"
    free = make_ext4(file, 32 << 20, *options)
    assert parsed(file).free_bytes == free
    assert 0 < parsed(file).usable_bytes < free


@pytest.mark.processes
@pytest.mark.parametrize(
    ("options", "can_grow"),
    [
        ([], True),
        (["-b", "4096", "-i", "8192", "-O", "metadata_csum,64bit"], True),
        (["-O", "^has_journal"], True),
        (["-O", "^resize_inode"], False),
        (["-O", "^resize_inode,meta_bg"], False),
        (["-O", "sparse_super2"], False),
        (["-O", "bigalloc"], False),
        (["-O", "^extent,^64bit"], False),
    ],
)
def test_which_file_systems_the_kernel_grows(tmp_path: Path, options: list[str], can_grow: bool) -> None:
    make_ext4(tmp_path / "fs", 32 << 20, *options)
    assert parsed(tmp_path / "fs").can_grow is can_grow


@pytest.mark.processes
def test_one_with_errors_does_not_grow(tmp_path: Path) -> None:
    make_ext4(tmp_path / "fs", 32 << 20)
    subprocess.run(["debugfs", "-w", "-R", "ssv state 3", tmp_path / "fs"], check=True, capture_output=True)
    assert not parsed(tmp_path / "fs").can_grow


@pytest.mark.processes
def test_groups_and_what_is_kept_for_more_of_them(tmp_path: Path) -> None:
    """The figures of balenaOS's resin-data, 192 MiB in one and a half groups, beside dumpe2fs's."""
    make_ext4(tmp_path / "fs", 192 << 20, "-b", "4096", "-i", "8192", "-O", "64bit")
    system = parsed(tmp_path / "fs")
    told = subprocess.run(["dumpe2fs", "-h", tmp_path / "fs"], check=True, capture_output=True, text=True).stdout
    values = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    assert system.blocks == int(values["Block count"]) == 49152
    assert system.inode_table_blocks == int(values["Inode blocks per group"])
    assert system.reserved_descriptor_blocks == int(values["Reserved GDT blocks"])
    assert system.groups == 2
    assert system.size_bytes(3) == 384 << 20
    assert system.most_groups == 64 * (1 + system.reserved_descriptor_blocks)
    more = system.usable_bytes_with(3) - system.usable_bytes
    assert 180 << 20 < more < 188 << 20, "192 MiB more, without 2 % and the new group's own blocks"


@pytest.mark.parametrize("superblock", [b"", bytes(1024), b"\xff" * 1024])
def test_what_is_no_superblock(superblock: bytes) -> None:
    assert parse_superblock(superblock) is None


@given(st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), max_size=40))
def test_any_superblock_has_figures_or_is_none(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(1024)
    raw[56:58], raw[33] = b"\x53\xef", 0x80
    for place, value in changes:
        raw[place] = value
    system = parse_superblock(bytes(raw))
    assert system is None or (system.usable_bytes >= 0 and system.usable_bytes_with(system.groups + 1) >= 0)


@pytest.mark.processes
@pytest.mark.parametrize(("gpt", "options"), [(False, "^has_journal"), (True, "^has_journal"), (True, "has_journal")])
def test_an_images_data_partition_is_looked_at(tmp_path: Path, gpt: bool, options: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(make_image(tmp_path, gpt=gpt))
    image = read_image(path, tmp_path, lambda done, total: None)
    assert image.data_file_system is None
    free = make_ext4(tmp_path / "fs", image.data.size_bytes, "-m", "0", "-O", options)
    content = bytearray((tmp_path / "fs").read_bytes())
    place = find_journal(bytes(content[SUPERBLOCK_OFFSET : SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES]))
    if place is not None:
        content[place + 40 : place + 44] = (0x12).to_bytes(4, "big")  # as the first kernel that mounts it leaves it
    with path.open("r+b") as file:
        file.seek(image.data.start_bytes)
        file.write(content)
    found = read_image(path, tmp_path, lambda done, total: None).data_file_system
    assert found is not None
    assert found.free_bytes == free
    assert found.journal_incompatible == (0x12 if place else 0)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("options", "kernel", "names"),
    [
        ([], (3, 2), ["metadata_csum"]),
        ([], (3, 13), []),
        (["-O", "orphan_file,metadata_csum_seed"], (3, 13), ["metadata_csum_seed"]),
        (["-O", "orphan_file,metadata_csum_seed"], (4, 3), ["metadata_csum_seed"]),
        (["-O", "orphan_file,metadata_csum_seed"], (4, 4), []),
        (["-O", "^metadata_csum,uninit_bg,bigalloc"], (3, 2), []),
        (["-O", "mmp,^resize_inode,meta_bg,^metadata_csum"], (3, 2), []),
        (["-O", "quota,project"], (3, 13), ["project"]),
        (["-O", "quota,project,^metadata_csum"], (3, 5), ["quota", "project"]),
        (["-O", "ea_inode,large_dir,inline_data"], (3, 7), ["ea_inode", "large_dir", "inline_data"]),
        (["-O", "encrypt,casefold,verity"], (4, 0), ["encrypt", "casefold", "verity"]),
        (["-O", "encrypt,casefold,verity"], (5, 3), ["verity"]),
        (["-O", "encrypt,casefold,verity"], (6, 1), []),
    ],
)
def test_which_features_a_kernel_is_too_old_for(
    tmp_path: Path, options: list[str], kernel: tuple[int, int], names: list[str]
) -> None:
    make_ext4(tmp_path / "fs", 32 << 20, "-O", "metadata_csum", *options)
    found = [feature.name for feature in features_beyond(parsed(tmp_path / "fs"), kernel)]
    assert found == names
    told = subprocess.run(["dumpe2fs", "-h", tmp_path / "fs"], check=True, capture_output=True, text=True).stdout
    assert set(names) <= set(told.split("Filesystem features:")[1].split("\n")[0].split())


def test_a_feature_that_nobody_knows_yet_is_beyond_every_kernel(tmp_path: Path) -> None:
    system = replace(DATA_FILE_SYSTEM, incompatible=0x80000040, read_only_compatible=0x20001)
    found = features_beyond(system, (99, 0))
    assert [feature.describe() for feature in found] == ["FEATURE_I31 (unknown)", "FEATURE_R17 (unknown)"]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("options", "known"), [((), True), (("-O", "^extent,^64bit,^metadata_csum"), True), (("-O", "^has_journal"), False)]
)
def test_the_journal_is_found(tmp_path: Path, options: tuple[str, ...], known: bool) -> None:
    make_ext4(tmp_path / "fs", 32 << 20, *options)
    raw = (tmp_path / "fs").read_bytes()
    place = find_journal(raw[SUPERBLOCK_OFFSET : SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES])
    assert (place is not None) is known
    assert place is None or raw[place : place + 4] == b"\xc0\x3b\x39\x98"
    assert place is None or parse_journal(raw[place:]) == 0, "mke2fs sets no feature"
    assert parse_journal(bytes(512)) == 0
