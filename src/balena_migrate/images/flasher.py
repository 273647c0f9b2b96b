# SPDX-License-Identifier: Apache-2.0
"""The system image inside of a flasher image: where it is, what it is, and how it is taken out.

A flasher image is a system that installs balenaOS from a stick. The image that it writes to the disk is a raw file in
the folder /opt of its root file system, flash-rootA; what it then copies into that image's boot partition is in its
own boot partition, flash-boot: above all the boot loader's configuration, and the user's config.json and network.
Source: meta-balena, balena-image-flasher.bb and resin-init-flasher.

The flasher image may be packed, and is read as it streams by (images.passes): so nothing is written but the answer, a
gzip file, in order. Where the file is in many pieces that lie back and forth, that takes more passes, and no more room.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from balena_migrate.core.balena import CONFIG_JSON, CONNECTIONS_FOLDER, PROXY_FOLDER
from balena_migrate.core.digest import Digester, Writable
from balena_migrate.core.errors import ImageError
from balena_migrate.core.progress import Report
from balena_migrate.core.system import System, errors_at
from balena_migrate.core.units import GIB, MIB
from balena_migrate.core.values import parse_json
from balena_migrate.images import Image, ImageKind, Inside
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.compose import compose
from balena_migrate.images.filesystems.ext_files import ExtFiles, Run
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.formats import unpacked_name
from balena_migrate.images.formats.gzip import FORMAT as GZIP
from balena_migrate.images.partitions import Partition, Read
from balena_migrate.images.passes import Passes, opened
from balena_migrate.images.patches import Patches
from balena_migrate.images.pieces import Piece, in_chunks, zeros
from balena_migrate.images.scan import identify, partition_reader, scan_pieces

FOLDER = "opt"
NAME = re.compile(r"(resin|balena)-image-.+\.(resinos|balenaos)-img")
"""resin and resinos up to meta-balena 2.71, balena and balenaos since 2.72. A signed image has a .sig beside it."""
SIZE_LIMIT_BYTES = 16 * GIB
COPIED_FOLDERS = ("splash/", f"{CONNECTIONS_FOLDER}/", "dispatcher.d/", f"{PROXY_FOLDER}/")
LOADER_CONFIGS = {
    "grub.cfg_internal": ("EFI/BOOT/grub.cfg", "grub/grub.cfg"),
    "uEnv.txt_internal": ("uEnv.txt",),
}
"""The boot loader's configuration in flash-boot, and where it goes in resin-boot: to each place whose folder is there.
(INTERNAL_DEVICE_BOOTLOADER_CONFIG_PATH of balena-intel and balena-beaglebone.)"""
INSTALLER = "installer"
"""In config.json: what the flasher itself has to do."""
GZIP_LEVEL = 6
USE_RAW = "use the raw image of this device type"


def read_system_image(flasher: Image, path: Path, work_dir: Path, system: System, report: Report) -> Image:
    """The image inside of a flasher image, read to its last byte, as it will be once extract() has put it at `path`.

    Its `start_file` has the changes already that the flasher would make. `report` counts bytes of the flasher image,
    from 0 again in each pass. Memory is bounded, and only start files are written to `work_dir`.
    Raises ImageError if there is no such image in it, or it is damaged; FileError if a file cannot be read or written.
    """
    start_file = work_dir / f"{flasher.start_file.name}.inside"
    with opened(flasher.path, flasher.size_bytes, report) as passes, errors_at(work_dir):
        if flasher.identity.kind is not ImageKind.FLASHER:
            raise ImageError("is not a flasher image", hint="if it is a balenaOS image, it can be used as it is")
        runs, size_bytes = _find(passes, flasher)
        content, packed = Digester(), Digester()
        pieces = _hashed(_packing(_pieces(passes, runs, size_bytes), packed), content)
        image = scan_pieces(pieces, path, GZIP, start_file)
        if image.identity.kind is not ImageKind.RAW:
            raise ImageError("is a flasher image, and what it would install is not a balenaOS image", hint=USE_RAW)
        patches = compose(image, _boot_files(flasher, image), (), work_dir, system)
        _patch(start_file, patches)
    inside = Inside(
        flasher=flasher.path,
        flasher_bytes=flasher.size_bytes,
        size_bytes=size_bytes,
        runs=runs,
        sha256=content.digest().sha256,
        patches=patches,
    )
    identity = identify(start_file, image.boot, image.table)
    return replace(image, file_bytes=packed.size_bytes, identity=identity, inside=inside)


def extract(image: Image, file: Writable, report: Report) -> None:
    """An image inside of a flasher image is in the file, packed with gzip, as the flasher would have installed it.

    `report` counts bytes of the flasher image, from 0 again in each pass. Raises ImageError as read_system_image does,
    and where it is another image now.
    """
    inside, content = image.inside, Digester()
    assert inside is not None, "it is a file of its own"
    with opened(inside.flasher, inside.flasher_bytes, report) as passes:
        pieces = _hashed(_pieces(passes, inside.runs, inside.size_bytes), content)
        for _ in _packing(inside.patches.overlay(pieces), file):
            pass
        if content.digest().sha256 != inside.sha256:
            raise ImageError("was changed while it was read", hint="run this again")


def gzip_name(name: str) -> str:
    """The name of a flasher image's file for the image inside, which is packed with gzip."""
    stem = unpacked_name(name)
    return f"{stem}.gz" if "." in stem else f"{stem}.img.gz"


