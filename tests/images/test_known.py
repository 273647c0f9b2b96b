# SPDX-License-Identifier: Apache-2.0
"""An image that has not changed since it was read is not read again; whatever is in doubt is."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.paths import KNOWN_DIR, KNOWN_IMAGE
from balena_migrate.core.progress import Report
from balena_migrate.core.system import System
from balena_migrate.findings import Finding
from balena_migrate.images import Image
from balena_migrate.images import known as known_module
from balena_migrate.images.known import Source, find_known, read_source, remember
from balena_migrate.images.scan import read_image
from balena_migrate.settings import Config
from balena_migrate.survey import find_known_image
from tests.support.flasher import NEW_NAME, flasher_image, make_ext4
from tests.support.images import make_image
from tests.support.surveys import no_progress

pytestmark = pytest.mark.processes


class Device:
    """A device with an image, on which the image is looked for again and again."""

    def __init__(self, folder: Path, content: bytes) -> None:
        self.system = System(folder / "root")
        for name in ("home", "var/cache"):
            (folder / "root" / name).mkdir(parents=True)
        self.image = folder / "root/home/os.img"
        self.image.write_bytes(content)
        self.known = self.system.real(KNOWN_IMAGE)
        self.folder = self.system.real(KNOWN_DIR)
        self.passes = 0
        """How often a pass over the image was begun."""
        self._work = folder / "work"
        self._calls = 0

    def look(self, *, fresh: bool = False, during: Callable[[], object] | None = None) -> Image | Finding:
        """One call of the tool; `during` happens in the middle of a pass."""

        @contextmanager
        def progress(title: str) -> Iterator[Report]:
            self.passes += 1
            yield lambda done, total: None
            if during is not None:
                during()

        self._calls += 1
        work = self._work / str(self._calls)
        work.mkdir(parents=True)
        config = Config(home_dir="/home", image_name="os.img")
        return find_known_image(self.system, config, work, progress, fresh=fresh)

    def look_for_image(self, *, fresh: bool = False) -> Image:
        image = self.look(fresh=fresh)
        assert isinstance(image, Image), image
        return image


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image was put there long ago."""
    monkeypatch.setattr("balena_migrate.survey.now_s", lambda: time.time() + 3600)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path, bytes(make_image(tmp_path)))


def test_the_second_call_does_not_read_the_image(device: Device) -> None:
    first, second = device.look_for_image(), device.look_for_image()
    assert device.passes == 1
    assert second.start_file != first.start_file, "each call has its own, which it may remove"
    assert replace(second, start_file=first.start_file) == first
    assert second.start_file.read_bytes() == first.start_file.read_bytes()
    assert stat.S_IMODE(second.start_file.stat().st_mode) == 0o600


def test_a_packed_image_is_known_too(tmp_path: Path) -> None:
    device = Device(tmp_path, gzip.compress(bytes(make_image(tmp_path)), 1))
    first, second = device.look_for_image(), device.look_for_image()
    assert (device.passes, second.format) == (1, "gzip")
    assert replace(second, start_file=first.start_file) == first


def test_an_image_inside_of_a_flasher_image_is_known_too(tmp_path: Path) -> None:
    root = make_ext4(tmp_path / "root.ext4", {NEW_NAME: bytes(make_image(tmp_path))})
    device = Device(tmp_path, bytes(flasher_image(tmp_path, root)))
    first = device.look_for_image()
    reads = device.passes
    second = device.look_for_image()
    assert (reads, device.passes) == (2, 2)
    assert second.inside is not None and second.inside.patches.blocks
    assert replace(second, start_file=first.start_file) == first
    assert second.start_file.read_bytes() == first.start_file.read_bytes()


def test_only_root_can_read_what_is_known(device: Device) -> None:
    device.look()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (device.folder, device.known)] == [0o700, 0o600]
    assert [path.name for path in device.folder.iterdir()] == [device.known.name]


def test_zeros_of_the_boot_partition_take_no_room(device: Device) -> None:
    start = device.look_for_image().start_file
    assert device.known.stat().st_blocks * 512 < start.stat().st_size / 2


def rewrite(path: Path) -> None:
    """Other content of the same size, with the old time."""
    info = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(512))


