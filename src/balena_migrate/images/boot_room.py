# SPDX-License-Identifier: Apache-2.0
"""Whether the boot partition of an image takes the files that are put into it: their names, places and size.

This is FAT's own arithmetic, so it can be done before anything is written: by `check`, and again before mtools writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import KIB
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.filesystems.fat import ENTRY_BYTES, Fat

NAME_LIMIT = 255
_FORBIDDEN = set('"*/:<>?\\|')
_DEVICE_NAMES = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}
_LONG_NAME_CHARACTERS = 13


@dataclass(frozen=True, kw_only=True)
class BootRoom:
    """The space that files have in a boot partition, and the most that they take, in whole clusters."""

    file_count: int
    needed_bytes: int
    free_bytes: int
    """Including `freed_bytes`."""
    freed_bytes: int
    """What the files take that are replaced."""
    needed_slots: int = 0
    """Entries in the root folder."""
    free_slots: int | None = None
    """None for FAT32, whose root folder grows."""

    @property
    def is_enough(self) -> bool:
        return self.needed_bytes <= self.free_bytes and (
            self.free_slots is None or self.needed_slots <= self.free_slots
        )

    @property
    def text(self) -> str:
        """The arithmetic."""
        clusters = (
            f"the boot partition has {self.free_bytes / KIB:g} KiB free ({self.freed_bytes / KIB:g} of them in files"
            f" that are replaced), and the {self.file_count} files for it need {self.needed_bytes / KIB:g}"
        )
        if self.free_slots is None or self.needed_slots <= self.free_slots:
            return clusters
        return f"{clusters}; its root folder has {self.free_slots} entries free, and they need {self.needed_slots}"


def check_files(fat: Fat, files: Sequence[BootFile]) -> BootRoom:
    """The room for the files, which is enough. Raises ImageError if it is not, or if FAT cannot store a file there."""
    room = find_boot_room(fat, files)
    if not room.is_enough:
        raise ImageError(room.text, hint="leave out some of the network files")
    return room


def find_boot_room(fat: Fat, files: Sequence[BootFile]) -> BootRoom:
    """The room for the files, counted for the worst case. Raises ImageError if FAT cannot store a file there."""
    for file in files:
        check_path(file.path)
    _check_places(fat, files)
    size = fat.geometry.cluster_bytes
    folders = new_folders(fat, files)
    needed = sum(_clusters(len(file.content), size) for file in files)
    needed += sum(1 + _clusters(_slots(folder), size) for folder in folders)
    # A folder may grow by what its new names take.
    needed += sum(_clusters(_slots(file.path) + ENTRY_BYTES, size) for file in files if not fat.find(file.path))
    freed = sum(len(entry.chain) for file in files if (entry := fat.find(file.path)))
    return BootRoom(
        file_count=len(files),
        needed_bytes=needed * size,
        free_bytes=(fat.free_clusters + freed) * size,
        freed_bytes=freed * size,
        needed_slots=sum(_slots(path) // ENTRY_BYTES for path in _new_in_root(fat, files, folders)),
        free_slots=None if fat.geometry.is_fat32 else fat.free_root_slots,
    )


def check_path(path: str) -> None:
    """Raises ImageError if FAT or Linux's vfat would not store the path as it is."""
    for name in path.split("/"):
        stem = name.split(".")[0].lower()
        printable = name.isascii() and name.isprintable() and not set(name) & _FORBIDDEN
        if not name or not printable or len(name) > NAME_LIMIT or name[-1] in ". " or name[0] == " ":
            raise ImageError(f"{path!r} is not a valid file name on the FAT boot partition")
        if stem in _DEVICE_NAMES:
            raise ImageError(f"{path!r} is not a valid file name on the FAT boot partition: {stem} is reserved")


def _check_places(fat: Fat, files: Sequence[BootFile]) -> None:
    """Raises ImageError if a folder is where a file shall be, or a file where a folder shall be."""
    for file in files:
        for path in (PurePosixPath(file.path), *PurePosixPath(file.path).parents[:-1]):
            entry = fat.find(str(path))
            if entry is not None and entry.is_folder == (str(path) == file.path):
                kind = "folder" if entry.is_folder else "file"
                raise ImageError(f"{file.path} cannot be put into the boot partition: {path} is a {kind} there")


def _clusters(size_bytes: int, cluster_bytes: int) -> int:
    return -(-size_bytes // cluster_bytes)


def _slots(path: str) -> int:
    """The bytes that the entries of a name take in its folder: a short one, and a long one of 13 characters each."""
    return (1 + _clusters(len(PurePosixPath(path).name), _LONG_NAME_CHARACTERS)) * ENTRY_BYTES


def new_folders(fat: Fat, files: Iterable[BootFile]) -> tuple[str, ...]:
    """The folders to be created, each after its parent."""
    wanted = {str(folder) for file in files for folder in PurePosixPath(file.path).parents} - {"."}
    return tuple(sorted(folder for folder in wanted if fat.find(folder) is None))


def _new_in_root(fat: Fat, files: Iterable[BootFile], folders: Iterable[str]) -> tuple[str, ...]:
    paths = [*folders, *(file.path for file in files if fat.find(file.path) is None)]
    return tuple(path for path in paths if "/" not in path)
