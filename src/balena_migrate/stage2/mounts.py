# SPDX-License-Identifier: Apache-2.0
"""Takes mounts away, and puts the same ones back, as the kernel described them before.

What is on a block device is unmounted, since the device must be free, and is mounted again from there. All else, such
as a tmpfs, has its content nowhere but in the mount: it is moved aside, and moved back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.blockdev import find_kernel_name
from balena_migrate.core.errors import DiskError
from balena_migrate.core.mountinfo import MountInfo, mounts_below, read_mountinfo
from balena_migrate.core.paths import STAGE2_ASIDE
from balena_migrate.core.system import System
from balena_migrate.stage2 import kernel

ASIDE = Path(STAGE2_ASIDE)

SUPER_FLAGS = {
    "ro": kernel.MS_RDONLY,
    "sync": kernel.MS_SYNCHRONOUS,
    "dirsync": kernel.MS_DIRSYNC,
    "mand": kernel.MS_MANDLOCK,
    "lazytime": kernel.MS_LAZYTIME,
}
"""The options of a file system that mount(2) takes as flags (Linux, fs/proc_namespace.c); all others are text."""
MOUNT_FLAGS = {
    "ro": kernel.MS_RDONLY,
    "nosuid": kernel.MS_NOSUID,
    "nodev": kernel.MS_NODEV,
    "noexec": kernel.MS_NOEXEC,
    "noatime": kernel.MS_NOATIME,
    "nodiratime": kernel.MS_NODIRATIME,
    "relatime": kernel.MS_RELATIME,
    "nosymfollow": kernel.MS_NOSYMFOLLOW,
}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A mount that was taken away."""

    mount: MountInfo
    device: str
    """What it was unmounted from; "" where it was moved aside."""
    aside: Path


def take_away(system: System, mount: MountInfo) -> Taken:
    """It is mounted at its place no more; nothing may be mounted on it. Raises DiskError or OSError."""
    point, device = Path(mount.mount_point), find_device(system, mount)
    aside = ASIDE / str(mount.mount_id)
    if device:
        kernel.unmount(point)
    else:
        make_mount_point(aside, like=point)
        kernel.move(point, aside)
    return Taken(mount=mount, device=device, aside=aside)


def find_device(system: System, mount: MountInfo) -> str:
    """The block device of the mount's file system; "" if it has none.

    The kernel's number says it, since the source may be a name that is only the kernel's (/dev/root); btrfs gives its
    file systems numbers of their own.
    """
    if mount.device.startswith("0:"):
        return mount.source if mount.source.startswith("/dev/") else ""
    name = find_kernel_name(system, mount.device)
    path = f"/dev/{name.replace('!', '/')}"  # as in cciss!c0d0
    return path if name and system.exists(path) else mount.source


def make_mount_point(path: Path, *, like: Path) -> None:
    """There is a folder or file at the path, whatever `like` is: mount(2) takes only one for the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if like.is_dir():
        path.mkdir(exist_ok=True)
    else:
        path.touch()


def put_back(system: System, taken: Taken) -> None:
    """It is mounted at its place again, with the same content, flags and options. Raises DiskError or FileError."""
    mount, point = taken.mount, Path(taken.mount.mount_point)
    if not taken.device:
        kernel.move(taken.aside, point)
        return
    if mount.root == whole(mount):
        mount_device(taken, point)
    else:
        bind_part(taken, point)
    if current(system, point).root != mount.root:
        kernel.unmount(point)
        raise DiskError(f"{taken.device} does not show {mount.root} at {point} again")
    kernel.set_mount_flags(point, mount_flags(mount))


def whole(mount: MountInfo) -> str:
    """What of its file system is mounted where nothing is bound: all of it, or the subvolume of btrfs(5)."""
    return next((option[7:] for option in mount.super_options if option.startswith("subvol=")), "/")


def mount_device(taken: Taken, point: Path) -> None:
    """The device is mounted with the file system's own flags and options, and those flags of the mount that old
    kernels take only here (before 3.17, a later change of flags was for read-only alone)."""
    mount = taken.mount
    flags = super_flags(mount) | (mount_flags(mount) & ~kernel.MS_RDONLY)
    options = ",".join(o for o in mount.super_options if o not in ("rw", *SUPER_FLAGS))
    kernel.mount(taken.device, point, mount.fstype, flags=flags, options=options)


def bind_part(taken: Taken, point: Path) -> None:
    """The folder or file of the file system is mounted, which itself is mounted nowhere for that."""
    part = taken.mount.root.removeprefix(whole(taken.mount)).lstrip("/")
    with _mounted_aside(taken) as aside:
        kernel.bind(aside / part, point)


@contextlib.contextmanager
def _mounted_aside(taken: Taken) -> Iterator[Path]:
    taken.aside.mkdir(parents=True, exist_ok=True)
    mount_device(taken, taken.aside)
    try:
        yield taken.aside
    finally:
        kernel.unmount(taken.aside)


def current(system: System, point: Path) -> MountInfo:
    """What is mounted at the place, on top of all else there. Raises DiskError if nothing is."""
    found = [m for m in mounts_below(read_mountinfo(system), point) if Path(m.mount_point) == point]
    if not found:
        raise DiskError(f"nothing is mounted at {point}")
    return found[-1]


def super_flags(mount: MountInfo) -> int:
    """mount(2)'s flags of the file system."""
    return sum(flag for option, flag in SUPER_FLAGS.items() if option in mount.super_options)


def mount_flags(mount: MountInfo) -> int:
    """mount(2)'s flags of the mount; every access is noted (strictatime) where the kernel names no other way."""
    flags = sum(flag for option, flag in MOUNT_FLAGS.items() if option in mount.options)
    return flags if flags & (kernel.MS_NOATIME | kernel.MS_RELATIME) else flags | kernel.MS_STRICTATIME
