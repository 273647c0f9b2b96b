# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images.filesystems.ext_files import ExtFiles
from tests.support.flasher import make_ext4

pytestmark = pytest.mark.processes

NOISE = bytes(range(1, 252))
LARGE = NOISE * (20 * MIB // len(NOISE))
FILES = {"opt/image": LARGE, "opt/empty": b"", "etc/os-release": b"ID=x\n"}


def opened(raw: bytes) -> ExtFiles:
    return ExtFiles(lambda offset, length: raw[offset : offset + length])


def read(raw: bytes, path: str) -> bytes:
    """The file's content, by what ExtFiles says of it."""
    files = opened(raw)
    inode = files.root()
    for name in path.split("/"):
        inode = files.inode(files.names(inode)[name])
    content = bytearray(inode.size_bytes)
    for run in files.runs(inode):
        content[run.offset_bytes : run.end_bytes] = raw[run.place_bytes : run.place_bytes + run.size_bytes]
    assert len(content) == inode.size_bytes
    return bytes(content)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-b", "1024"),
        ("-b", "4096", "-O", "^64bit,^flex_bg"),
        ("-O", "64bit,^metadata_csum"),
        ("-O", "metadata_csum,metadata_csum_seed,large_dir", "-I", "512"),
        ("-b", "1024", "-O", "^has_journal,uninit_bg,^metadata_csum", "-I", "128"),
    ],
    ids=" ".join,
)
def test_files_read_as_they_were_written(tmp_path: Path, options: Sequence[str]) -> None:
    raw = make_ext4(tmp_path / "ext4", FILES, options=options)
    assert {path: read(raw, path) for path in FILES} == FILES


def test_a_file_in_many_pieces_has_a_tree(tmp_path: Path) -> None:
    """Groups of 8 MiB, each with its own inode table: the file does not fit into the four extents of its inode."""
    raw = make_ext4(tmp_path / "ext4", FILES, options=("-b", "1024", "-O", "^flex_bg", "-g", "2048"))
    files = opened(raw)
    inode = files.inode(files.names(files.inode(files.names(files.root())["opt"]))["image"])
    assert struct.unpack_from("<H", inode.tree, 6)[0] == 1, "the tree has no second level"
    assert read(raw, "opt/image") == LARGE


def test_holes_are_not_read(tmp_path: Path) -> None:
    content = bytes(MIB) + NOISE * 1000 + bytes(5 * MIB) + b"end"
    raw = make_ext4(tmp_path / "ext4", {"file": content})
    files = opened(raw)
    runs = files.runs(files.inode(files.names(files.root())["file"]))
    assert sum(run.size_bytes for run in runs) < MIB
    assert read(raw, "file") == content


@pytest.mark.parametrize("optimised", [False, True])
def test_a_large_folder_with_and_without_a_hash_tree(tmp_path: Path, optimised: bool) -> None:
    names = {f"opt/name-that-is-long-{number}": b"" for number in range(600)}
    raw = make_ext4(tmp_path / "ext4", names, options=("-N", "1024"))
    if optimised:
        subprocess.run(["e2fsck", "-fyD", str(tmp_path / "ext4")], capture_output=True, check=False)
        assert (tmp_path / "ext4").read_bytes() != raw
        raw = (tmp_path / "ext4").read_bytes()
    files = opened(raw)
    folder = files.inode(files.names(files.root())["opt"])
    assert folder.flags & 0x1000 == (0x1000 if optimised else 0), "the hash tree's flag"
    assert {f"opt/{name}" for name in files.names(folder)} == set(names) | {"opt/.", "opt/.."}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no ext4 file system"):
        opened(bytes(4096))
    with pytest.raises(ImageError, match="leads out"):
        opened(b"")
    with pytest.raises(ImageError, match="features that are not supported"):
        opened(make_ext4(tmp_path / "meta", {}, options=("-O", "meta_bg,^resize_inode")))
    blocks = make_ext4(tmp_path / "ext2", {"file": b"x"}, options=("-O", "^extents,^64bit"))
    with pytest.raises(ImageError, match="without extents"):
        read(blocks, "file")


def test_a_journal_that_was_not_replayed_is_refused(tmp_path: Path) -> None:
    raw = bytearray(make_ext4(tmp_path / "ext4", {}))
    raw[1024 + 96] |= 0x4
    with pytest.raises(ImageError, match="0x4"):
        opened(bytes(raw))


def damaged(raw: bytes, path: str, offset: int, content: bytes) -> bytes:
    """The file system with these bytes in the tree of extents that the file's inode holds."""
    files = opened(raw)
    inode = files.inode(files.names(files.root())[path])
    place = raw.index(inode.tree) + offset
    return raw[:place] + content + raw[place + len(content) :]


