# SPDX-License-Identifier: Apache-2.0
"""The flash engine on loop devices: real block devices with the kernel's locks, caches and partitions."""

from __future__ import annotations

import gzip
import io
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.core.errors import DiskError
from balena_migrate.core.units import MIB
from balena_migrate.images.patches import Block, Patches
from balena_migrate.images.pieces import piece
from balena_migrate.stage2 import patience, target
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import FlashResult, write_image
from balena_migrate.stage2.target import find_users, open_disk, reread_partitions
from tests.support.flash import Pieces, flash_image
from tests.support.images import mbr_image

pytestmark = [
    pytest.mark.long,
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]

IMAGE = bytes(mbr_image()) + random.Random(2).randbytes(5 * MIB + 512)
PATCHES = Patches(size_bytes=len(IMAGE), blocks=(Block(offset_bytes=3 * MIB, content=b"patch"),))
GOAL = PATCHES.apply(0, IMAGE)


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    return path


@pytest.fixture
def loop(backing: Path) -> Iterator[Path]:
    device = Path(run("losetup", "--find", "--show", "--partscan", backing))
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


def do_flash(tmp_path: Path, target: Path, image: bytes = IMAGE, patches: Patches = PATCHES) -> FlashResult:
    path = tmp_path / "image.gz"
    path.write_bytes(gzip.compress(image, 1))
    with path.open("rb") as source, open_disk(target) as disk:
        return flash_image(source, "gzip", len(image), disk, patches)


def test_the_disk_holds_the_image_and_is_read_back_past_the_cache(tmp_path: Path, loop: Path, backing: Path) -> None:
    result = do_flash(tmp_path, loop)
    assert backing.read_bytes()[: len(IMAGE)] == GOAL
    assert result.reads_directly


