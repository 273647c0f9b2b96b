# SPDX-License-Identifier: Apache-2.0
"""The start of a composed initramfs: load the kernel modules, find and mount the old root; and the way on into it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from balena_migrate.core.blockdev import device_node, whole_disks
from balena_migrate.core.errors import DiskError, FileError
from balena_migrate.core.handover import FileSystem, Handover
from balena_migrate.core.paths import STAGE2_MODULES
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images.partitions.known_disk import find_file_system
from balena_migrate.stage2 import kernel, oldsystem
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.disks import partitions
from balena_migrate.stage2.target import reread_partitions

GO_ON, FAILED = 10, 1
"""The exit status with which init starts the old system, and one of those with which it reboots."""
ROOT = Path("/root")
ROOT_LIMIT_S = 180.0
"""How long the root's disk may take to appear: Debian's initramfs-tools waits as long on some machines."""
MODULE_LIMIT_BYTES = 128 * MIB

MOUNT_WORDS = frozenset(
    {
        *("defaults", "ro", "rw", "sync", "async", "atime", "noatime", "relatime", "norelatime", "nodiratime"),
        *("strictatime", "lazytime", "dev", "nodev", "exec", "noexec", "suid", "nosuid", "auto", "noauto"),
    }
)
"""Options of mount(8) that are no options of a file system; the old system sets them again by its fstab."""


def mount_root(machine: System, handover: Handover, console: Console, point: Path) -> None:
    """The old root is mounted, read-only, at the folder. Raises DiskError, FileError or CommandError."""
    with console.step(Step.MODULES):
        load_modules(machine, console)
    with console.step(Step.ROOT):
        root = handover.file_systems[0]
        device = find_file_system(machine, root, limit_s=ROOT_LIMIT_S, failed=look_again(machine, console))
        options = root_options(machine.read_text("/proc/cmdline"))
        kernel.mount(device, point, root.fstype, flags=kernel.MS_RDONLY, options=options)


def look_again(machine: System, console: Console) -> Callable[[Exception], None]:
    """What is done each time that the root is not there yet.

    The console has the reason, once; and the kernel reads the table of each disk without partitions again, which it
    does not by itself where the disk failed as it looked.
    """
    said = False

    def look(error: Exception) -> None:
        nonlocal said
        if not said:
            console.say(f"waiting up to {ROOT_LIMIT_S:.0f} s for the old root: {error}")
            said = True
        for name in whole_disks(machine):
            if not partitions(machine, name):
                with contextlib.suppress(DiskError):
                    reread_partitions(Path(device_node(name)))

    return look


def restore_without_root(machine: System, handover: Handover, console: Console, root: Path) -> None:
    """The boot configuration is restored as far as it is not on the root file system, which did not appear.

    A firmware that does not forget by itself what it is to start, as that of some Raspberry Pis, would start stage 2
    again and again. A failure is logged.
    """
    others = handover.file_systems[1:]
    undo = tuple(r for r in handover.boot_undo if r.is_variable or any(_is_on(r.path, fs) for fs in others))
    for file_system in others:
        (root / file_system.mount_point.lstrip("/")).mkdir(parents=True, exist_ok=True)
    rest = replace(handover, file_systems=others, boot_undo=undo)
    with oldsystem.mounted_beside(machine, System(root), rest, console):
        oldsystem.restore_boot(machine, System(root), rest, console)


def _is_on(path: str, file_system: FileSystem) -> bool:
    return PurePosixPath(path).is_relative_to(file_system.mount_point)


def load_modules(machine: System, console: Console) -> None:
    """Every module of the list is loaded; what fails is logged, and missed only where it is needed."""
    for line in machine.read_text(STAGE2_MODULES).splitlines():
        path, _, parameters = line.partition(" ")
        try:
            kernel.load_module(machine.read_bytes(path, limit_bytes=MODULE_LIMIT_BYTES), parameters)
        except (FileError, OSError) as error:
            console.say(f"{path} cannot be loaded: {error}")


def mount_for_init(machine: System, handover: Handover, root: Path) -> None:
    """The root, and /usr where it is apart, are mounted as the old system's own start has them.

    Raises DiskError, FileError or CommandError.
    """
    if is_writable(machine.read_text("/proc/cmdline")):
        kernel.remount(root, read_only=False)
    if handover.usr and not (root / "usr").is_mount():
        device = find_file_system(machine, handover.usr)
        kernel.mount(device, root / "usr", handover.usr.fstype, flags=kernel.MS_RDONLY)


def root_options(command_line: str) -> str:
    """The file system's own options among rootflags= (the kernel's Documentation/admin-guide/kernel-parameters.txt)."""
    flags = [word.partition("=")[2] for word in command_line.split() if word.startswith("rootflags=")]
    return ",".join(word for word in (flags[-1] if flags else "").split(",") if word not in MOUNT_WORDS)


def is_writable(command_line: str) -> bool:
    """Whether the old system wants its root mounted for writing from the start: the last of ro and rw counts."""
    words = [word for word in command_line.split() if word in ("ro", "rw")]
    return words[-1:] == ["rw"]
