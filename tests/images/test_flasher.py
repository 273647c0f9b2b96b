# SPDX-License-Identifier: Apache-2.0
"""The system image inside of a flasher image, and what the flasher would add to it."""

from __future__ import annotations

import functools
import gzip
import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images import Image, ImageKind
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.flasher import extract, gzip_name, read_system_image, without_installer
from balena_migrate.images.scan import partition_reader, read_image
from tests.images.formats import PACKED, of_file
from tests.support.flasher import FLASH_BOOT, NEW_NAME, OLD_NAME, ROOT_START, flasher_image, make_ext4
from tests.support.images import BOOT_FILES, SECTOR, make_image

pytestmark = pytest.mark.processes

INNER_FILES = {**BOOT_FILES, "EFI/BOOT/bootx64.efi": b"loader", "splash/logo.png": b"old"}
OLD_BOOT = {**{path: FLASH_BOOT[path] for path in FLASH_BOOT if "flasher" not in path}, "resin-image-flasher": b""}


def ignored(done: int, total: int) -> None:
    """No report."""


@pytest.fixture(scope="module")
def inner(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The system image, with data behind its boot partition that no piece of it shares with another."""
    image = make_image(tmp_path_factory.mktemp("inner"), INNER_FILES)
    for place in range(12 * MIB, len(image) - 8 * MIB, 4096):
        image[place : place + 8] = place.to_bytes(8, "little")
    return bytes(image)


def opened(folder: Path, raw: bytes | bytearray, name: str = "flasher.img.gz") -> Image:
    path = folder / name
    path.write_bytes(gzip.compress(raw, 1) if name.endswith(".img.gz") else raw)
    return read_image(path, folder, ignored)


def a_flasher(folder: Path, inner: bytes, boot: Mapping[str, bytes] = FLASH_BOOT) -> Image:
    path = folder / "flasher.img.gz"
    path.write_bytes(packed_flasher(inner, tuple(boot.items())))
    return read_image(path, folder, ignored)


@functools.lru_cache(maxsize=2)
def packed_flasher(inner: bytes, boot: tuple[tuple[str, bytes], ...]) -> bytes:
    """Most tests take the same one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = flasher_image(folder, make_ext4(folder / "root", {NEW_NAME: inner}), dict(boot))
    return gzip.compress(raw, 1)


def system_image(flasher: Image) -> Image:
    folder = flasher.path.parent
    return read_system_image(flasher, folder / "out.img.gz", folder, System(), ignored)


def extracted(image: Image) -> Image:
    with image.path.open("wb") as file:
        extract(image, file, ignored)
    return read_image(image.path, image.path.parent, ignored)


def boot_files(image: Image) -> dict[str, bytes]:
    with image.start_file.open("rb") as start:
        fat = Fat(partition_reader(start, image.boot))
        fat.check()
        return {path: fat.read_file(path) for path in fat.files}


@pytest.mark.parametrize("packed", ["flasher.img.gz", "flasher.img"])
@pytest.mark.parametrize(
    ("path", "boot", "gpt"), [(NEW_NAME, FLASH_BOOT, False), (NEW_NAME, FLASH_BOOT, True), (OLD_NAME, OLD_BOOT, False)]
)
def test_the_image_inside_is_known_and_taken_out(
    tmp_path: Path, inner: bytes, path: str, boot: Mapping[str, bytes], gpt: bool, packed: str
) -> None:
    root = make_ext4(tmp_path / "root", {"etc/os-release": b"x", path: inner, f"{path}.sig": b"signature"})
    flasher = opened(tmp_path, flasher_image(tmp_path, root, boot, gpt=gpt), packed)
    assert flasher.identity.kind is ImageKind.FLASHER
    image = system_image(flasher)
    assert (image.identity.kind, image.identity.slug) == (ImageKind.RAW, "raspberrypi3")
    assert (image.size_bytes, len(image.table.partitions), image.format) == (len(inner), 6, "gzip")
    assert not image.path.exists(), "it only reads"
    result = extracted(image)
    assert result.identity == image.identity
    assert (result.table, result.size_bytes) == (image.table, image.size_bytes)
    assert boot_files(result) == boot_files(image)
    assert abs(result.file_bytes - image.file_bytes) < 64 * 1024
    content = gzip.decompress(result.path.read_bytes())
    start, end = result.boot.start_bytes, result.boot.end_bytes
    assert content[:start] == inner[:start] and content[end:] == inner[end:]


@pytest.mark.long
@pytest.mark.parametrize("name", PACKED)
def test_the_flasher_image_may_be_packed_in_any_format(tmp_path: Path, inner: bytes, name: str) -> None:
    raw = flasher_image(tmp_path, make_ext4(tmp_path / "root", {NEW_NAME: inner}))
    image = system_image(opened(tmp_path, of_file(name)[1].pack(bytes(raw)), f"flasher.{name}"))
    content = gzip.decompress(extracted(image).path.read_bytes())
    assert (len(content), content[image.boot.end_bytes :]) == (len(inner), inner[image.boot.end_bytes :])


def test_the_flashers_files_are_in_the_boot_partition(tmp_path: Path, inner: bytes) -> None:
    boot = {**FLASH_BOOT, "splash/logo.png": b"new", "system-proxy/redsocks.conf": b"proxy", "dispatcher.d/x": b"#!"}
    assert boot_files(system_image(a_flasher(tmp_path, inner, boot))) == {
        **INNER_FILES,
        "EFI/BOOT/grub.cfg": FLASH_BOOT["grub.cfg_internal"],
        "config.json": b'{"apiKey": "APIKEY", "deviceType": "intel-nuc"}',
        "dispatcher.d/x": b"#!",
        "splash/logo.png": b"new",
        "system-connections/office": FLASH_BOOT["system-connections/office"],
        "system-proxy/redsocks.conf": b"proxy",
    }


def test_grubs_configuration_goes_where_the_image_has_grub(tmp_path: Path) -> None:
    files = {**BOOT_FILES, "grub/core.img": b"x"}
    found = boot_files(system_image(a_flasher(tmp_path, bytes(make_image(tmp_path, files)))))
    assert found["grub/grub.cfg"] == FLASH_BOOT["grub.cfg_internal"]
    assert "EFI/BOOT/grub.cfg" not in found


def test_u_boots_configuration_of_a_beaglebone(tmp_path: Path, inner: bytes) -> None:
    found = boot_files(system_image(a_flasher(tmp_path, inner, {**FLASH_BOOT, "uEnv.txt_internal": b"fdtfile=x\n"})))
    assert found["uEnv.txt"] == b"fdtfile=x\n"


def test_a_config_json_without_its_installer_part() -> None:
    assert json.loads(without_installer(b'{"a": 1, "installer": {"b": 2}}')) == {"a": 1}
    assert without_installer(b'{ "a":1 }') == b'{ "a":1 }', "what has none stays as it is"
    for damaged in (b"{", b"[1]", b"\xff"):
        with pytest.raises(ImageError, match=r"config\.json in its boot partition"):
            without_installer(damaged)


def test_secrets_of_the_image_are_in_no_text_of_it(tmp_path: Path, inner: bytes) -> None:
    assert "APIKEY" not in repr(system_image(a_flasher(tmp_path, inner)))


def test_an_image_that_is_no_flasher(tmp_path: Path, inner: bytes) -> None:
    with pytest.raises(ImageError, match="is not a flasher image"):
        system_image(opened(tmp_path, inner))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "0 system images in /opt"),
        ({"opt/something-else.img": b"x"}, "0 system images"),
        ({NEW_NAME: b"x", OLD_NAME: b"x"}, "2 system images"),
        ({NEW_NAME: bytes(2 * MIB)}, "no partition table"),
        ({f"{NEW_NAME}/file": b"x"}, "cannot be one"),
    ],
)
def test_a_flasher_without_a_usable_image(tmp_path: Path, files: Mapping[str, bytes], reason: str) -> None:
    root = make_ext4(tmp_path / "root", files)
    with pytest.raises(ImageError, match=rf"flasher\.img\.gz: .*{reason}"):
        system_image(opened(tmp_path, flasher_image(tmp_path, root)))


