# SPDX-License-Identifier: Apache-2.0
"""A hand-over with a value in each field."""

from __future__ import annotations

from balena_migrate.core.block_map import BlockMap
from balena_migrate.core.changes import Undo, UndoRecord
from balena_migrate.core.handover import (
    DataFile,
    DataPartition,
    DiskIdentity,
    FileSystem,
    Handover,
    Place,
    StoredFile,
    TermExit,
)

HANDOVER = Handover(
    strategy="DEFAULT",
    target=DiskIdentity(name="sda", size_bytes=8 << 30, table_id="abc", serial=""),
    image=StoredFile(path="/root/image.gz", size_bytes=1, sha256="00"),
    image_format="gzip",
    image_size_bytes=2,
    patches=StoredFile(path="/var/lib/balena-migrate/run/p", size_bytes=3, sha256="01"),
    block_map=BlockMap(),
    data_partition=DataPartition(start_bytes=4, size_bytes=5),
    data_files=(DataFile(file=StoredFile(path="/b", size_bytes=6, sha256="02"), name="backup.tgz"),),
    file_systems=(
        FileSystem(
            uuid="u",
            fstype="ext4",
            mount_point="/",
            place=Place(disk=DiskIdentity(name="sdb", size_bytes=9, table_id="de", serial="S"), start_bytes=512),
        ),
    ),
    boot_undo=(UndoRecord(undo=Undo.REWRITE, path="/boot/grub/grubenv", content=b"\xff", mode=0o644, mtime_ns=7),),
    memory_reserve_bytes=8,
    no_flash=True,
    term_exit=TermExit.REBOOT,
    log_file_system=FileSystem(uuid="v", fstype="vfat", mount_point=""),
    version="1",
    kit="0123",
)
