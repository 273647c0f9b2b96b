# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import hashlib
import lzma
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.system import System
from balena_migrate.core.units import KIB, MIB
from balena_migrate.images import Image, ImageKind
from balena_migrate.images.balenaos import BIOS_BOOT_TYPE
from balena_migrate.images.prepare import prepare
from balena_migrate.images.scan import read_image
from tests.support.images import (
    BOOT_FILES,
    BOOT_SECTORS,
    BOOT_START,
    ESP,
    SECTOR,
    gpt_image,
    make_image,
    mbr_image,
    put,
    table_sector,
)

pytestmark = pytest.mark.processes


def read(folder: Path, raw: bytes | bytearray) -> Image:
    path = folder / "image"
    path.write_bytes(raw)
    return read_image(path, folder, lambda done, total: None)


@pytest.mark.parametrize("gpt", [False, True])
@pytest.mark.parametrize("bits", [16, 32])
def test_all_about_an_image(tmp_path: Path, gpt: bool, bits: int) -> None:
    raw = make_image(tmp_path, gpt=gpt, bits=bits)
    packed = gzip.compress(raw[:7_000_000], 1) + gzip.compress(raw[7_000_000:], 1)
    image = read(tmp_path, packed)
    assert image.format == "gzip"
    assert image.file_bytes == len(packed)
    assert image.sha256 == hashlib.sha256(packed).hexdigest()
    assert image.size_bytes == len(raw)
    assert image.boot.number == 1
    assert len(image.table.partitions) == (2 if gpt else 6)
    identity = image.identity
    assert identity.kind == ImageKind.RAW
    assert (identity.label, identity.slug, identity.aliases) == ("resin-boot", "raspberrypi3", ("raspberry-pi3",))
    assert (identity.arch, identity.machine) == ("armv7hf", "raspberrypi3")
    assert identity.os_version == "2.15.1+rev2"
    assert set(identity.files) == set(BOOT_FILES)
    assert not identity.has_bios_boot_code
    assert read(tmp_path, raw).identity == identity


def test_the_start_file_holds_the_first_mib_and_the_boot_partition(tmp_path: Path) -> None:
    raw = make_image(tmp_path)
    image = read(tmp_path, raw)
    start = image.start_file.read_bytes()
    assert start[: 1 << 20] == raw[: 1 << 20]
    assert stat.S_IMODE(image.start_file.stat().st_mode) == 0o600, "a downloaded image has keys in its config.json"
    assert start[image.boot.start_bytes :] == raw[image.boot.start_bytes : image.boot.end_bytes]