def exchange(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.rename(path)


@pytest.mark.parametrize("change", [rewrite, grow, exchange, Path.touch], ids=lambda change: change.__name__)
def test_a_file_that_was_changed_is_read_again(device: Device, change: Callable[[Path], None]) -> None:
    device.look()
    change(device.image)
    image = device.look_for_image()
    assert device.passes == 2
    assert image.sha256 == read_image(device.image, image.start_file.parent, lambda done, total: None).sha256
    device.look()
    assert device.passes == 2, "the new one is known"


@pytest.mark.parametrize("field", ["device", "inode", "size_bytes", "mtime_ns", "ctime_ns"])
def test_each_number_of_the_file_counts(device: Device, field: str, tmp_path: Path) -> None:
    device.look()
    source = source_of(device)
    assert find_known(device.system, source, tmp_path) is not None
    other = replace(source.file, **{field: getattr(source.file, field) + 1})
    assert find_known(device.system, replace(source, file=other), tmp_path) is None
    assert find_known(device.system, replace(source, bmap=source.file), tmp_path) is None


def test_each_number_is_the_files_own(device: Device) -> None:
    source, info = source_of(device).file, device.image.stat()
    assert (source.device, source.inode, source.size_bytes) == (info.st_dev, info.st_ino, info.st_size)
    assert (source.mtime_ns, source.ctime_ns) == (info.st_mtime_ns, info.st_ctime_ns)


def test_each_path_counts(device: Device, tmp_path: Path) -> None:
    device.look()
    source, other = source_of(device), Path("/other/os.img")
    for moved in (replace(source, file=replace(source.file, path=other)), replace(source, extracted=other)):
        assert find_known(device.system, moved, tmp_path) is None


def test_a_bmap_that_comes_later_is_compared_with(device: Device) -> None:
    device.look()
    bmap = device.image.with_name(device.image.name + ".bmap")
    bmap.write_bytes(b"damaged")
    assert isinstance(device.look(), Finding)
    assert device.passes == 2
    bmap.unlink()
    device.look_for_image()
    assert device.passes == 2, "what was known without it is known"


def source_of(device: Device) -> Source:
    return read_source(device.image, Path("/home/extracted-os.img.gz"))


def test_fresh_reads_it_again_and_renews_what_is_known(device: Device) -> None:
    device.look()
    first = device.known.stat().st_ino, device.known.stat().st_mtime_ns
    device.look(fresh=True)
    assert device.passes == 2
    assert (device.known.stat().st_ino, device.known.stat().st_mtime_ns) != first


def test_no_damage_is_trusted_or_an_error(device: Device) -> None:
    first = device.look_for_image()
    start, sound, source = first.start_file.read_bytes(), device.known.read_bytes(), source_of(device)
    unused = 0
    for place in (*range(32), *range(32, len(sound), len(sound) // 60), len(sound) - 1):
        damaged = bytearray(sound)
        damaged[place] ^= 0x10
        device.known.write_bytes(damaged)
        found = find_known(device.system, source, first.start_file.parent)
        # Between the parts is a gap, in which a byte has no meaning.
        assert found is None or (found, found.start_file.read_bytes()) == (first, start), place
        unused += found is None
    assert unused > 80
    device.known.write_bytes(sound)
    assert find_known(device.system, source, first.start_file.parent) == first


@pytest.mark.parametrize("size_bytes", [0, 10, 20, 500, 1 << 20])
def test_a_file_that_is_cut_short_is_not_used(device: Device, size_bytes: int) -> None:
    device.look()
    os.truncate(device.known, size_bytes)
    device.look_for_image()
    assert device.passes == 2
    device.look()
    assert device.passes == 2, "it was written anew"


def test_another_format_is_not_used(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.look()
    monkeypatch.setattr(known_module, "FORMAT", known_module.FORMAT + 1)
    device.look_for_image()
    assert device.passes == 2


def test_what_another_version_has_found_out_is_not_used(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.look()
    monkeypatch.setattr(known_module, "code_digest", lambda: "another")
    device.look_for_image()
    assert device.passes == 2


def test_other_code_has_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    code = known_module.read_code
    for changed in (
        "",
        "balena_migrate.images.scan",
        "balena_migrate.core.block_map",
        "balena_migrate.images.formats.xz",
    ):
        monkeypatch.setattr(known_module, "read_code", lambda module: code(module) + b"#" * (module == changed))  # noqa: B023
        digests.add(known_module.code_digest.__wrapped__())
    assert len(digests) == 4


def of_another_user(path: Path) -> None:
    os.chown(path, 1000, 1000)


def writable_for_others(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o022)


def readable_for_others(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o044)


@pytest.mark.parametrize("change", [of_another_user, writable_for_others, readable_for_others])
@pytest.mark.parametrize("name", [KNOWN_DIR, KNOWN_IMAGE])
def test_what_others_may_have_written_is_not_trusted(device: Device, name: str, change: Callable[[Path], None]) -> None:
    device.look()
    change(device.system.real(name))
    device.look_for_image()
    assert device.passes == 2


@pytest.mark.parametrize("change", [of_another_user, writable_for_others, readable_for_others])
def test_nothing_is_put_into_a_folder_of_others(device: Device, change: Callable[[Path], None]) -> None:
    device.folder.mkdir(mode=0o700)
    change(device.folder)
    device.look_for_image()
    assert list(device.folder.iterdir()) == []


def test_a_link_in_place_of_the_folder_is_not_followed(device: Device, tmp_path: Path) -> None:
    (tmp_path / "root/elsewhere").mkdir(mode=0o700)
    device.folder.symlink_to("/elsewhere")
    device.look_for_image()
    assert list((tmp_path / "root/elsewhere").iterdir()) == []


def test_what_a_power_cut_has_left_is_in_nobodys_way(device: Device) -> None:
    device.look()
    left = device.folder / ".image.balena-migrate"
    left.write_bytes(b"half of it" * 1000)
    device.look(fresh=True)
    device.look_for_image()
    assert device.passes == 2
    assert not left.exists()


def test_without_a_folder_for_it_the_image_is_read_each_time(device: Device) -> None:
    device.folder.parent.rmdir()
    device.look_for_image()
    device.look_for_image()
    assert device.passes == 2
    assert not device.folder.parent.exists()


def test_a_file_system_without_room_is_not_filled_up(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_module, "RESERVE_BYTES", 1 << 60)
    device.look_for_image()
    assert not device.known.exists()


def test_a_write_that_fails_leaves_nothing(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    device.look_for_image()
    assert [*device.folder.parent.rglob("*image*")] == []


def test_a_file_that_changes_while_it_is_read_is_a_finding(device: Device) -> None:
    found = device.look(during=lambda: grow(device.image))
    assert isinstance(found, Finding)
    assert found.cause == "/home/os.img was changed while it was read"
    assert not device.known.exists()


def test_a_file_that_disappears_while_it_is_read_is_a_finding(device: Device) -> None:
    assert isinstance(device.look(during=device.image.unlink), Finding)


def test_a_file_that_was_just_written_is_not_remembered(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be written once more at the same time, by a clock that counts in steps."""
    monkeypatch.setattr("balena_migrate.survey.now_s", lambda: device.image.stat().st_ctime + 1)
    device.look_for_image()
    assert not device.known.exists()
    os.utime(device.image, (time.time() + 10**9, time.time() + 10**9))
    device.look_for_image()
    assert not device.known.exists(), "a copy may have kept the time of its last write, which says nothing"


def test_a_device_without_a_clock_remembers_a_file_from_the_future(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balena_migrate.survey.now_s", lambda: 3600.0)
    device.look_for_image()
    device.look_for_image()
    assert device.passes == 1


def test_no_image_and_a_missing_one_are_findings_as_before(device: Device) -> None:
    device.image.unlink()
    found = device.look()
    assert isinstance(found, Finding) and found.code == "image"


def test_two_at_once_never_mix_two_images(tmp_path: Path) -> None:
    devices = [Device(tmp_path / name, bytes(make_image(tmp_path, disk_files(name)))) for name in ("one", "two")]
    shared = devices[0].system
    images = [device.look_for_image() for device in devices]
    sources = [source_of(device) for device in devices]
    done = threading.Event()

    def again_and_again(number: int) -> None:
        while not done.is_set():
            remember(shared, sources[number], images[number], time.time() + 3600)

    threads = [threading.Thread(target=again_and_again, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    counts = [0, 0]
    try:
        # How the threads take turns is the kernel's: each image has to be met, and some more for good measure.
        while not all(counts) or sum(counts) < 20:
            for number in (0, 1):
                counts[number] += is_found_whole(shared, sources[number], images[number], tmp_path / f"work{number}")
    finally:
        done.set()
        for thread in threads:
            thread.join()


def is_found_whole(system: System, source: Source, image: Image, work: Path) -> bool:
    """Whether the image is the one that is known; what is found then is all of it."""
    work.mkdir(exist_ok=True)
    found = find_known(system, source, work)
    if found is None:
        return False
    assert found.start_file.read_bytes() == image.start_file.read_bytes()
    assert replace(found, start_file=image.start_file) == image
    return True


def disk_files(name: str) -> dict[str, bytes]:
    files = {"device-type.json": json.dumps({"slug": name}).encode(), "config.json": name.encode() * 100}
    return {**files, "os-release": b'ID="balena-os"\nVERSION="2.15.1+rev2"\n', "balena-image": b""}


def test_where_no_image_is_named_that_is_what_is_said(tmp_path: Path) -> None:
    """HOME_DIR alone, also where that is the root folder, is no image."""
    config = Config(home_dir="/", image_name="")
    found = find_known_image(System(), config, tmp_path, no_progress, fresh=False)
    assert isinstance(found, Finding)
    assert found.cause == "no image is named"
