# SPDX-License-Identifier: Apache-2.0
"""Walking the files that go into a backup, in a fixed order, without following links."""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from balena_migrate.core.mountinfo import MOUNTINFO, MountInfo, read_mountinfo
from balena_migrate.core.system import System

VIRTUAL_FILE_SYSTEMS = re.compile(
    "autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|fusectl|hugetlbfs|mqueue|nsfs|proc"
    "|pstore|rpc_pipefs|securityfs|selinuxfs|sysfs|tracefs"
)
"""What the kernel shows as files and no backup can hold (Linux, Documentation/filesystems)."""

SKIPPED_LIMIT = 1000
"""How many skipped files are named; further ones are only counted."""

VIRTUAL_FOLDERS = ("/proc", "/sys", "/dev", "/run")
_REASONS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@dataclass(frozen=True, kw_only=True)
class BackupItem:
    """A file or folder of the device, and its name in the archive."""

    source: str
    name: str
    pattern: str = ""
    """A regular expression; only files are taken whose path on the device it is found in. Empty: all."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A file of the device that is not in the archive, or not as it should be, and why."""

    path: str
    reason: str


class SkipList:
    """Names the first of what is skipped and counts all: memory stays bounded."""

    def __init__(self) -> None:
        self._named: list[Skipped] = []
        self.count = 0

    @property
    def named(self) -> tuple[Skipped, ...]:
        return tuple(self._named)

    def add(self, skipped: Skipped) -> None:
        self.count += 1
        if len(self._named) < SKIPPED_LIMIT:
            self._named.append(skipped)


class Entry(NamedTuple):
    """Something that goes into the archive: where it is on this machine, on the device, and in the archive.

    There may be millions, and a tuple is made four times as fast as a frozen dataclass.
    """

    real: str
    path: str
    name: str
    info: os.stat_result

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    @property
    def content_bytes(self) -> int:
        return self.info.st_size if self.is_file else 0


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What never goes into an archive: files by device and inode, and folders whose content the kernel makes up."""

    files: dict[tuple[int, int], str]
    """(device, inode) -> reason."""
    folders: frozenset[str]
    """Real paths."""


def read_left_out(system: System, files: dict[str, str]) -> LeftOut:
    """What to leave out on this system; `files` maps paths on it to the reason why they are left out."""
    found = {}
    for path, reason in files.items():
        if system.exists(path):
            found[identity(system.stat(path))] = reason
    mounts = read_mountinfo(system) if system.exists(MOUNTINFO) else ()
    folders = {*VIRTUAL_FOLDERS, *virtual_mounts(mounts)}
    return LeftOut(files=found, folders=frozenset(str(system.real(folder)) for folder in folders))


def virtual_mounts(mounts: Iterable[MountInfo]) -> tuple[str, ...]:
    """The mount points of the kernel's own file systems."""
    return tuple(mount.mount_point for mount in mounts if VIRTUAL_FILE_SYSTEMS.fullmatch(mount.fstype))


def identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def walk(system: System, item: BackupItem, left_out: LeftOut) -> Iterator[Entry | Skipped]:
    """All that belongs to the item, folders before what is in them; a Skipped for each thing that cannot.

    The item's own path may be a link and is followed; links below it are taken as links. With a pattern only
    those folders are taken that hold a file which it is found in.
    """
    real = os.path.realpath(system.real(item.source))
    found = _walk(real, item.source, item.name, left_out)
    return _matching(found, re.compile(item.pattern)) if item.pattern else found


def _walk(real: str, path: str, name: str, left_out: LeftOut) -> Iterator[Entry | Skipped]:
    found = _look(real, path, name, left_out)
    yield found
    folders: list[_Folder] = []
    while True:
        if isinstance(found, Entry) and found.is_dir:
            folder = _enter(found, left_out)
            if isinstance(folder, _Folder):
                folders.append(folder)
            else:
                yield folder
        while folders and not folders[-1].inside:
            folders.pop()
        if not folders:
            return
        here = folders[-1]
        last = here.inside.pop()
        found = _look(here.real + last, here.path + last, here.name + last, left_out)
        yield found


class _Folder(NamedTuple):
    """A folder that is being walked: how the names of what is in it begin, and what is still to come."""

    real: str
    path: str
    name: str
    inside: list[str]
    """The next one is the last."""


def _enter(entry: Entry, left_out: LeftOut) -> _Folder | Skipped:
    if entry.real in left_out.folders:
        return Skipped(path=entry.path, reason="the kernel makes up what is in it")
    try:
        inside = sorted(os.listdir(entry.real), reverse=True)
    except OSError as error:
        return Skipped(path=entry.path, reason=os.strerror(error.errno or 0))
    # join(x, "") ends with one slash, also for "/".
    return _Folder(os.path.join(entry.real, ""), os.path.join(entry.path, ""), f"{entry.name}/", inside)


def _look(real: str, path: str, name: str, left_out: LeftOut) -> Entry | Skipped:
    try:
        info = os.lstat(real)
    except OSError as error:
        return Skipped(path=path, reason=os.strerror(error.errno or 0))
    reason = left_out.files.get(identity(info)) or _REASONS.get(stat.S_IFMT(info.st_mode))
    if reason is not None:
        return Skipped(path=path, reason=reason)
    return Entry(real, path, name, info)


def _matching(found: Iterator[Entry | Skipped], pattern: re.Pattern[str]) -> Iterator[Entry | Skipped]:
    folders: list[Entry] = []
    for item in found:
        if isinstance(item, Skipped):
            yield item
            continue
        while folders and not item.name.startswith(folders[-1].name + "/"):
            folders.pop()
        if item.is_dir:
            folders.append(item)
        elif pattern.search(item.path):
            yield from folders
            folders.clear()
            yield item


def walk_all(system: System, items: Sequence[BackupItem], left_out: LeftOut) -> Iterator[Entry | Skipped]:
    """All items, one after the other. Of two files for one name in the archive the first wins; a Skipped says so."""
    overlapping = any(_overlap(one, other) for one, other in itertools.combinations(items, 2))
    taken: dict[str, str] = {}
    for item in items:
        for found in walk(system, item, left_out):
            if overlapping and isinstance(found, Entry) and not found.is_dir:
                first = taken.get(found.name)
                if first is not None and first != found.path:
                    yield Skipped(path=found.path, reason=f"{first} has its name in the archive already")
                if first is not None:
                    continue
                taken[found.name] = found.path
            yield found


def _overlap(one: BackupItem, other: BackupItem) -> bool:
    first, second = PurePosixPath(one.name), PurePosixPath(other.name)
    return first.is_relative_to(second) or second.is_relative_to(first)


def has_attributes(real: str) -> bool:
    """Whether there are extended attributes (access lists and capabilities are such); SELinux labels do not count."""
    try:
        names = os.listxattr(real, follow_symlinks=False)
    except OSError:
        return False
    return any(name != "security.selinux" for name in names)
