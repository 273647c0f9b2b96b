# SPDX-License-Identifier: Apache-2.0
"""The part of test_fat_writes that runs in the virtual machine, in the kit's Python and as its only program.

On each disk it makes stage 1's boot change, stage 2's restore and `undo`, with the code that does it on a device, and
writes to the disk, outside of the file system, how many of these steps it has completed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from balena_migrate.core import journal
from balena_migrate.core.changes import ActionName, CapturedOnce, WriteFile
from balena_migrate.core.handover import FileSystem, describe_content, parse_handover
from balena_migrate.core.system import System, sync_folder, temporary_beside
from balena_migrate.stage2 import kernel
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.oldsystem import restore_boot

MARK_BYTES = 64 << 10
"""Where on the disk the number of completed steps is: before the first partition."""
BOOT = "/boot"
DONE = "all steps were completed"


class PlainOrder(System):
    """Replaces files as one would anywhere but on FAT: written, flushed, renamed, and then the folder is flushed."""

    @contextlib.contextmanager
    def replacing(self, path: Any, *, mode: int = 0o600, uid: int = -1, gid: int = -1) -> Iterator[BinaryIO]:
        real = self.real(path)
        with temporary_beside(real).open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary_beside(real).rename(real)
        sync_folder(real.parent)


def main() -> None:
    """Takes all steps on each disk that the test names, by its slot on the PCI bus."""
    for slot, plain in json.loads(Path("/guest/disks.json").read_text()):
        (device,) = Path(f"/sys/devices/pci0000:00/0000:00:{slot}.0").glob("**/block/*")
        (partition,) = device.glob(f"{device.name}*1")
        root = Path("/old", slot)
        root.mkdir(parents=True)
        kernel.mount("none", root, "tmpfs")
        for folder in ("var/lib", BOOT.strip("/")):
            (root / folder).mkdir(parents=True)
        with kernel.mounted(f"/dev/{partition.name}", root / BOOT.strip("/"), "vfat"):
            take_steps(PlainOrder(root) if plain else System(root), Path("/dev", device.name))
    print(DONE, flush=True)


def take_steps(old: System, device: Path) -> None:
    """The test's STEPS."""
    actions = read_actions()
    mark(device, 0)
    handover = arm(old, actions)
    mark(device, 1)
    restore_boot(System("/"), old, handover, Console(sys.stdout))
    mark(device, 2)
    journal.undo(old, print)
    mark(device, 3)
    arm(old, actions)
    mark(device, 4)
    journal.undo(old, print)
    mark(device, 5)


def read_actions() -> tuple[WriteFile, ...]:
    return tuple(
        WriteFile(
            name=ActionName(item["name"]),
            title="",
            path=item["path"],
            content=base64.b64decode(item["content"]),
        )
        for item in json.loads(Path("/guest/actions.json").read_text())
    )


def arm(old: System, actions: tuple[WriteFile, ...]) -> Any:
    """Stage 1's changes are made, the initramfs first; returns the hand-over for those that change what boots."""
    captured = [CapturedOnce(action) for action in actions]
    boot = list(zip(actions, captured, strict=True))[1:]
    handover = replace(
        parse_handover(Path("/guest/handover.json").read_text()),
        file_systems=(
            FileSystem(uuid="root", fstype="tmpfs", mount_point="/"),
            FileSystem(uuid="boot", fstype="vfat", mount_point=BOOT),
        ),
        boot_undo=tuple(once.capture(old) for _, once in reversed(boot)),
        boot_written=tuple(describe_content(action.path, action.content) for action, _ in boot),
    )
    journal.apply(old, captured, print, arm=True)
    return handover


def mark(device: Path, number: int) -> None:
    """The number of completed steps is on the disk."""
    with device.open("r+b", buffering=0) as file:
        file.seek(MARK_BYTES)
        file.write(number.to_bytes(512, "little"))
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