def test_a_tree_that_runs_in_circles_ends(tmp_path: Path) -> None:
    """Each of a node's 340 entries names the node itself: the depth forbids it, and the number of nodes, too."""
    raw = make_ext4(tmp_path / "ext4", {"file": LARGE}, options=("-b", "4096"))
    node = (len(raw) - 8192) // 4096
    entries = struct.pack("<IIHH", 0, node, 0, 0) * 340
    for depth in (1, 4):
        loop = raw[: node * 4096] + (struct.pack("<HHHHI", 0xF30A, 340, 340, depth, 0) + entries).ljust(4096, b"\0")
        loop += raw[len(loop) :]
        root = struct.pack("<HHHHIIIHH", 0xF30A, 1, 4, depth + 1, 0, 0, node, 0, 0)
        with pytest.raises(ImageError, match="a tree of extents"):
            read(damaged(loop, "file", 0, root), "file")


def test_a_file_in_absurdly_many_parts_is_refused(tmp_path: Path) -> None:
    """A tree of full nodes that all name the same leaf."""
    raw = make_ext4(tmp_path / "ext4", {"file": LARGE}, options=("-b", "4096"))
    leaf, index = (len(raw) - 8192) // 4096, (len(raw) - 4096) // 4096
    empty = struct.pack("<HHHHI", 0xF30A, 0, 340, 0, 0).ljust(4096, b"\0")
    full = struct.pack("<HHHHI", 0xF30A, 340, 340, 1, 0) + struct.pack("<IIHH", 0, leaf, 0, 0) * 340
    raw = raw[: leaf * 4096] + empty + full.ljust(4096, b"\0")
    root = struct.pack("<HHHHI", 0xF30A, 4, 4, 2, 0) + struct.pack("<IIHH", 0, index, 0, 0) * 4
    with pytest.raises(ImageError, match="too many parts"):
        read(damaged(raw, "file", 0, root), "file")


@pytest.mark.parametrize(
    ("first", "length", "place"),
    [(0, 1, 1 << 31), (0, 32768, 30_000)],
    ids=["behind the file system", "across its end"],
)
def test_an_extent_that_leads_out_of_the_file_system(tmp_path: Path, first: int, length: int, place: int) -> None:
    raw = make_ext4(tmp_path / "ext4", {"file": LARGE})
    root = struct.pack("<HHHHIIHHI", 0xF30A, 1, 4, 0, 0, first, length, 0, place)
    with pytest.raises(ImageError, match="lead out"):
        read(damaged(raw, "file", 0, root), "file")


def test_extents_that_overlap(tmp_path: Path) -> None:
    raw = make_ext4(tmp_path / "ext4", {"file": LARGE})
    extent = struct.pack("<IHHI", 5, 2, 0, 100)
    root = struct.pack("<HHHHI", 0xF30A, 2, 4, 0, 0) + extent * 2
    with pytest.raises(ImageError, match="overlap"):
        read(damaged(raw, "file", 0, root), "file")


def test_an_extent_that_was_never_written_reads_as_zeros(tmp_path: Path) -> None:
    raw = make_ext4(tmp_path / "ext4", {"file": LARGE})
    root = struct.pack("<HHHHIIHHI", 0xF30A, 1, 4, 0, 0, 0, 32768 + 10, 0, 100)
    assert read(damaged(raw, "file", 0, root), "file") == bytes(len(LARGE))


METADATA = ((1024, 1400), (2048, 2112), (4 * 1024, 4 * 1024 + 80), (17 * 1024, 21 * 1024), (35 * 1024, 42 * 1024))
"""Superblock, group descriptor, root folder, other folders and inodes of `small`."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """With few inodes, so that a random change often hits something that matters."""
    files = {"opt/image": NOISE * 500, "etc/os-release": b"x", **{f"etc/file-{n}": b"" for n in range(8)}}
    options = ("-b", "1024", "-N", "32", "-O", "^has_journal,^resize_inode")
    raw = make_ext4(tmp_path_factory.mktemp("ext4") / "ext4", files, 1, options)
    assert all(any(raw[start:end]) for start, end in METADATA)
    return raw


def read_all(files: ExtFiles) -> None:
    for number in (*files.names(files.root()).values(), *range(10, 24)):
        inode = files.inode(number)
        if inode.is_folder:
            files.names(inode)
        if inode.is_file:
            assert all(run.size_bytes > 0 and run.end_bytes <= inode.size_bytes for run in files.runs(inode))


def test_all_of_it_is_read_where_nothing_is_damaged(small: bytes) -> None:
    read_all(opened(small))


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_no_damage_ends_in_anything_but_an_image_error(small: bytes, data: st.DataObject) -> None:
    raw = bytearray(small)
    places = st.one_of(*(st.integers(start, end) for start, end in METADATA))
    for place in data.draw(st.lists(places, min_size=1, max_size=6)):
        raw[place] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))
    end = data.draw(st.sampled_from((len(raw), 512, 1500, 30_000)))
    with contextlib.suppress(ImageError):
        read_all(opened(bytes(raw[:end])))
