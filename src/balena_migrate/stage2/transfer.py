# SPDX-License-Identifier: Apache-2.0
"""Puts the backup and the log on resin-data once the new system is on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from balena_migrate.core.errors import FileError
from balena_migrate.core.handover import DataFile
from balena_migrate.core.paths import MIGRATE_LOG, STAGE2_DATA, STAGE2_STATE
from balena_migrate.core.system import BLOCK_BYTES, System
from balena_migrate.stage2 import kernel
from balena_migrate.stage2.stash import Stash

DATA = Path(STAGE2_DATA)
STATE = Path(STAGE2_STATE)


def transfer(device: str, files: Sequence[DataFile], stash: Stash, log: str) -> None:
    """The files are on the data partition under their names, and so is the log; everything is on the disk.

    Raises DiskError, FileError or OSError where that fails; then each file is there as a whole or not at all, and one
    that fails keeps none of the others away.
    """
    with kernel.mounted(device, DATA, "ext4"):
        System("/").write_file(DATA / MIGRATE_LOG, log.encode("utf-8", "surrogateescape"), mode=0o600)
        failed: OSError | FileError | None = None
        for item in files:
            try:
                with stash.open(item.file) as source:
                    copy(source, DATA / item.name)
            except (OSError, FileError) as error:
                failed = error
        if failed:
            raise failed


def keep_machine_id(device: str, machine_id: str) -> None:
    """The new system has this machine-id(5): its initramfs takes it from resin-state, where no reset removes it
    (meta-balena, initrdscripts/files/machineid)."""
    with kernel.mounted(device, STATE, "ext4"):
        System("/").write_file(STATE / "machine-id", f"{machine_id}\n".encode())


def copy(source: BinaryIO, target: Path) -> None:
    """The copy is whole and on the disk, or is not there: the supervisor must never see half a backup, and half a
    backup would leave the new system no room to unpack its own things. Raises FileError."""
    with System("/").replacing(target) as file:
        shutil.copyfileobj(source, file, BLOCK_BYTES)
