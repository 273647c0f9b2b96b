# SPDX-License-Identifier: Apache-2.0
"""The prepared form of an image, read by others: zstd(1) and bmaptool; and the same image by our own eyes."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import KIB, MIB
from balena_migrate.images import Image
from balena_migrate.images.bmap import parse_bmap
from balena_migrate.images.prepare import prepare, prepared_name, read_back
from balena_migrate.images.scan import read_image
from tests.support.images import BOOT_SECTORS, BOOT_START, SECTOR, make_image, put

pytestmark = pytest.mark.processes

ROOT, ROOT_SECTORS = BOOT_START + BOOT_SECTORS, 4096


def silent(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An image with a root file system whose free blocks hold what was deleted."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "files").mkdir()
    (folder / "files/content").write_bytes(random.Random(1).randbytes(300 * KIB))
    root = folder / "root"
    root.write_bytes(random.Random(2).randbytes(ROOT_SECTORS * SECTOR))
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "nodiscard", "-d", folder / "files", root]
    subprocess.run([*map(str, argv), f"{ROOT_SECTORS // 2}k"], check=True, capture_output=True)
    image = make_image(folder)
    put(image, ROOT, root.read_bytes())
    return bytes(image)


@pytest.fixture
def image(raw: bytes, tmp_path: Path) -> Image:
    path = tmp_path / "os.img.gz"
    path.write_bytes(gzip.compress(raw, 6))
    return read_image(path, tmp_path, silent)


@pytest.fixture
def prepared(image: Image, tmp_path: Path) -> Path:
    path = tmp_path / "os.img.zst"
    with path.open("wb") as file:
        bmap = prepare(image, file, silent)
    path.with_name("os.img.zst.bmap").write_bytes(bmap)
    return path


def test_it_is_the_same_image_and_smaller(image: Image, prepared: Path, tmp_path: Path) -> None:
    found = read_image(prepared, tmp_path, silent)
    for name in ("size_bytes", "table", "boot", "identity", "block_map", "extended_records", "data_file_system"):
        assert getattr(found, name) == getattr(image, name), name
    assert found.bmap == "os.img.zst.bmap"
    assert found.file_bytes < image.file_bytes - 0.9 * image.block_map.free_bytes, "what was deleted is gone"


def test_each_frame_holds_a_mib_with_its_checksum(prepared: Path, image: Image) -> None:
    """So that several are unpacked at a time, and each is known to be whole."""
    frames = zstandard.get_frame_parameters(prepared.read_bytes())
    assert (frames.content_size, frames.has_checksum) == (MIB, True)
    listed = subprocess.run(["zstd", "-lv", prepared], check=True, capture_output=True, text=True).stdout
    assert f"# Zstandard Frames: {-(-image.size_bytes // MIB)}\n" in listed


def test_zstd_unpacks_what_is_in_use_as_it_was_and_zeros_elsewhere(image: Image, prepared: Path, raw: bytes) -> None:
    done = subprocess.run(["zstd", "-dc", prepared], check=True, capture_output=True).stdout
    wanted = bytearray(raw)
    for free in image.block_map.free:
        wanted[free.start_bytes : free.end_bytes] = bytes(free.size_bytes)
    assert image.block_map.free_bytes > MIB
    assert done == wanted != raw


@pytest.mark.skipif(shutil.which("bmaptool") is None, reason="needs bmaptool")
def test_bmaptool_takes_both_files(image: Image, prepared: Path, raw: bytes, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xa5" * len(raw))
    subprocess.run(["bmaptool", "-q", "copy", prepared, disk], check=True, capture_output=True)
    for used in image.block_map.used(len(raw)):
        assert disk.read_bytes()[used.start_bytes : used.end_bytes] == raw[used.start_bytes : used.end_bytes]


def test_what_is_read_back_is_compared(prepared: Path) -> None:
    bmap = prepared.with_name("os.img.zst.bmap").read_bytes()
    with prepared.open("rb") as file:
        read_back(file, bmap, silent)
    parts = parse_bmap(bmap, "os.bmap").ranges
    wrong = bmap.replace(parts[-1].checksum.encode(), b"0" * 64)
    with prepared.open("rb") as file, pytest.raises(ImageError, match="own checksum"):
        read_back(file, wrong, silent)
    with prepared.open("r+b") as file:
        file.truncate(prepared.stat().st_size - 100)
    with prepared.open("rb") as file, pytest.raises(ImageError, match="cut short"):
        read_back(file, bmap, silent)


def test_another_image_than_its_bmap_is_refused(image: Image, prepared: Path, raw: bytes, tmp_path: Path) -> None:
    other = bytearray(raw)
    other[image.boot.start_bytes + MIB] ^= 1
    path = tmp_path / "other.img"
    path.write_bytes(other)
    with prepared.open("wb") as file:
        prepare(read_image(path, tmp_path, silent), file, silent)
    with pytest.raises(ImageError, match=r"differs from byte .* block map os\.img\.zst\.bmap"):
        read_image(prepared, tmp_path, silent)


def test_a_file_that_changed_since_it_was_read(image: Image, raw: bytes) -> None:
    changed = bytearray(raw)
    changed[-1] ^= 1
    image.path.write_bytes(gzip.compress(changed, 6))
    with pytest.raises(ImageError, match="was changed while it was read"):
        prepare(image, io.BytesIO(), silent)


def test_its_size_is_known_before(image: Image, prepared: Path) -> None:
    """At most: what was deleted counts, since it is not known yet when it passes."""
    assert prepared.stat().st_size < image.prepared_bytes < image.file_bytes * 1.2


def test_the_report_ends_with_all_bytes(image: Image) -> None:
    reports: list[tuple[int, int]] = []
    prepare(image, io.BytesIO(), lambda done, total: reports.append((done, total)))
    assert reports[-1] == (image.file_bytes, image.file_bytes)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("os.img.gz", "os.img.zst"),
        ("os.img.xz", "os.img.zst"),
        ("os.img", "os.img.zst"),
        ("os.zip", "os.img.zst"),
        ("os.img.zip", "os.img.zst"),
        ("os-2.15.1.img.gz", "os-2.15.1.img.zst"),
        ("image", "image.img.zst"),
    ],
)
def test_its_name(name: str, wanted: str) -> None:
    assert prepared_name(name) == wanted
