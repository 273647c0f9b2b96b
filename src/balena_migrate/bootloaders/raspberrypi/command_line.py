# SPDX-License-Identifier: Apache-2.0
"""The old system's kernel command line: from which file it comes, and whether its root is the one that is mounted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from balena_migrate.bootloaders.raspberrypi.boot_partition import path_on
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    Settings,
    UnclearError,
    command_line_file,
    command_line_names,
)
from balena_migrate.facts import BlockDevice, DiskFacts, Facts, Mount

ROOT = "root="


def first_line(text: str) -> str:
    """The command line in a file's text: of several lines, the others have no effect."""
    return text.partition("\n")[0]


def find_command_line(facts: Facts, mount: Mount, files: Mapping[str, str], settings: Settings) -> str:
    """The name of the file with the command line of the next start. Raises UnclearError if that is not certain.

    Where config.txt leaves it open, the running kernel knows: it was started with one of them, and as long as nothing
    has changed since, the next one will be.
    """
    try:
        name = command_line_file(files, settings)
    except UnclearError:
        name = _running_file(facts, mount, files)
        if not name:
            raise
    if not name:
        raise UnclearError("there is no file with it")
    if "\0" in first_line(files[name]):
        raise UnclearError(f"{name} holds a NUL")
    return name


def _running_file(facts: Facts, mount: Mount, files: Mapping[str, str]) -> str:
    """Of the files that may be the command line the one whose arguments the running kernel has; "" if not certain."""
    if any(path_on(mount, name).lower() == path.lower() for path in facts.boot.changed for name in files):
        return ""
    running = set(facts.boot.kernel_command_line.split())
    names = sorted(command_line_names(files) & set(files))
    fitting = [name for name in names if files[name].strip() and set(first_line(files[name]).split()) <= running]
    return fitting[0] if len({first_line(files[name]) for name in fitting}) == 1 else ""


def other_root(facts: Facts, text: str) -> str:
    """The `root=` of a command line where it is not the root file system that is mounted now; "" where it is.

    An argument that cannot be looked up here is taken for right where the running kernel was started with it.
    """
    arguments = [word for word in first_line(text).split() if word.startswith(ROOT)]
    if not arguments:
        return ""
    argument = arguments[-1]
    found = names_root(facts.disks, argument.removeprefix(ROOT))
    if found is None:
        found = argument in facts.boot.kernel_command_line.split()
    return "" if found else argument


def names_root(disks: DiskFacts, name: str) -> bool | None:
    """Whether what `root=` names is the device of the mounted root; None where the facts do not tell.

    The forms are those of Linux (admin-guide/kernel-parameters: root=) and of initramfs-tools(7).
    """
    mount = disks.find_mount("/")
    root = disks.find_device(mount.source) if mount else None
    kind, equals, value = name.partition("=")
    if root is None:
        return None
    if equals and kind in ("PARTUUID", "UUID", "LABEL"):
        known = {"PARTUUID": _partuuid(disks, root), "UUID": root.uuid, "LABEL": root.label}[kind]
        same = known.lower() == value.lower() if kind != "LABEL" else known == value
        return same if known else None
    if not equals and PurePosixPath(name).parent == PurePosixPath("/dev") and disks.find_device(name):
        return root.path == name
    return None


def _partuuid(disks: DiskFacts, root: BlockDevice) -> str:
    """The partition's id, on an MBR the disk's with the partition's number (Linux, block/partitions/msdos.c)."""
    table = next((disk for disk in disks.chain(root) if disk.kind == "disk"), None)
    number = re.search(r"[0-9]+$", root.name)
    if root.partuuid or table is None or table.table_type != "dos" or not table.table_id or number is None:
        return root.partuuid
    return f"{table.table_id}-{int(number[0]):02x}"