# Where it is --------------------------------------------------------------------------------------------------------


def _find(passes: Passes, flasher: Image) -> tuple[tuple[Run, ...], int]:
    """Where in the flasher image the bytes of the image inside are, and its size."""
    root = _root_partition(flasher)
    files = ExtFiles(_reader(passes, root))
    folder = files.names(files.root()).get(FOLDER)
    names = files.names(files.inode(folder)) if folder else {}
    found = [number for name, number in names.items() if NAME.fullmatch(name)]
    if len(found) != 1:
        reason = f"is a flasher image with {len(found)} system images in /{FOLDER}, where one should be"
        raise ImageError(reason, hint=USE_RAW)
    inode = files.inode(found[0])
    if not inode.is_file or inode.size_bytes > SIZE_LIMIT_BYTES:
        reason = f"is a flasher image, and its system image of {inode.size_bytes} bytes cannot be one"
        raise ImageError(reason, hint=USE_RAW)
    runs = files.runs(inode)
    return tuple(replace(run, place_bytes=root.start_bytes + run.place_bytes) for run in runs), inode.size_bytes


def _root_partition(flasher: Image) -> Partition:
    """flash-rootA: the partition behind flash-boot, in every flasher image and with both kinds of tables."""
    behind = [part for part in flasher.table.partitions if part.start_bytes >= flasher.boot.end_bytes]
    if not behind:
        raise ImageError("is a flasher image without a root partition", hint=USE_RAW)
    return min(behind, key=lambda part: part.start_bytes)


def _reader(passes: Passes, partition: Partition) -> Read:
    def read(offset: int, length: int) -> bytes:
        end = min(offset + length, partition.size_bytes)
        return passes.read(partition.start_bytes + offset, end - offset) if offset < end else b""

    return read


# Its bytes ----------------------------------------------------------------------------------------------------------


def _pieces(passes: Passes, runs: Iterable[Run], size_bytes: int) -> Iterator[Piece]:
    """All of it, in order and without gaps, in pieces that end at each MiB."""
    return in_chunks(_parts(passes, runs, size_bytes), MIB)


def _parts(passes: Passes, runs: Iterable[Run], size_bytes: int) -> Iterator[Piece]:
    end = 0
    for run in runs:
        yield zeros(end, run.offset_bytes - end)
        end = run.offset_bytes
        for part in passes.parts(run.place_bytes, run.place_bytes + run.size_bytes):
            yield Piece(end, part.size_bytes, part.content)
            end += part.size_bytes
        if end != run.end_bytes:
            raise ImageError(f"is cut short: of the system image inside, byte {end} is missing")
    yield zeros(end, size_bytes - end)


def _hashed(pieces: Iterable[Piece], content: Digester) -> Iterator[Piece]:
    """The same pieces; meanwhile their bytes are hashed."""
    for chunk in pieces:
        content.write(chunk.data)
        yield chunk


def _packing(pieces: Iterable[Piece], file: Writable) -> Iterator[Piece]:
    """The same pieces; meanwhile they are written to the file, packed."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    for chunk in pieces:
        file.write(packer.compress(chunk.data))
        yield chunk
    file.write(packer.flush())


# What the flasher puts into it --------------------------------------------------------------------------------------


def _boot_files(flasher: Image, image: Image) -> tuple[BootFile, ...]:
    """What the flasher would copy from its boot partition into the image's.

    It would also remove the image's own network profiles, but those are samples, which nothing reads.
    """
    with flasher.start_file.open("rb") as start:
        fat = Fat(partition_reader(start, flasher.boot))
        copied = [BootFile(path=path, content=fat.read_file(path)) for path in fat.files if _is_copied(path)]
        if fat.find(CONFIG_JSON):
            copied.append(BootFile(path=CONFIG_JSON, content=without_installer(fat.read_file(CONFIG_JSON))))
        for name, places in LOADER_CONFIGS.items():
            if fat.find(name):
                content = fat.read_file(name)
                copied += [BootFile(path=place, content=content) for place in _with_folders(image, places)]
    return tuple(copied)


def _is_copied(path: str) -> bool:
    return path.lower().startswith(COPIED_FOLDERS)


def _with_folders(image: Image, places: Iterable[str]) -> list[str]:
    """Those whose folder is in the image's boot partition: the flasher creates none."""
    with image.start_file.open("rb") as start:
        fat = Fat(partition_reader(start, image.boot))
    return [place for place in places if "/" not in place or fat.find(place.rpartition("/")[0])]


def without_installer(content: bytes) -> bytes:
    """A flasher's config.json as the flasher would install it. Raises ImageError if it is not a JSON object."""
    try:
        value = parse_json(content)
    except ValueError as error:
        raise ImageError(f"{CONFIG_JSON} in its boot partition is damaged: {error}") from None
    if not isinstance(value, dict):
        raise ImageError(f"{CONFIG_JSON} in its boot partition is not a JSON object")
    if INSTALLER not in value:
        return content
    return json.dumps({key: item for key, item in value.items() if key != INSTALLER}).encode()


def _patch(start_file: Path, patches: Patches) -> None:
    with start_file.open("r+b") as start:
        for block in patches.blocks:
            start.seek(block.offset_bytes)
            start.write(block.content)
