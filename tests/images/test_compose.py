# SPDX-License-Identifier: Apache-2.0
"""The composed boot partition, read back with mtools and checked with fsck.fat: neither shares code with our reader."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from balena_migrate.core.errors import ImageError
from balena_migrate.core.system import System
from balena_migrate.images import Image
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.boot_room import check_path
from balena_migrate.images.compose import compose
from balena_migrate.images.patches import Block, Patches
from balena_migrate.images.scan import read_image
from tests.support.images import BOOT_FILES, BOOT_START, boot_sectors, make_image, table_sector

pytestmark = pytest.mark.processes

FILES = [
    BootFile(path="config.json", content=b'{"apiKey": "0123"}' * 100),
    BootFile(path="system-connections/resin-wifi-01", content=b"[wifi]\nssid=Home\n"),
    BootFile(path="new folder/inner/a [long] name with blanks.cfg", content=b"x" * 5000),
    BootFile(path="empty", content=b""),
]


def read(folder: Path, raw: bytes | bytearray) -> Image:
    path = folder / "image"
    path.write_bytes(raw)
    return read_image(path, folder, lambda done, total: None)


def composed(image: Image, patches: Patches) -> bytes:
    return patches.apply(0, image.path.read_bytes())


def mtype(partition: Path, name: str) -> bytes:
    return subprocess.run(["mtype", "-i", partition, f"::{name}"], check=True, capture_output=True).stdout


@pytest.mark.parametrize("bits", [16, 32])
def test_the_files_are_in_the_boot_partition_and_nothing_else_changed(tmp_path: Path, bits: int) -> None:
    raw = make_image(tmp_path, bits=bits)
    image = read(tmp_path, raw)
    result = composed(image, compose(image, FILES, [], tmp_path, System()))

    boot = slice(BOOT_START * 512, (BOOT_START + boot_sectors(bits)) * 512)
    assert result[: boot.start] == raw[: boot.start]
    assert result[boot.stop :] == raw[boot.stop :]
    partition = tmp_path / "partition"
    partition.write_bytes(result[boot])
    subprocess.run(["fsck.fat", "-n", partition], check=True, capture_output=True)
    for file in FILES:
        assert mtype(partition, file.path.replace("[", "\\[")) == file.content
    for name in set(BOOT_FILES) - {"config.json"}:
        assert mtype(partition, name) == BOOT_FILES[name]


@pytest.mark.parametrize(("clock_s", "year"), [(0, 1980), (120, 1980), (1_700_000_000, 2023), (4_102_444_800, 2038)])
def test_a_device_without_a_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock_s: int, year: int) -> None:
    """A 32-bit system can list no file of 2098, which is what FAT makes of 1970."""
    monkeypatch.setattr(time, "time", lambda: float(clock_s))
    image = read(tmp_path, make_image(tmp_path, bits=16))
    after = composed(image, compose(image, [BootFile(path="new", content=b"n")], [], tmp_path, System()))
    partition = tmp_path / "partition"
    partition.write_bytes(after[BOOT_START * 512 :])
    listed = subprocess.run(["mdir", "-i", partition, "::/new"], check=True, capture_output=True, text=True).stdout
    assert re.findall(r"(\d{4})-\d\d-\d\d", listed) == [str(year)]


def test_the_composed_image_reads_as_an_image(tmp_path: Path) -> None:
    image = read(tmp_path, make_image(tmp_path))
    result = read(tmp_path, composed(image, compose(image, FILES, [], tmp_path, System())))
    assert set(result.identity.files) == {*BOOT_FILES, *(file.path for file in FILES)}


def test_patches_are_aligned_and_few(tmp_path: Path) -> None:
    image = read(tmp_path, make_image(tmp_path))
    patches = compose(image, FILES, [Block(offset_bytes=100, content=b"x")], tmp_path, System())
    assert all(block.offset_bytes % 4096 == 0 == len(block.content) % 4096 for block in patches.blocks)
    assert sum(len(block.content) for block in patches.blocks) < 100_000


def test_raw_blocks_keep_the_table_around_them(tmp_path: Path) -> None:
    raw = make_image(tmp_path)
    image = read(tmp_path, raw)
    blocks = [Block(offset_bytes=0, content=b"b" * 440), Block(offset_bytes=512, content=b"c" * 30_000)]
    result = composed(image, compose(image, [], blocks, tmp_path, System()))
    assert result[:440] == b"b" * 440
    assert result[512:30512] == b"c" * 30_000
    assert result[440:512] == raw[440:512]
    assert result[30512:] == raw[30512:]


@pytest.mark.parametrize(("offset", "size"), [(18432 * 512, 1), ((1 << 20) - 10, 20), (BOOT_START * 512, 1)])
def test_a_block_has_to_end_before_the_first_partition(tmp_path: Path, offset: int, size: int) -> None:
    image = read(tmp_path, make_image(tmp_path))
    with pytest.raises(ImageError, match="does not fit before the first partition"):
        compose(image, [], [Block(offset_bytes=offset, content=b"x" * size)], tmp_path, System())


@pytest.mark.parametrize(("gpt", "block"), [(False, bytes(512)), (False, b"x" * 460), (True, bytes(600))])
def test_a_block_over_the_partition_table(tmp_path: Path, gpt: bool, block: bytes) -> None:
    image = read(tmp_path, make_image(tmp_path, gpt=gpt))
    with pytest.raises(ImageError):
        compose(image, [], [Block(offset_bytes=0, content=block)], tmp_path, System())


def test_nothing_secret_stays_in_the_work_folder(tmp_path: Path) -> None:
    image = read(tmp_path, make_image(tmp_path))
    before = set(tmp_path.iterdir())
    compose(image, FILES, [], tmp_path, System())
    assert set(tmp_path.iterdir()) == before


def test_too_little_room_is_found_before_anything_is_written(tmp_path: Path) -> None:
    image = read(tmp_path, make_image(tmp_path))
    untouched = System(runner=lambda argv, data, timeout_s: pytest.fail("started a program"))
    with pytest.raises(ImageError, match=r"KiB free .*, and the 1 files for it need 9216\.5"):
        compose(image, [BootFile(path="big", content=bytes(9 << 20))], [], tmp_path, untouched)


def test_a_file_may_take_the_room_of_the_one_that_it_replaces(tmp_path: Path) -> None:
    image = read(tmp_path, make_image(tmp_path, {**BOOT_FILES, "big": bytes(6 << 20)}))
    compose(image, [BootFile(path="big", content=b"x" * (7 << 20))], [], tmp_path, System())


def test_a_full_root_folder_of_fat16(tmp_path: Path) -> None:
    """It has 512 entries and cannot grow."""
    image = read(tmp_path, make_image(tmp_path, {**BOOT_FILES, **{f"F{i}": b"" for i in range(495)}}))
    files = [BootFile(path=f"a-name-that-takes-four-entries-{i}", content=b"") for i in range(5)]
    with pytest.raises(ImageError, match=r"\d entries free, and they need 20"):
        compose(image, files, [], tmp_path, System())


def test_a_folder_that_grows(tmp_path: Path) -> None:
    image = read(tmp_path, make_image(tmp_path))
    files = [BootFile(path=f"system-connections/resin-wifi-{i:02}", content=b"w" * i) for i in range(40)]
    compose(image, files, [], tmp_path, System())


@pytest.mark.parametrize("path", ["overlays", "config.json/file"])
def test_a_folder_in_the_place_of_a_file_and_the_other_way_round(tmp_path: Path, path: str) -> None:
    image = read(tmp_path, make_image(tmp_path))
    with pytest.raises(ImageError, match="cannot be put"):
        compose(image, [BootFile(path=path, content=b"")], [], tmp_path, System())


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a//b", "../a", "a/..", "a?", "a:b", 'a"b', "a.", "a ", " a", "a\n", "ä", "con", "aux.txt", "a" * 256],
)
def test_names_that_fat_does_not_take(path: str) -> None:
    with pytest.raises(ImageError):
        check_path(path)


def test_mtools_without_a_working_program(tmp_path: Path) -> None:
    image = read(tmp_path, make_image(tmp_path))
    with pytest.raises(ImageError, match=r"config\.json cannot be put"):
        compose(image, FILES[:1], [], tmp_path, System(programs={"mcopy": ("/bin/false",)}))


@pytest.mark.long
def test_a_boot_partition_with_a_million_clusters(tmp_path: Path) -> None:
    sectors = 512 * 2048
    fat = tmp_path / "fat.img"
    with fat.open("wb") as file:
        file.truncate(sectors * 512)
    subprocess.run(["mkfs.fat", "-F", "32", "-s", "1", "-n", "resin-boot", fat], check=True, capture_output=True)
    with (tmp_path / "image").open("wb") as file:
        file.write(table_sector([(0x0C, BOOT_START, sectors), (0x83, BOOT_START + sectors, 2048)], disk_id=0x5EED))
        file.seek(BOOT_START * 512)
        file.write(fat.read_bytes())
        file.truncate((BOOT_START + sectors + 2048) * 512)
    image = read_image(tmp_path / "image", tmp_path, lambda done, total: None)
    start = time.monotonic()
    patches = compose(image, FILES, [], tmp_path, System())
    assert time.monotonic() - start < 20
    assert sum(len(block.content) for block in patches.blocks) < 100_000
