# SPDX-License-Identifier: Apache-2.0
"""What the standard library has no function for: mount(2), umount(2), init_module(2), reboot(2)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
from collections.abc import Iterator
from pathlib import Path

from balena_migrate.core.errors import DiskError, FileError
from balena_migrate.core.memory import read_memory
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System
from balena_migrate.core.units import KIB

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25
RB_AUTOBOOT = 0x01234567

MIN_FREE = Path("/proc/sys/vm/min_free_kbytes")
DROP_CACHES = Path("/proc/sys/vm/drop_caches")

UNMOUNT_TRIES = 100
UNMOUNT_PAUSE_S = 0.1


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, fstype: str, *, flags: int = 0, options: str = "") -> None:
    """The file system is mounted at the target, a folder. Raises DiskError with the kernel's reason."""
    if reason := _mount(source, target, fstype, flags, options):
        raise DiskError(f"{source} cannot be mounted as {fstype} at {target}: {reason}")


def bind(source: Path, target: Path) -> None:
    """The folder or file is seen at the target as well, one of the same kind. Raises DiskError."""
    if reason := _mount(str(source), target, "", MS_BIND, ""):
        raise DiskError(f"{source} cannot be bound to {target}: {reason}")


def set_mount_flags(target: Path, flags: int) -> None:
    """The mount has these flags (MS_NOSUID ...) and no others; its file system is left as it is. Raises DiskError."""
    if reason := _mount("", target, "", MS_REMOUNT | MS_BIND | flags, ""):
        raise DiskError(f"{target} cannot be given its mount flags: {reason}")


def move(source: Path, target: Path) -> None:
    """What is mounted at the source, with all that is mounted in it, is mounted at the target instead.

    Raises DiskError.
    """
    if reason := _mount(str(source), target, "", MS_MOVE, ""):
        raise DiskError(f"what is mounted at {source} cannot be moved to {target}: {reason}")


def _mount(source: str, target: Path, fstype: str, flags: int, options: str) -> str:
    """mount(2): the kernel's reason where it failed, else ""."""
    words = [os.fsencode(word) for word in (source, target, fstype, options)]
    if _libc().mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        return os.strerror(ctypes.get_errno())
    return ""


def remount(target: Path, *, read_only: bool) -> None:
    """The mounted file system can be written, or cannot."""
    mount("", target, "", flags=MS_REMOUNT | (MS_RDONLY if read_only else 0))


def unmount(target: Path) -> None:
    """The file system is unmounted: never lazily, since then it would still be written while we flash.

    It is tried for ten seconds, as udev and others hold a device for a moment. Raises DiskError.
    """

    def unmount_now() -> None:
        if _libc().umount2(os.fsencode(target), 0) != 0:
            raise DiskError(f"{target} cannot be unmounted: {os.strerror(ctypes.get_errno())}")

    retry(unmount_now, on=DiskError, tries=UNMOUNT_TRIES, pause_s=UNMOUNT_PAUSE_S)


@contextlib.contextmanager
def mounted(source: str, target: Path, fstype: str, *, read_only: bool = False, options: str = "") -> Iterator[Path]:
    """The file system, mounted at a folder that is made where it is missing, and unmounted at the end."""
    target.mkdir(parents=True, exist_ok=True)
    mount(source, target, fstype, flags=MS_NOATIME | (MS_RDONLY if read_only else 0), options=options)
    try:
        yield target
    finally:
        unmount(target)


@contextlib.contextmanager
def writable(target: Path) -> Iterator[Path]:
    """A file system can be written inside of the block; one that was mounted read-only is so again behind it."""
    was_read_only = bool(os.statvfs(target).f_flag & os.ST_RDONLY)
    if was_read_only:
        remount(target, read_only=False)
    try:
        yield target
    finally:
        os.sync()
        if was_read_only:
            remount(target, read_only=True)


@contextlib.contextmanager
def little_kept_free(machine: System, setting: Path = MIN_FREE) -> Iterator[None]:
    """The kernel keeps as little memory free as one without huge pages does, and afterwards as much as before.

    For huge pages it keeps up to 5 % of memory from 512 MiB on (Linux, mm/khugepaged.c:
    set_recommended_min_free_kbytes; mm/huge_memory.c: hugepage_init), and the lists of free pages that each processor
    has grow with that: in a virtual PC with 1 GiB, 139 MiB of MemTotal were not in MemAvailable when stage 2 began,
    besides the initramfs, and by smaller ones 64 were to be expected. The rule without huge pages is that of
    mm/page_alloc.c: calculate_min_free_kbytes. Where the kernel has no such setting, nothing happens.
    """
    kept = ""
    with contextlib.suppress(OSError, FileError):
        kept = setting.read_text()
        setting.write_text(f"{math.isqrt(16 * read_memory(machine).total_bytes // KIB)}\n")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            setting.write_text(kept)


def drop_caches() -> None:
    """MemAvailable is what there is: of the page cache, the kernel counts a part as needed (Linux, mm/show_mem.c:
    si_mem_available), although what was read of the old system's files is not."""
    with contextlib.suppress(OSError):
        DROP_CACHES.write_text("3\n")


def load_module(module: bytes, parameters: str) -> None:
    """The kernel module is loaded; nothing happens if it was already. Raises OSError with the kernel's reason."""
    loaded = _libc().init_module(module, ctypes.c_ulong(len(module)), parameters.encode("utf-8", "surrogateescape"))
    if loaded != 0 and (reason := ctypes.get_errno()) != errno.EEXIST:
        raise OSError(reason, os.strerror(reason))


def reboot() -> None:
    """The machine reboots, at once and without any program: the disk that held them may be gone.

    Where the call does not do it, SysRq does (the kernel's Documentation/admin-guide/sysrq.rst).
    """
    os.sync()
    _libc().reboot(RB_AUTOBOOT)
    with contextlib.suppress(OSError):
        Path("/proc/sys/kernel/sysrq").write_text("1")
        Path("/proc/sysrq-trigger").write_text("b")
