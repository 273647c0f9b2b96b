# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in a stage, and an initramfs in which it does."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.errors import LabError
from balena_migrate.core.steps import Step
from balena_migrate.initramfs._cpio import Archive
from balena_migrate.workstation.lab.damage import STAGE2, with_more
from balena_migrate.workstation.lab.faulty_disk import DiskError

PYTHON = '"$base/bin/python3" -I -S -X utf8'
START = f"{PYTHON} -m balena_migrate.stage2.main"
DEVICE = "balena-migrate/device.py"


class Fault(StrEnum):
    """What goes wrong, once, as soon as a step has begun.

    Errors of the disk last for a while (lab.faults.play.FAILS_S), as those of a loose plug do; all else stays.
    """

    KILLED = "killed"
    """The stage's process is killed."""
    HANG = "hang"
    """The stage's process stops, and all of its threads."""
    PANIC = "panic"
    """The kernel panics."""
    MEMORY = "memory short"
    """Nearly all memory is taken, until the step ends or its process is killed."""
    READ_ERROR = "read error"
    WRITE_ERROR = "write error"
    FLUSH_ERROR = "flush error"
    FULL = "disk full"
    """The file systems to which the step writes are full."""
    MISSING = "file missing"
    """The file that the step works with is gone."""
    CHANGED = "file changed"
    """It has other content."""


DISK_ERRORS = {
    Fault.READ_ERROR: DiskError.READ,
    Fault.WRITE_ERROR: DiskError.WRITE,
    Fault.FLUSH_ERROR: DiskError.FLUSH,
}
SWAPPED = (Fault.MISSING, Fault.CHANGED)


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """One fault at one place: a change of stage 1 by its ActionName, or a Step of stage 2."""

    stage: int
    place: str
    fault: Fault

    def __str__(self) -> str:
        return f"stage {self.stage}, {self.place}, {self.fault}"

    @property
    def step(self) -> Step | None:
        """The step of stage 2; None in stage 1."""
        return Step(self.place) if self.stage == 2 else None


def device_script() -> str:
    """What lets it happen in the device."""
    return importlib.resources.files("balena_migrate.workstation.lab").joinpath("fault_device.py").read_text("utf-8")


def with_faults(initramfs: bytes, faults: str) -> bytes:
    """The initramfs whose stage 2 is started by the script that lets them happen: what goes wrong where, or a terminal
    that is asked, as in fault_device.py. Raises LabError."""
    kit = importlib.resources.files("balena_migrate.workstation.kit").joinpath("stage2.sh").read_text("utf-8")
    if START not in kit:
        raise LabError(f"the kit's stage2 has no {START!r}")
    start = f"{PYTHON} /{DEVICE} '{faults}' /run / balena_migrate.stage2.main"

    def write(archive: Archive) -> None:
        archive.file(STAGE2, kit.replace(START, start).encode(), mode=0o755)
        archive.file(DEVICE, device_script().encode())

    return with_more(initramfs, write)
