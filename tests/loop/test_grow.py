# SPDX-License-Identifier: Apache-2.0
"""resin-data grown by the kernel while it is mounted, and filled to the last byte that was promised.

Growing needs CAP_SYS_RESOURCE, which not every container has: there resize2fs does it without a mount, so that all the
rest is tested, and the kernel's own way is left to tests/vm.
"""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import DiskError, FileError
from balena_migrate.core.handover import DataFile, StoredFile
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images import Image
from balena_migrate.images.compose import compose
from balena_migrate.images.filesystems.ext import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, ExtFileSystem, parse_superblock
from balena_migrate.images.room import MARGIN_BYTES, grown_size_bytes, grown_table, room_bytes
from balena_migrate.images.scan import read_image
from balena_migrate.stage2 import grow, transfer
from balena_migrate.stage2.kernel import mounted
from balena_migrate.stage2.stash import RamStash
from balena_migrate.stage2.target import open_disk
from balena_migrate.workstation.lab.lookalike.layout import plan_layout, table_sectors
from balena_migrate.workstation.lab.lookalike.specs import find_spec
from tests.support.flash import flash_image
from tests.support.images import make_fat
from tests.support.tables import assert_sound, read_by_sfdisk

pytestmark = [
    pytest.mark.long,
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]

AS_BALENAOS = ("-b", "4096", "-i", "8192")


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def looped(file: Path, start_bytes: int, size_bytes: int) -> Iterator[str]:
    """A partition as a device: this works also where the kernel shows none of a loop device."""
    place = ("--offset", str(start_bytes), "--sizelimit", str(size_bytes))
    device = run("losetup", "--find", "--show", *place, file)
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@pytest.fixture(autouse=True)
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grow, "POINT", tmp_path / "point")
    monkeypatch.setattr(transfer, "DATA", tmp_path / "point")


def may_resize() -> bool:
    """Whether this process has CAP_SYS_RESOURCE, number 24."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return bool(int(status["CapEff"], 16) >> 24 & 1)


def enlarge(device: str, size_bytes: int) -> None:
    if may_resize():
        grow.grow(device, size_bytes)
    else:
        run("e2fsck", "-f", "-p", device)
        run("resize2fs", device, f"{size_bytes // 1024}K")


needs_resize = pytest.mark.skipif(not may_resize(), reason="needs CAP_SYS_RESOURCE")


def file_system(file: Path, start_bytes: int = 0) -> ExtFileSystem:
    with file.open("rb") as opened:
        opened.seek(start_bytes + SUPERBLOCK_OFFSET)
        found = parse_superblock(opened.read(SUPERBLOCK_BYTES))
    assert found is not None
    return found


def make(file: Path, size_mib: int, *options: str) -> ExtFileSystem:
    with file.open("wb") as opened:
        opened.truncate(size_mib * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "resin-data", *options, file)
    return file_system(file)


def put(device: str, size_bytes: int, folder: Path) -> None:
    """The transfer of a backup of this size, in stage 2's own way."""
    source = folder / "source"
    with source.open("wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(os.urandom(MIB))
        file.write(os.urandom(size_bytes % MIB))
    stored = StoredFile(path="/source", size_bytes=size_bytes, sha256="")
    transfer.transfer(device, (DataFile(file=stored, name="backup.tgz"),), RamStash(folder), "line\n" * 10_000)
    with mounted(device, folder / "look", "ext4", read_only=True) as look:
        subprocess.run(["cmp", source, look / "backup.tgz"], check=True)


@pytest.mark.parametrize(
    ("size_mib", "options", "groups"),
    [
        (192, AS_BALENAOS, 3),
        (192, (*AS_BALENAOS, "-O", "64bit,metadata_csum"), 6),
        (192, (*AS_BALENAOS, "-O", "^64bit,^metadata_csum,uninit_bg"), 3),
        (192, (*AS_BALENAOS, "-O", "^has_journal"), 3),
        (64, AS_BALENAOS, 2),
        (20, ("-b", "1024"), 33),
        (20, ("-b", "1024", "-O", "^flex_bg"), 10),
    ],
)
def test_what_is_promised_of_a_grown_file_system_fits(
    tmp_path: Path, size_mib: int, options: tuple[str, ...], groups: int
) -> None:
    file = tmp_path / "fs"
    system = make(file, size_mib, *options)
    assert system.can_grow
    size_bytes = system.size_bytes(groups)
    os.truncate(file, size_bytes)
    with looped(file, 0, size_bytes) as device:
        enlarge(device, size_bytes)
        put(device, system.usable_bytes_with(groups) - MARGIN_BYTES, tmp_path)
    run("e2fsck", "-f", "-n", file)
    grown = file_system(file)
    assert grown.blocks * grown.block_bytes == size_bytes
    assert grown.can_grow, "and balenaOS can go on"
    assert grown.reserved_descriptor_blocks <= system.reserved_descriptor_blocks


@pytest.mark.parametrize("options", [AS_BALENAOS, ("-b", "1024")])
def test_what_is_promised_of_it_as_it_is_fits(tmp_path: Path, options: tuple[str, ...]) -> None:
    """To the last MiB of it: of the free blocks, the kernel keeps back almost 4."""
    file = tmp_path / "fs"
    system = make(file, 192, *options)
    with looped(file, 0, 192 * MIB) as device:
        put(device, system.usable_bytes - MIB, tmp_path)
    run("e2fsck", "-f", "-n", file)


def test_the_kernel_keeps_back_what_we_count(tmp_path: Path) -> None:
    file = tmp_path / "fs"
    system = make(file, 192, *AS_BALENAOS)
    with looped(file, 0, 192 * MIB) as device, pytest.raises(FileError, match="No space left on device"):
        put(device, system.usable_bytes + MIB, tmp_path)


@needs_resize
def test_growing_twice_is_growing_once(tmp_path: Path) -> None:
    file = tmp_path / "fs"
    size_bytes = make(file, 192, *AS_BALENAOS).size_bytes(3)
    os.truncate(file, size_bytes)
    with looped(file, 0, size_bytes) as device:
        grow.grow(device, size_bytes)
        first = file_system(file)
        grow.grow(device, size_bytes)
    assert file_system(file).blocks == first.blocks
    run("e2fsck", "-f", "-n", file)


def test_a_partition_that_stayed_small_is_an_error_and_nothing_is_harmed(tmp_path: Path) -> None:
    file = tmp_path / "fs"
    system = make(file, 192, *AS_BALENAOS)
    with looped(file, 0, 192 * MIB) as device:
        with pytest.raises(DiskError, match="cannot be grown to 98304 blocks"):
            grow.grow(device, system.size_bytes(3))
        put(device, MIB, tmp_path)
    run("e2fsck", "-f", "-n", file)
    assert file_system(file).blocks == system.blocks


def test_what_is_no_ext4_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "fs").open("wb") as file:
        file.truncate(MIB)
    with looped(tmp_path / "fs", 0, MIB) as device, pytest.raises(DiskError, match="cannot be mounted"):
        grow.grow(device, 2 * MIB)


