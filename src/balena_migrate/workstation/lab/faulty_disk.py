# SPDX-License-Identifier: Apache-2.0
"""A disk that fails while a device runs: QEMU's blkdebug is put between the device and the disk's file, and taken away.

QEMU names its block nodes; the node of a disk's file can be exchanged in a running device (QMP reference:
blockdev-reopen, since 6.1), and blkdebug answers each request of a kind with an error (docs/devel/blkdebug.rst).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from qemu.qmp.error import QMPError

from balena_migrate.core.retry import retry

Command = Callable[..., object]
"""A command of QEMU's monitor, by its name and arguments."""
BOOT_DISK = "disk0"
FLUSHES = 30
"""More than a kernel asks for by itself in a step, with all its tries."""
_FAILING = "failing"
_OPTIONS = {"driver": "raw", "discard": "unmap", "cache": {"no-flush": False}}


class DiskError(StrEnum):
    """Which of a disk's requests fail."""

    READ = "read"
    WRITE = "write"
    FLUSH = "flush"


def plain_nodes(drive: Path, name: str) -> str:
    """A part of what follows `-drive`: the disk's file. What a device flushes is not flushed to the host's disk."""
    return (
        f"driver=raw,node-name={name}-raw,discard=unmap,cache.no-flush=off,"
        f"file.driver=file,file.node-name={name}-file,file.filename={drive},file.cache.no-flush=on"
    )


def fail(command: Command, what: DiskError) -> None:
    """From now on such requests of the boot disk fail with EIO: each of them, or the next FLUSHES flushes."""
    rule = {"event": "none", "iotype": what, "errno": errno.EIO}
    rules = [rule | {"once": True}] * FLUSHES if what is DiskError.FLUSH else [rule]
    command("blockdev-add", **{"driver": "blkdebug", "node-name": _FAILING, "image": _file(), "inject-error": rules})
    _exchange(command, _FAILING)


def heal(command: Command) -> None:
    """The boot disk works again. QEMU flushes it before the exchange, and refuses that where the flush fails."""
    retry(lambda: _exchange(command, _file()), on=QMPError, tries=FLUSHES + 1, pause_s=0)
    command("blockdev-del", **{"node-name": _FAILING})


def _file() -> str:
    return f"{BOOT_DISK}-file"


def _exchange(command: Command, node: str) -> None:
    command("blockdev-reopen", options=[_OPTIONS | {"node-name": f"{BOOT_DISK}-raw", "file": node}])
