# SPDX-License-Identifier: Apache-2.0
"""Composes the goal before it is written: puts files into a copy of the image's boot partition, checks the result, and
gives what differs from the image.

mtools writes the files; Fat, which shares no code with it, reads the result back.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from balena_migrate.core.errors import CommandError, ImageError
from balena_migrate.core.system import System
from balena_migrate.images import Image
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.boot_room import check_files, new_folders
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.partitions import HEAD_BYTES
from balena_migrate.images.partitions.table import parse_head
from balena_migrate.images.patches import BLOCK_BYTES, Block, Patches
from balena_migrate.images.scan import create_private, partition_reader

DAY_S = 86_400
FIRST_TIME = 315_532_800 + DAY_S
"""FAT counts from 1980, in local time. Seconds since 1970, as the next one."""
LAST_TIME = (1 << 31) - 1 - DAY_S


def compose(
    image: Image,
    files: Sequence[BootFile],
    blocks: Sequence[Block],
    work_dir: Path,
    system: System,
    *,
    table: Sequence[Block] = (),
) -> Patches:
    """What must be written in place of parts of the image, so that its boot partition contains `files` and the image
    `blocks`; files that are there already are replaced.

    It is checked that every file can be read back, that no other file changed and that the file system is consistent.
    `blocks` are before the first partition, keep the partition table and need no alignment. `table` changes the table,
    in the first MiB and elsewhere. Patches of the first MiB and the boot partition have an alignment of 4 KiB.
    `work_dir` must be accessible to root only, since a file in it temporarily contains their content.
    Raises ImageError if a name is not valid on FAT, a block is misplaced, there is no room, or a check fails.
    """
    _check_blocks(image, blocks)
    composed_file = work_dir / f"{image.start_file.name}.composed"
    try:
        with create_private(composed_file) as copy, image.start_file.open("rb") as original:
            shutil.copyfileobj(original, copy, HEAD_BYTES)
        with composed_file.open("r+b") as composed, image.start_file.open("rb") as original:
            before = Fat(partition_reader(original, image.boot))
            check_files(before, files)
            _put_files(system, composed_file, image.boot.start_bytes, before, files)
            after = Fat(partition_reader(composed, image.boot))
            _check_result(before, after, files)
            _put_blocks(composed, (*blocks, *(block for block in table if block.end_bytes <= HEAD_BYTES)))
            _check_table(original, composed, table)
            far = (block for block in table if block.end_bytes > HEAD_BYTES)
            changed = sorted((*_difference(image, original, composed), *far), key=lambda block: block.offset_bytes)
            return Patches(size_bytes=image.size_bytes, blocks=tuple(changed))
    finally:
        composed_file.unlink(missing_ok=True)


def _check_blocks(image: Image, blocks: Sequence[Block]) -> None:
    end = min(HEAD_BYTES, *(partition.start_bytes for partition in image.table.partitions))
    for block in blocks:
        if block.end_bytes > end:
            raise ImageError(
                f"a block from byte {block.offset_bytes} to {block.end_bytes} does not fit before the first partition"
            )


def _ranges(image: Image) -> tuple[tuple[int, int], ...]:
    """What Image.start_file holds of the image, from where to where."""
    head_end = min(HEAD_BYTES, image.size_bytes)
    if image.boot.start_bytes <= head_end:
        return ((0, max(head_end, image.boot.end_bytes)),)
    return (0, head_end), (image.boot.start_bytes, image.boot.end_bytes)


# Writing ------------------------------------------------------------------------------------------------------------


def _put_files(system: System, file: Path, offset: int, before: Fat, files: Sequence[BootFile]) -> None:
    drive = f"{file}@@{offset}"
    for folder in new_folders(before, files):
        _mtools(system, ["mmd", "-i", drive, f"::/{folder}"])
    for item in files:
        _mtools(system, ["mcopy", "-o", "-i", drive, "-", f"::/{item.path}"], item.content)


def _mtools(system: System, argv: Sequence[str], data: bytes = b"") -> None:
    """Runs one of mtools' programs without the user's configuration, and without its check that a file system has a
    whole number of tracks, which mkfs.fat does not care for."""
    program = system.programs.get(argv[0], (argv[0],))
    environment = ["MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1", f"SOURCE_DATE_EPOCH={_file_time()}"]
    try:
        system.run(["env", *environment, *program, *argv[1:]], data=data)
    except CommandError as error:
        raise ImageError(f"{argv[-1].removeprefix('::')} cannot be put into the boot partition: {error}") from None


def _file_time() -> int:
    """Now, as far as every system can read it.

    A device without a clock is in 1970, which mtools writes as 2098; then a 32-bit new system cannot even list the
    file: stat(2) has no room for a time behind January 2038, and the device would be without its network.
    """
    return min(max(int(time.time()), FIRST_TIME), LAST_TIME)


def _put_blocks(composed: BinaryIO, blocks: Sequence[Block]) -> None:
    for block in blocks:
        composed.seek(block.offset_bytes)
        composed.write(block.content)
    composed.flush()


# Checks -------------------------------------------------------------------------------------------------------------


def _check_result(before: Fat, after: Fat, files: Sequence[BootFile]) -> None:
    """Raises ImageError unless the files are in it, all others are as they were, and the file system is consistent."""
    after.check()
    wanted = {file.path.lower(): file for file in files}
    for file in wanted.values():
        entry = after.find(file.path)
        if entry is None or entry.is_folder or after.read_file(file.path) != file.content:
            raise ImageError(f"{file.path} in the composed boot partition does not read back as written")
    for entry in before.entries:
        if entry.path.lower() not in wanted and not _is_same(before, after, entry.path):
            raise ImageError(f"{entry.path} in the composed boot partition changed")
    expected = {path.lower() for path in before.files} | set(wanted)
    if {path.lower() for path in after.files} != expected or after.label != before.label:
        raise ImageError("the composed boot partition holds files that it should not")


def _check_table(original: BinaryIO, composed: BinaryIO, table: Sequence[Block]) -> None:
    """Raises ImageError if a block was written over the partition table that shall be there."""
    before, after = (os.pread(file.fileno(), HEAD_BYTES, 0) for file in (original, composed))
    wanted = Patches(size_bytes=len(before), blocks=tuple(table)).apply(0, before)
    if parse_head(wanted) != parse_head(after):
        raise ImageError("a block changes the partition table")


def _is_same(before: Fat, after: Fat, path: str) -> bool:
    old, new = before.find(path), after.find(path)
    if old is None or new is None or old.is_folder != new.is_folder:
        return False
    return old.is_folder or before.read_file(path) == after.read_file(path)


def _difference(image: Image, original: BinaryIO, composed: BinaryIO) -> Iterator[Block]:
    """The 4 KiB blocks in which the two files differ, neighbours joined."""
    start, content = 0, bytearray()
    for offset, length in _blocks(image):
        old = os.pread(original.fileno(), length, offset)
        new = os.pread(composed.fileno(), length, offset)
        if old == new:
            continue
        if content and start + len(content) == offset:
            content += new
            continue
        if content:
            yield Block(offset_bytes=start, content=bytes(content))
        start, content = offset, bytearray(new)
    if content:
        yield Block(offset_bytes=start, content=bytes(content))


def _blocks(image: Image) -> Iterator[tuple[int, int]]:
    """Offset and length of each aligned block; the first and the last of a range may be parts of one, since what is
    around the range is not known."""
    for start, end in _ranges(image):
        offset = start
        while offset < end:
            following = min(end, offset - offset % BLOCK_BYTES + BLOCK_BYTES)
            yield offset, following - offset
            offset = following