def test_a_flasher_inside_of_a_flasher(tmp_path: Path) -> None:
    inner = bytes(make_image(tmp_path, {**BOOT_FILES, "balena-image-flasher": b""}))
    with pytest.raises(ImageError, match="not a balenaOS image"):
        system_image(a_flasher(tmp_path, inner))


def test_an_image_that_is_cut_short_inside(tmp_path: Path, inner: bytes) -> None:
    with pytest.raises(ImageError, match="is cut short"):
        system_image(a_flasher(tmp_path, inner[: 16 * MIB]))


def test_a_root_file_system_that_is_damaged_or_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no ext4 file system"):
        system_image(opened(tmp_path, flasher_image(tmp_path, bytes(MIB))))
    raw = flasher_image(tmp_path, make_ext4(tmp_path / "root", {NEW_NAME: b"x"}))
    raw[446 + 16 : 446 + 32] = bytes(16)
    with pytest.raises(ImageError, match="without a root partition"):
        system_image(opened(tmp_path, raw))


def test_a_flasher_that_changes_before_it_is_taken_out(tmp_path: Path, inner: bytes) -> None:
    flasher = a_flasher(tmp_path, inner)
    image = system_image(flasher)
    assert image.inside
    raw = bytearray(gzip.decompress(flasher.path.read_bytes()))
    raw[image.inside.runs[-1].place_bytes] ^= 1
    flasher.path.write_bytes(gzip.compress(raw, 1))
    with pytest.raises(ImageError, match="was changed while it was read"):
        extracted(image)
    flasher.path.write_bytes(flasher.path.read_bytes()[:20_000])
    with pytest.raises(ImageError, match="is cut short"):
        extracted(image)
    flasher.path.unlink()
    with pytest.raises(FileError, match="No such file"):
        extracted(image)


