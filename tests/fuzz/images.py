# SPDX-License-Identifier: Apache-2.0
"""Readers of image files, and of what lies beside them or is made of them."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from balena_migrate.core.block_map import Range
from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.paths import KNOWN_IMAGE
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images import known
from balena_migrate.images.balenaos import parse_os_version, read_identity
from balena_migrate.images.bmap import BLOCK_BYTES, CheckedRange, dump_bmap, parse_bmap
from balena_migrate.images.efi_program import parse_machine
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.flasher import read_system_image, without_installer
from balena_migrate.images.formats import START_BYTES, format_named, magic_bytes, read_chunks, sniff_format
from balena_migrate.images.partitions import PartitionTable, TableKind
from balena_migrate.images.patches import Block, Patches, dump_patches, parse_patches
from balena_migrate.images.pieces import piece
from balena_migrate.images.scan import read_image
from tests.fuzz.reader import Call, Reader, of_bytes, of_text, these
from tests.images.formats import PACKED, of_file
from tests.support.flasher import NEW_NAME, flasher_image, make_ext4
from tests.support.images import BOOT_SECTORS, BOOT_START, SECTOR, make_fat, make_image, put, table_sector
from tests.support.tables import reader, with_right_sums

DEVICE_TYPE = '{"slug": "intel-nuc", "aliases": ["nuc"], "arch": "amd64", "yocto": {"machine": "genericx86-64"}}'


def no_report(done: int, total: int) -> None:
    pass


def unpack(content: bytes) -> None:
    """Whatever it is packed with, to its end."""
    start = content[:START_BYTES]
    known_format = sniff_format(start[: magic_bytes()])
    assert known_format.memory_bytes(start) > 0
    for _ in read_chunks(io.BytesIO(content), known_format, MIB):
        pass


def unpack_as(name: str) -> Callable[[bytes], None]:
    def read(content: bytes) -> None:
        packed = format_named(name)
        packed.memory_bytes(content[:START_BYTES])
        for _ in read_chunks(io.BytesIO(content), packed, MIB):
            pass

    return read


def packed_samples(name: str) -> Callable[[Path], Sequence[bytes]]:
    """A disk's start, and zeros that no disk ends with."""
    disk = bytes(range(254)) * 2 + b"\1\2\x55\xaa" + bytes(range(97)) * 40
    return lambda folder: [of_file(name)[1].pack(content) for content in (disk, disk + bytes(3 * MIB))]


def bmap_sample() -> bytes:
    ranges = [(0, 2), (3, 4), (6, 7)]
    return dump_bmap(
        7 * BLOCK_BYTES - 5,
        [
            CheckedRange(
                range=Range(first * BLOCK_BYTES, min(last * BLOCK_BYTES, 7 * BLOCK_BYTES - 5)), checksum=f"{first}" * 64
            )
            for first, last in ranges
        ],
    )


def with_bmap_sum(content: bytes) -> bytes:
    found = re.search(rb"<BmapFileChecksum>([^<]*)</", content)
    if not found:
        return content
    blank = content.replace(found[1], b"0" * len(found[1]), 1) if found[1] else content
    return blank.replace(b"0" * len(found[1]), hashlib.sha256(blank).hexdigest().encode()[: len(found[1])], 1)


def checked_bmap(content: bytes) -> None:
    """The map, and another image than its own compared with it."""
    bmap = parse_bmap(content, "image.bmap")
    with suppress(ImageError):
        list(bmap.checked([piece(0, bytes(min(bmap.size_bytes, MIB)))]))


def patches_sample() -> bytes:
    blocks = (Block(offset_bytes=0, content=b"start"), Block(offset_bytes=4096, content=bytes(600)))
    return dump_patches(Patches(size_bytes=8192, blocks=(*blocks, Block(offset_bytes=1 << 20, content=b"end"))))


def with_patches_sum(content: bytes) -> bytes:
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


def applied(content: bytes) -> None:
    patches = parse_patches(content, "patches")
    patches.apply(0, bytes(8192))
    if patches.end_bytes < MIB:
        list(patches.overlay([piece(0, bytes(min(patches.size_bytes, MIB)))]))


# Whole images -------------------------------------------------------------------------------------------------------


def of_image(call: Callable[[Path, Path], object]) -> Call:
    """A reader of an image's path, with a folder to work in."""

    def read(content: bytes, folder: Path) -> object:
        path, work = folder / "image", folder / "work"
        path.write_bytes(content)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        return call(path, work)

    return read


def flasher(path: Path, work: Path) -> None:
    image = read_image(path, work, no_report)
    read_system_image(image, path, work, System(work), no_report)


@functools.cache
def image_samples(folder: Path) -> Sequence[bytes]:
    return [bytes(make_image(folder, gpt=gpt)) for gpt in (False, True)]