# The whole way ------------------------------------------------------------------------------------------------------

SPEC = replace(find_spec("intel-nuc"), boot_bytes=8 * MIB, root_bytes=8 * MIB, data_bytes=60 * MIB)
GPT_SCRIPT = """\
label: gpt
start=8192, size=16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="resin-boot"
start=24576, size=16384, name="resin-rootA"
start=40960, size=131072, name="resin-data"
"""
DISK_BYTES = 640 * MIB + 512


def make_mbr_image(path: Path) -> int:
    """Returns where its data partition begins."""
    layout = plan_layout(SPEC)
    with path.open("wb") as file:
        file.truncate(layout.size_bytes)
        for offset, sector in table_sectors(layout).items():
            file.seek(offset)
            file.write(sector)
    return layout.labelled("resin-data").start_bytes


def make_gpt_image(path: Path) -> int:
    with path.open("wb") as file:
        file.truncate(88 * MIB)
    subprocess.run(["sfdisk", "-q", "--no-tell-kernel", path], input=GPT_SCRIPT.encode(), check=True)
    return 40960 * 512


def read_with_parts(path: Path, data_start: int, folder: Path) -> Image:
    data = folder / "data"
    make(data, 64, *AS_BALENAOS)
    with path.open("r+b") as file:
        file.seek(8192 * 512)
        file.write(make_fat(folder / "fat"))
        file.seek(data_start)
        file.write(data.read_bytes())
    return read_image(path, folder, lambda done, total: None)


@pytest.mark.parametrize("make_table", [make_mbr_image, make_gpt_image])
def test_image_table_flash_file_system_backup(tmp_path: Path, make_table: object) -> None:
    path, disk, packed = tmp_path / "image", tmp_path / "disk", tmp_path / "image.gz"
    start = make_mbr_image(path) if make_table is make_mbr_image else make_gpt_image(path)
    image = read_with_parts(path, start, tmp_path)
    backup_bytes = (room_bytes(image) or 0) + 150 * MIB
    size_bytes = grown_size_bytes(image, backup_bytes, DISK_BYTES)
    assert size_bytes is not None
    table = grown_table(image, size_bytes, DISK_BYTES)
    patches = compose(image, [], [], tmp_path, System(), table=table)
    with packed.open("wb") as file:
        file.write(gzip.compress(path.read_bytes(), 1))
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    with packed.open("rb") as source, open_disk(disk) as opened:
        flash_image(source, "gzip", image.size_bytes, opened, patches)
    assert_sound(disk)
    last = read_by_sfdisk(disk)["partitions"][-1]
    assert (last["start"] * 512, last["size"] * 512) == (start, size_bytes)
    with looped(disk, start, size_bytes) as device:
        enlarge(device, size_bytes)
        put(device, backup_bytes, tmp_path)
        run("e2fsck", "-f", "-n", device)
    assert_sound(disk)


def test_a_small_backup_changes_nothing_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "image"
    image = read_with_parts(path, make_mbr_image(path), tmp_path)
    assert grown_size_bytes(image, room_bytes(image) or 0, DISK_BYTES) is None
    assert compose(image, [], [], tmp_path, System()).blocks == ()