def test_pieces_that_lie_back_and_forth_come_in_order(tmp_path: Path, inner: bytes) -> None:
    """As if a used file system had the second half of the image before the first."""
    flasher = a_flasher(tmp_path, inner)
    image = system_image(flasher)
    assert image.inside
    raw = bytearray(gzip.decompress(flasher.path.read_bytes()))
    first, last = image.inside.runs[0], image.inside.runs[-1]
    size = min(first.size_bytes, last.size_bytes)
    for run, other in ((first, last), (last, first)):
        content = inner[other.offset_bytes : other.offset_bytes + size]
        raw[run.place_bytes : run.place_bytes + size] = content
    assert first.size_bytes >= size == last.size_bytes
    swapped = (
        replace(first, size_bytes=size, place_bytes=last.place_bytes),
        replace(
            first,
            offset_bytes=first.offset_bytes + size,
            size_bytes=first.size_bytes - size,
            place_bytes=first.place_bytes + size,
        ),
        *image.inside.runs[1:-1],
        replace(last, place_bytes=first.place_bytes),
    )
    flasher.path.write_bytes(gzip.compress(raw, 1))
    result = extracted(replace(image, inside=replace(image.inside, runs=swapped)))
    assert gzip.decompress(result.path.read_bytes())[9 * MIB :] == inner[9 * MIB :]


def test_a_full_disk_is_no_fault_of_the_flasher(tmp_path: Path, inner: bytes) -> None:
    image = system_image(a_flasher(tmp_path, inner))
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        extract(image, full, ignored)


def test_the_report_counts_the_flasher_image(tmp_path: Path, inner: bytes) -> None:
    flasher = a_flasher(tmp_path, inner)
    image = system_image(flasher)
    reports: list[tuple[int, int]] = []
    extract(image, io.BytesIO(), lambda done, total: reports.append((done, total)))
    assert {total for _, total in reports} == {flasher.size_bytes}
    assert [done for done, _ in reports] == list(range(MIB, len(reports) * MIB + 1, MIB))


@pytest.mark.parametrize(
    ("name", "packed"),
    [("a.img.gz", "a.img.gz"), ("a.img", "a.img.gz"), ("a", "a.img.gz"), ("a.2.gz", "a.2.gz"), ("a.zip", "a.img.gz")],
)
def test_the_name_of_the_file_that_is_taken_out(name: str, packed: str) -> None:
    assert gzip_name(name) == packed


def test_the_root_partition_is_where_the_tests_put_it(tmp_path: Path, inner: bytes) -> None:
    image = system_image(a_flasher(tmp_path, inner))
    assert image.inside and image.inside.runs[0].place_bytes > ROOT_START * SECTOR
