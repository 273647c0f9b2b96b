# SPDX-License-Identifier: Apache-2.0
"""A UEFI firmware's variables, as the kernel's efivarfs has them: one file each, NAME-GUID, which begins with four
bytes of attributes.

Sources: the kernel's Documentation/filesystems/efivarfs.rst; the UEFI specification 2.10, 3.3 and 8.2.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import struct

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System, errors_at

EFIVARS = "/sys/firmware/efi/efivars"
EFIVARFS = "efivarfs"
"""The kernel's name of the file system."""
GLOBAL_GUID = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""Of the variables that the specification defines."""
_KEPT = 7
"""Kept without power, and there for boot loaders and for the running system."""
ATTRIBUTES_BYTES = 4
LIMIT_BYTES = 64 * 1024

FULL_HINT = (
    "the firmware's store of variables is full: remove what nobody reads any more (rm /sys/fs/pstore/*), restart the"
    " device once, since some firmware frees the room only then, and try again"
)

_BOOT_OPTION = re.compile(rf"Boot([0-9A-F]{{4}})-{GLOBAL_GUID}")


def variable_path(name: str) -> str:
    """The file of one of the specification's own variables."""
    return f"{EFIVARS}/{name}-{GLOBAL_GUID}"


def option_path(number: int) -> str:
    """The file of the boot option with this number."""
    return variable_path(f"Boot{number:04X}")


def is_variable(path: str) -> bool:
    return path.startswith(f"{EFIVARS}/")


def variable_name(path: str) -> str:
    """What the firmware calls it: Boot0001."""
    return path.removeprefix(f"{EFIVARS}/")[: -len(GLOBAL_GUID) - 1]


def find_variable(system: System, path: str) -> bytes | None:
    """Its attributes and its value; None if there is none. Raises FileError, also where it is cut short."""
    if not system.exists(path):
        return None
    content = system.read_bytes(path, limit_bytes=LIMIT_BYTES)
    if len(content) < ATTRIBUTES_BYTES:
        raise FileError(path, "is cut short: it has not even its attributes")
    return content


def find_value(system: System, name: str) -> bytes | None:
    """The value of one of the specification's own variables; None if there is none. Raises FileError."""
    content = find_variable(system, variable_path(name))
    return None if content is None else content[ATTRIBUTES_BYTES:]


def write_value(system: System, path: str, value: bytes) -> None:
    """The variable has this value, and the attributes that all of those have which we make. Raises FileError."""
    write_variable(system, path, _KEPT.to_bytes(ATTRIBUTES_BYTES, "little") + value)


def write_variable(system: System, path: str, content: bytes) -> None:
    """The variable has these attributes and this value, and keeps them without power. Raises FileError.

    The kernel takes them in one write, straight to the firmware; there is nothing to flush and nothing to rename. What
    the firmware does not take leaves an empty file, until that is removed.
    """
    is_new = not system.exists(path)
    try:
        with errors_at(path):
            fd = os.open(system.real(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
    except FileError as error:
        if is_new:
            with contextlib.suppress(FileError):
                remove_variable(system, path)
        full = error.reason == os.strerror(errno.ENOSPC)
        raise FileError(path, error.reason, hint=FULL_HINT if full else error.hint) from None


def remove_variable(system: System, path: str) -> None:
    """There is no such variable. Raises FileError."""
    with errors_at(path):
        system.real(path).unlink(missing_ok=True)


def find_options(system: System) -> dict[int, bytes]:
    """Number -> value of every boot option; of one that is cut short or unreadable no value."""
    found = {}
    for path in system.glob(f"{EFIVARS}/Boot*-{GLOBAL_GUID}"):
        if match := _BOOT_OPTION.fullmatch(path.name):
            found[int(match[1], 16)] = _value_or_nothing(system, str(path))
    return found


def find_order(system: System) -> tuple[int, ...]:
    """The numbers in BootOrder; none where it is missing or unreadable."""
    return parse_numbers(_value_or_nothing(system, variable_path("BootOrder")))


def _value_or_nothing(system: System, path: str) -> bytes:
    try:
        return (find_variable(system, path) or b"")[ATTRIBUTES_BYTES:]
    except FileError:
        return b""


def parse_numbers(value: bytes) -> tuple[int, ...]:
    """The numbers of boot options in BootOrder, BootNext or BootCurrent; a byte too many is left out."""
    count = len(value) // 2
    return struct.unpack(f"<{count}H", value[: 2 * count])


def dump_numbers(numbers: tuple[int, ...]) -> bytes:
    """The value of BootOrder or BootNext."""
    return struct.pack(f"<{len(numbers)}H", *numbers)
