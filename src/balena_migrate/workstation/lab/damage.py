# SPDX-License-Identifier: Apache-2.0
"""What can happen to the files of stage 2's start, its initramfs above all, between stage 1 and the next start."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from balena_migrate.core.handover import dump_handover, parse_handover
from balena_migrate.core.paths import STAGE2_CONFIG, STAGE2_MODULES
from balena_migrate.core.units import KIB
from balena_migrate.initramfs._cpio import Archive
from balena_migrate.initramfs.composed import BASE

LAST_LINE = "lab: stage 2 is killed"
OTHER_UUID = "0c8f6e52-4b1d-4e7a-9f3c-5d2a71b60e94"
"""No file system of a virtual device has it."""
_KILLED = f"""\
#!/balena-migrate/base/busybox sh
echo "{LAST_LINE}"
kill -9 $$
"""
STAGE2 = f"{BASE}/stage2"
"""What init starts."""


class Damage(StrEnum):
    """The kinds of damage. The first three can happen to any file, the others to an initramfs."""

    REMOVED = "removed"
    TORN = "torn"
    """Its second half is zeros, as after a power cut that lost writes."""
    EMPTIED = "emptied"
    """All but its first KiB is zeros."""
    KILLED = "killed"
    """Stage 2's process is killed as it starts."""
    NO_PYTHON = "Python's modules are empty"
    NO_LIBRARY = "the C library is missing"
    NO_DRIVERS = "no kernel module is loaded"
    NO_ROOT = "the old root is unknown"
    """The hand-over names another file system than the old root, as if that had been made anew."""


def damaged_file(content: bytes, how: Damage) -> bytes | None:
    """Any file with one of the first three kinds of damage; None if there is none any more."""
    if how is Damage.REMOVED:
        return None
    left = KIB if how is Damage.EMPTIED else len(content) // 2
    return content[:left] + bytes(len(content) - left)


def damaged(initramfs: bytes, how: Damage, handover: str) -> bytes | None:
    """The initramfs, which has this hand-over, with this damage; None if there is none any more."""
    if how in (Damage.REMOVED, Damage.TORN, Damage.EMPTIED):
        return damaged_file(initramfs, how)
    return with_more(initramfs, lambda archive: _write(archive, how, handover))


def with_more(initramfs: bytes, write: Callable[[Archive], object]) -> bytes:
    """The initramfs with an archive behind it: the kernel unpacks it, too, and its files replace those before it."""
    file = io.BytesIO()
    archive = Archive(file)
    write(archive)
    archive.end()
    return initramfs + bytes(-len(initramfs) % 4) + file.getvalue()


def _write(archive: Archive, how: Damage, handover: str) -> None:
    """What takes the place of files in the initramfs."""
    if how is Damage.NO_PYTHON:
        archive.file(f"{BASE}/lib/python311.zip", b"")
    elif how is Damage.NO_LIBRARY:
        archive.link(f"{BASE}/lib/libc.so.6", "missing")
    elif how is Damage.NO_DRIVERS:
        archive.file(STAGE2_MODULES.lstrip("/"), b"")
    elif how is Damage.NO_ROOT:
        archive.file(STAGE2_CONFIG.lstrip("/"), _without_root(handover))
    else:
        archive.file(STAGE2, _KILLED.encode(), mode=0o755)


def _without_root(text: str) -> bytes:
    """The hand-over, with a root file system that is nowhere."""
    handover = parse_handover(text)
    root, *others = handover.file_systems
    return dump_handover(replace(handover, file_systems=(replace(root, uuid=OTHER_UUID), *others)))
