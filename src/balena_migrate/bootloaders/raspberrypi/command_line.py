# SPDX-License-Identifier: Apache-2.0
"""The old system's kernel command line: from which file it comes, and whether its root is the one that is mounted."""

from __future__ import annotations

from collections.abc import Mapping

from balena_migrate.bootloaders.raspberrypi.boot_partition import path_on
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    Settings,
    UnclearError,
    command_line_file,
    command_line_names,
)
from balena_migrate.facts import Facts, Mount
from balena_migrate.facts.root_argument import find_root_argument, names_root


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
    name = find_root_argument(first_line(text))
    if not name:
        return ""
    found = names_root(facts.disks, name)
    if found is None:
        found = f"root={name}" in facts.boot.kernel_command_line.split()
    return "" if found else f"root={name}"