@functools.cache
def flasher_samples(folder: Path) -> Sequence[bytes]:
    inside = bytearray((BOOT_START + BOOT_SECTORS) * SECTOR)
    inside[:SECTOR] = table_sector([(0x0E, BOOT_START, BOOT_SECTORS)], disk_id=1)
    put(inside, BOOT_START, make_fat(folder / "boot"))
    root = make_ext4(folder / "root", {NEW_NAME: bytes(inside)}, size_mib=16, options=["-O", "^has_journal"])
    return [bytes(flasher_image(folder, root, gpt=gpt)) for gpt in (False, True)]


@functools.cache
def identity_samples(folder: Path) -> Sequence[bytes]:
    files = {"device-type.json": DEVICE_TYPE.encode(), "os-release": b'VERSION="2.15.1+rev2"\n', "EFI/BOOT/b": b"MZ"}
    return [make_fat(folder / "identity", files)]


def identity(content: bytes) -> None:
    table = PartitionTable(kind=TableKind.DOS, id="1", partitions=())
    read_identity(Fat(reader(content)), table, content[:4096])


def find_known(content: bytes, folder: Path) -> object:
    """What an earlier call has left, for the very file that it was about."""
    root = folder / "root"
    file = root / KNOWN_IMAGE.lstrip("/")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(0o600)
    return known.find_known(System(root), _source(), folder)


def _source() -> known.Source:
    state = known.FileState(path=Path("/image"), device=1, inode=2, size_bytes=3, mtime_ns=4, ctime_ns=5)
    return known.Source(file=state, bmap=None, extracted=Path("/inside"))


@functools.cache
def known_samples(folder: Path) -> Sequence[bytes]:
    (folder / "image").write_bytes(bytes(make_image(folder)))
    image, system = read_image(folder / "image", folder, no_report), System(folder / "known")
    (folder / "known/var/cache").mkdir(parents=True)
    known.remember(system, _source(), image, start_s=1e9)
    return [system.read_bytes(KNOWN_IMAGE, limit_bytes=64 * MIB)[: 256 * 1024]]


_KNOWN_HEADER = struct.Struct("<8sIIII")


def with_known_sum(content: bytes) -> bytes:
    if len(content) < _KNOWN_HEADER.size:
        return content
    magic, number, size, _, checksum = _KNOWN_HEADER.unpack_from(content)
    text = content[_KNOWN_HEADER.size : _KNOWN_HEADER.size + size]
    return _KNOWN_HEADER.pack(magic, number, size, zlib.crc32(text), checksum) + content[_KNOWN_HEADER.size :]


def small_program() -> bytes:
    return b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80) + bytes(64) + b"PE\0\0" + struct.pack("<H", 0x8664)


READERS = (
    *(
        Reader(
            name=f"images.formats.{name}.read",
            read=of_bytes(unpack_as(name)),
            samples=packed_samples(name),
            raises=(ImageError,),
            cost=4,
        )
        for name in PACKED
    ),
    Reader(
        name="images.formats.read_chunks",
        read=of_bytes(unpack),
        samples=lambda folder: [sample for name in PACKED for sample in packed_samples(name)(folder)[:1]],
        raises=(ImageError,),
        covers=("images.formats.raw.read",),
    ),
    Reader(
        name="images.bmap.parse_bmap",
        read=of_bytes(checked_bmap),
        samples=these(bmap_sample()),
        raises=(ImageError,),
        covers=("images.bmap.read_bmap",),
        mended=with_bmap_sum,
    ),
    Reader(
        name="images.patches.parse_patches",
        read=of_bytes(applied),
        samples=these(patches_sample()),
        raises=(FileError,),
        mended=with_patches_sum,
    ),
    Reader(
        name="images.efi_program.parse_machine",
        read=of_bytes(parse_machine),
        samples=these(small_program()),
    ),
    Reader(
        name="images.balenaos.parse_os_version",
        read=of_text(parse_os_version),
        samples=these('ID="balena-os"\nVERSION="2.15.1+rev2"\nVERSION_ID="2.15.1"\n'),
        is_text=True,
    ),
    Reader(
        name="images.balenaos.read_identity",
        read=of_bytes(identity),
        samples=identity_samples,
        raises=(ImageError,),
        programs=True,
        cost=20,
    ),
    Reader(
        name="images.flasher.without_installer",
        read=of_bytes(without_installer),
        samples=these(json.dumps({"deviceType": "intel-nuc", "installer": {"a": [1]}})),
        raises=(ImageError,),
        is_text=True,
    ),
    Reader(
        name="images.known.find_known",
        read=find_known,
        samples=known_samples,
        covers=("images.known.read_source",),
        mended=with_known_sum,
        programs=True,
        cost=4,
    ),
    Reader(
        name="images.scan.read_image",
        read=of_image(lambda path, work: read_image(path, work, no_report)),
        samples=image_samples,
        raises=(ImageError, FileError),
        mended=with_right_sums,
        programs=True,
        cost=100,
    ),
    Reader(
        name="images.flasher.read_system_image",
        read=of_image(flasher),
        samples=flasher_samples,
        raises=(ImageError, FileError),
        mended=with_right_sums,
        programs=True,
        cost=100,
    ),
)