def test_the_report_ends_with_all_bytes(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(make_image(tmp_path))
    reports: list[tuple[int, int]] = []
    read_image(path, tmp_path, lambda done, total: reports.append((done, total)))
    assert reports[-1] == (path.stat().st_size, path.stat().st_size)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_a_flasher_image_is_known_by_its_marker_and_by_its_label(tmp_path: Path) -> None:
    files = {**BOOT_FILES, "resin-image-flasher": b""}
    assert read(tmp_path, make_image(tmp_path, files)).identity.kind == ImageKind.FLASHER
    raw = make_image(tmp_path, {}, label="flash-boot")
    assert read(tmp_path, raw).identity.kind == ImageKind.FLASHER


def test_an_image_of_something_else(tmp_path: Path) -> None:
    identity = read(tmp_path, make_image(tmp_path, {"cmdline.txt": b""}, label="bootfs")).identity
    assert identity.kind == ImageKind.UNKNOWN
    assert identity.slug == identity.os_version == ""


def test_grub_for_bios(tmp_path: Path) -> None:
    raw = make_image(tmp_path, {**BOOT_FILES, "grub/grub.cfg": b""})
    raw[0x180:0x185] = b"GRUB "
    assert not read(tmp_path, raw).identity.has_bios_boot_code, "without core.img it does not boot"
    put(raw, 1, b"core")
    assert read(tmp_path, raw).identity.has_bios_boot_code
    assert "grub/grub.cfg" in read(tmp_path, raw).identity.files


def test_a_gpts_boot_code_needs_a_partition_for_its_second_part(tmp_path: Path) -> None:
    """boot.img alone is what a protective MBR may hold."""
    raw = make_image(tmp_path, gpt=True)
    raw[0x180:0x185] = b"GRUB "
    assert not read(tmp_path, raw).identity.has_bios_boot_code
    parts = [("resin-boot", ESP, BOOT_START, BOOT_SECTORS), ("bios", BIOS_BOOT_TYPE, 34, 2000)]
    raw[: 1 << 20] = gpt_image(parts)[: 1 << 20]
    raw[0x180:0x185] = b"GRUB "
    assert read(tmp_path, raw).identity.has_bios_boot_code


def test_a_raw_image_that_is_cut_short(tmp_path: Path) -> None:
    raw = make_image(tmp_path)
    with pytest.raises(ImageError, match="partition 4 ends at 20971520"):
        read(tmp_path, raw[: 34000 * 512])
    with pytest.raises(ImageError, match="extended boot record at byte 13631488 is missing"):
        read(tmp_path, raw[: 20000 * 512])


def test_a_gzip_image_that_is_cut_short_names_the_file_and_a_remedy(tmp_path: Path) -> None:
    packed = gzip.compress(make_image(tmp_path), 1)
    with pytest.raises(ImageError, match=r"/image: is cut short.*download it again"):
        read(tmp_path, packed[:-1])


def test_a_boot_partition_that_is_no_fat(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not a FAT"):
        read(tmp_path, mbr_image())


def test_a_damaged_device_type(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"device-type\.json"):
        read(tmp_path, make_image(tmp_path, {"device-type.json": b"{"}))


def test_no_image_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no partition table"):
        read(tmp_path, b"")
    with pytest.raises(FileError, match="No such file"):
        read_image(tmp_path / "missing", tmp_path, lambda done, total: None)


def test_the_memory_that_its_format_takes_to_unpack(tmp_path: Path) -> None:
    raw = make_image(tmp_path)
    found = [read(tmp_path, packed).unpacking_bytes for packed in (gzip.compress(raw, 1), lzma.compress(raw, preset=6))]
    assert found[0] < MIB < 8 * MIB < found[1] < 12 * MIB


# What is free -------------------------------------------------------------------------------------------------------


def with_file_system(folder: Path, raw: bytearray, start: int, sectors: int) -> bytearray:
    put(raw, start, make_ext4(folder / f"ext4-{start}", {"file": b"content"}, sectors * SECTOR // KIB))
    return raw


ROOT = BOOT_START + BOOT_SECTORS
STATE, DATA = ROOT + 8192 + 2048, ROOT + 8192 + 6144 + 128
"""Where tests.support.images puts the partitions of an MBR image: two roots of 4096 sectors, and logical ones."""


def make_ext4(path: Path, files: dict[str, bytes], size_kib: int) -> bytes:
    folder = path.with_suffix(".files")
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(folder), str(path), f"{size_kib}k"]
    subprocess.run(argv, check=True, capture_output=True)
    return path.read_bytes()


def partitions_with_free_blocks(image: Image) -> set[int]:
    return {
        partition.number
        for partition in image.table.partitions
        for free in image.block_map.free
        if not partition.is_extended and partition.start_bytes <= free.start_bytes < partition.end_bytes
    }


def test_free_blocks_of_primary_and_logical_partitions(tmp_path: Path) -> None:
    raw = make_image(tmp_path)
    for start, sectors in ((ROOT, 4096), (STATE, 2048), (DATA, 4096)):
        raw = with_file_system(tmp_path, raw, start, sectors)
    image = read(tmp_path, raw)
    assert partitions_with_free_blocks(image) == {2, 5, 6}
    last = max(image.block_map.free, key=lambda free: free.end_bytes)
    assert image.data.start_bytes < last.start_bytes < last.end_bytes <= image.data.end_bytes


def test_the_boot_partition_is_written_whole_whatever_was_there_before(tmp_path: Path) -> None:
    """A superblock that mkfs.fat left behind says what is free of a file system that is gone."""
    raw = make_image(tmp_path)
    superblock = with_file_system(tmp_path, bytearray(len(raw)), ROOT, 4096)[ROOT * SECTOR + 1024 :][:1024]
    raw[BOOT_START * SECTOR + 1024 : BOOT_START * SECTOR + 2048] = superblock
    assert read(tmp_path, raw).block_map.free == ()


@pytest.mark.parametrize("second", [ROOT + 2048, ROOT + 4095, ROOT - 1])
def test_nothing_is_free_where_partitions_are_over_each_other(tmp_path: Path, second: int) -> None:
    raw = with_file_system(tmp_path, make_image(tmp_path), ROOT, 4096)
    assert read(tmp_path, raw).block_map.free
    entries = [(0x0E, BOOT_START, BOOT_SECTORS), (0x83, ROOT, 4096), (0x83, second, 4096)]
    put(raw, 0, table_sector(entries, disk_id=0x1234ABCD))
    found = read(tmp_path, raw)
    assert partitions_with_free_blocks(found) & {2} == set()


def test_nothing_is_free_of_a_primary_partition_inside_of_the_extended_one(tmp_path: Path) -> None:
    root = ROOT + 2048
    raw = with_file_system(tmp_path, make_image(tmp_path), root, 4096)
    entries = [(0x0E, BOOT_START, BOOT_SECTORS), (0x83, root, 4096), (0x0F, ROOT, 16384)]
    put(raw, 0, table_sector(entries, disk_id=0x1234ABCD))
    put(raw, ROOT, table_sector([(0x83, 8192, 2048)]))
    assert read(tmp_path, raw).block_map.free == ()


def test_nothing_is_free_where_an_extended_boot_record_is(tmp_path: Path) -> None:
    """The second one is in the middle of the first logical partition."""
    extended, logical, record = ROOT + 8192, ROOT + 8192 + 2048, ROOT + 8192 + 8192
    raw = with_file_system(tmp_path, make_image(tmp_path), logical, 8192)
    assert len(raw) >= (extended + 14336) * SECTOR
    put(raw, extended, table_sector([(0x83, 2048, 8192), (0x05, 8192, 6144)]))
    put(raw, record, table_sector([(0x83, 2048, 2048)]))
    image = read(tmp_path, raw)
    assert [partition.number for partition in image.table.partitions[-2:]] == [5, 6]
    assert image.block_map.free == ()


def packed_as_zip(path: Path, image: bytes) -> None:
    """Beside the image, under a name above and with a link as some zip programs store it."""
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(link, "/")
        archive.writestr("link/evil", "evil")
        archive.writestr("../../evil", image)


def packed_as_gzip(path: Path, image: bytes) -> None:
    """With the name that gzip -N would take (RFC 1952, FNAME)."""
    with path.open("wb") as file, gzip.GzipFile("../../evil", "wb", 1, file) as packed:
        packed.write(image)


@pytest.mark.parametrize("pack", [packed_as_zip, packed_as_gzip])
def test_a_name_inside_of_an_images_file_leads_nowhere(
    tmp_path: Path, pack: Callable[[Path, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the image, and making its prepared form, write under names of ours alone."""
    home, work = tmp_path / "a/home", tmp_path / "a/work"
    for folder in (home, work):
        folder.mkdir(parents=True)
    pack(home / "image", bytes(make_image(tmp_path)))
    before = set(tmp_path.rglob("*"))
    monkeypatch.chdir(home)
    image = read_image(home / "image", work, lambda done, total: None)
    with System(tmp_path).replacing("/a/home/image.zst") as file:
        prepare(image, file, lambda done, total: None)
    new = {str(path.relative_to(tmp_path)) for path in set(tmp_path.rglob("*")) - before}
    assert {name for name in new if not name.startswith("a/work/image.")} == {"a/home/image.zst"}