@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_pieces_with_any_gaps_whatever_the_sectors(backing: Path, sector_bytes: int) -> None:
    """Many that begin and end at blocks, some that do not, and one that ends with the disk, whose last block is half a
    block where that is possible."""
    end = 64 * MIB + (2048 if sector_bytes == 512 else 0)
    pieces = [piece(place, b"%08d" % place * 512) for place in range(2 * MIB, 30 * MIB, 3 * 4096)]
    pieces += [piece(40 * MIB + 512, b"x" * 100_000), piece(50 * MIB + 3, b"y" * 3 * MIB), piece(end - 512, b"z" * 512)]

    goal = Pieces(pieces)
    old = (random.Random(5).randbytes(MIB) * (end // MIB + 1))[:end]
    backing.write_bytes(old)
    expected = bytearray(old)
    expected[:MIB] = bytes(MIB)
    for part in pieces:
        expected[part.offset_bytes : part.end_bytes] = part.data
    device = Path(run("losetup", "--find", "--show", "--sector-size", str(sector_bytes), backing))
    try:
        with open_disk(device) as disk:
            result = write_image(goal, disk, FirstMibLast(), lambda progress: None, print)
    finally:
        run("losetup", "--detach", device)
    assert backing.read_bytes() == expected
    assert (result.written_bytes, result.rewritten_runs, result.reads_directly) == (goal.write_bytes, 0, True)


@pytest.mark.parametrize("is_refused", [False, True])
def test_what_is_read_back_is_what_the_disk_has_and_not_what_the_cache_has(
    loop: Path, backing: Path, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    """Also where O_DIRECT is refused: the disk changes behind the kernel's back, and the next read sees it."""
    if is_refused:
        monkeypatch.setattr(target, "_open_directly", lambda path: -1)
    with open_disk(loop) as disk:
        assert disk.reads_directly is not is_refused
        for number in range(20):
            place = (number * 7919 * 4096) % (60 * MIB)
            disk.write(place, memoryview(bytearray(b"right" * MIB)[:MIB]))
            disk.sync()
            assert bytes(disk.read(place, MIB)[:5]) == b"right"
            with backing.open("r+b") as file:
                file.seek(place)
                file.write(b"wrong" * (MIB // 5))
                os.fsync(file.fileno())
            assert bytes(disk.read(place, MIB)[:5]) == b"wrong"


@pytest.fixture
def full_loop(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A disk that fails to write once it holds 24 MiB, and the tmpfs that it is on."""
    point = tmp_path / "tmpfs"
    point.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", point)
    try:
        (point / "disk").touch()
        os.truncate(point / "disk", 64 * MIB)
        device = Path(run("losetup", "--find", "--show", point / "disk"))
        try:
            yield device, point
        finally:
            run("losetup", "--detach", device)
    finally:
        run("umount", point)


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_disk_that_fails_is_written_once_it_works_again(
    full_loop: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    """The kernel's own errors: of a write past the cache, and of a flush that finds out what the cache could not do."""
    device, point = full_loop
    monkeypatch.setattr(patience, "PAUSES_S", (0.01,))
    if is_refused:
        monkeypatch.setattr(target, "_open_directly", lambda path: -1)
    image = random.Random(6).randbytes(MIB) * 40
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 3:
            run("mount", "-o", "remount,size=100m", point)

    patches = Patches(size_bytes=len(image), blocks=())
    with open_disk(device) as disk:
        flash_image(io.BytesIO(image), "raw", len(image), disk, patches, say=say)
    assert (point / "disk").read_bytes()[: len(image)] == image
    assert re.search(r"writing bytes \d+ to \d+: OSError: .*; try 3 failed, the next one comes in", said[2])


def test_a_second_flash_over_the_first(tmp_path: Path, loop: Path, backing: Path) -> None:
    other = random.Random(3).randbytes(40 * MIB)
    do_flash(tmp_path, loop, other, Patches(size_bytes=len(other), blocks=()))
    do_flash(tmp_path, loop)
    assert backing.read_bytes()[: len(IMAGE)] == GOAL


def kernel_reads_mbr() -> bool:
    """Whether the kernel was built with it; where it does not say, we take it for granted."""
    config = Path("/proc/config.gz")
    return not config.exists() or b"CONFIG_MSDOS_PARTITION=y" in gzip.decompress(config.read_bytes())


@pytest.mark.skipif(not kernel_reads_mbr(), reason="this kernel knows no MBR")
def test_the_kernel_sees_the_new_partitions(tmp_path: Path, loop: Path) -> None:
    do_flash(tmp_path, loop)
    assert reread_partitions(loop)
    starts = {
        entry.name: int((entry / "start").read_text())
        for entry in Path("/sys/class/block", loop.name).glob(f"{loop.name}p*")
    }
    assert starts[f"{loop.name}p1"] == 2048
    assert len(starts) == 6


def test_a_loop_device_without_partitions_is_no_error(backing: Path) -> None:
    device = Path(run("losetup", "--find", "--show", backing))
    try:
        assert not reread_partitions(device)
    finally:
        run("losetup", "--detach", device)


def test_a_disk_that_is_too_small(tmp_path: Path, loop: Path, backing: Path) -> None:
    with pytest.raises(DiskError, match="has 67108864 bytes, and the image needs"):
        do_flash(tmp_path, loop, bytes(65 * MIB), Patches(size_bytes=65 * MIB, blocks=()))
    assert backing.stat().st_blocks == 0, "nothing was written"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is in use is not waited for as long as it would be on a device."""
    monkeypatch.setattr(target, "BUSY_PAUSE_S", 0.005)


@pytest.mark.usefixtures("impatient")
def test_a_mounted_disk_is_refused_with_the_name_of_the_mount_point(tmp_path: Path, loop: Path) -> None:
    run("mkfs.ext4", "-q", loop)
    point = tmp_path / "mounted"
    point.mkdir()
    run("mount", loop, point)
    try:
        with pytest.raises(DiskError, match=f"in use: {loop} is mounted at {point}"):
            do_flash(tmp_path, loop)
        assert find_users(loop) == (f"{loop} is mounted at {point}",)
        with pytest.raises(DiskError, match="in use"):
            reread_partitions(loop)
    finally:
        run("umount", point)


@pytest.mark.usefixtures("impatient")
def test_a_mounted_partition_holds_the_whole_disk(tmp_path: Path, loop: Path) -> None:
    do_flash(tmp_path, loop)
    run("partx", "--update", loop)
    part = Path(f"{loop}p2")
    run("mkfs.ext4", "-q", part)
    point = tmp_path / "mounted"
    point.mkdir()
    run("mount", part, point)
    try:
        with pytest.raises(DiskError, match=f"{part} is mounted at {point}"):
            do_flash(tmp_path, loop)
    finally:
        run("umount", point)


def test_nobody_can_mount_the_disk_while_it_is_open(tmp_path: Path, loop: Path) -> None:
    run("mkfs.ext4", "-q", loop)
    with open_disk(loop):
        done = subprocess.run(["mount", str(loop), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "busy" in done.stderr


def test_what_is_no_disk() -> None:
    with pytest.raises(DiskError, match="is not a disk"), open_disk(Path("/dev/null")):
        pass
    with pytest.raises(DiskError, match="No such file"), open_disk(Path("/dev/missing")):
        pass


def test_the_disk_of_the_running_system_is_refused(monkeypatch: pytest.MonkeyPatch, loop: Path) -> None:
    number = f"{os.major(loop.stat().st_rdev)}:{os.minor(loop.stat().st_rdev)}"
    monkeypatch.setattr(target, "_mounts", lambda: iter([(number, str(loop), "/")]))
    with pytest.raises(DiskError, match="holds the root file system"), open_disk(loop):
        pass


MEMORY = """
import sys
from pathlib import Path
from balena_migrate.core.block_map import BlockMap
from balena_migrate.images.formats import format_named
from balena_migrate.images.patched_image import PatchedImage
from balena_migrate.images.patches import Patches
from balena_migrate.images.pieces import piece
from balena_migrate.stage2 import patience, target
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import write_image
def peak():
    # getrusage() would tell the peak of the process that started this one, too.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0])
before = peak()
size = int(sys.argv[3])
with open(sys.argv[1], "rb") as source, target.open_disk(Path(sys.argv[2])) as disk:
    goal = PatchedImage(source, format_named("gzip"), size, Patches(size_bytes=size, blocks=()), BlockMap())
    write_image(goal, disk, FirstMibLast(), lambda progress: None, print)
print(peak() - before)
"""


def test_memory_is_bounded(tmp_path: Path, loop: Path, backing: Path) -> None:
    """160 MiB of image take at most 44 MiB more than the interpreter with its modules: four windows of 6 MiB, what the
    decoder holds, and its output."""
    os.truncate(backing, 160 * MIB)
    run("losetup", "--set-capacity", loop)
    path = tmp_path / "image.gz"
    path.write_bytes(gzip.compress(random.Random(4).randbytes(40 * MIB), 1) * 4)
    extra_kib = int(run(sys.executable, "-c", MEMORY, path, loop, str(160 * MIB)))
    assert extra_kib < 44 * 1024, f"{extra_kib} KiB"
