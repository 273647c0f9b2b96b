# SPDX-License-Identifier: Apache-2.0
"""What a device asked of its boot disk in one rehearsal, and the moments that matter in it."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.journal import Event
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.cuts.nvram import StoreHistory, read_store_history
from balena_migrate.workstation.lab.cuts.plan import Cut, Phase
from balena_migrate.workstation.lab.disks import copy_disk
from balena_migrate.workstation.lab.lookalike.layout import plan_layout
from balena_migrate.workstation.lab.machines.raspberrypi.machine import PiMachine
from balena_migrate.workstation.lab.recording import Request, joined, logs_in, read_recording
from balena_migrate.workstation.lab.run import Record
from balena_migrate.workstation.lab.variables import copy_store, store_of

BEFORE_THE_LINE, IN_THE_WINDOW, AFTER_THE_COMMIT = "before the line", "in the window", "after the commit"

SUPERBLOCK_BYTES = 1024
"""An ext4 file system's superblock begins there, and is as long."""
FOLDER = "recording"
BEFORE, RECORD = "disk.img", "record.pickle"
_BEGINS = json.dumps({"event": Event.BEGIN})[:-1].encode()
"""How the journal's first line begins, which stage 1 writes before its first change."""


def begin_recording(folder: Path, drives: Sequence[Path]) -> Path:
    """The folder of the recording, with the drives, and the firmware's variables, as they are before."""
    recording = folder / FOLDER
    recording.mkdir()
    for drive in drives:
        copy_disk(drive, recording / drive.name)
    copy_store(drives[0], recording / BEFORE)
    return recording


def end_recording(recording: Path, record: Record, window_s: float | None) -> None:
    """What is known about the device is kept beside the logs."""
    (recording / RECORD).write_bytes(pickle.dumps((record, window_s)))


def is_recorded(folder: Path) -> bool:
    """Whether the folder of a rehearsal holds a recording that came to its end."""
    return (folder / FOLDER / RECORD).exists()


@dataclass(frozen=True, kw_only=True)
class History:
    """All requests of all boots. The other fields count requests: what each names begins, or is over, there."""

    folder: Path
    record: Record = field(repr=False)
    window_s: float | None
    """How long the device was between the line and its reboot."""
    requests: tuple[Request, ...] = field(repr=False)
    boots: tuple[int, ...]
    """The first request of each boot."""
    first: int
    """The first request of stage 1's first change."""
    line: int
    """The first request of the flash; `end` where there was none."""
    commit: int
    """Behind the request with which the flash is done."""
    end: int
    """Of the boot of stage 2, or of the last one before it."""
    store: StoreHistory | None
    """That of the variables, if the firmware has some."""

    @property
    def before(self) -> Path:
        """The disk before the first boot."""
        return self.folder / BEFORE

    @property
    def in_order(self) -> bool:
        """Whether the disk is a card, which stores in order."""
        return isinstance(self.record.prepared.machine, PiMachine)

    @property
    def whole(self) -> frozenset[int]:
        """The places at which no write is torn, in bytes: the middles of ext4's superblocks, old and new."""
        prepared = self.record.prepared
        starts = {system.span.start_bytes for system in prepared.file_systems if not system.fat}
        starts |= {part.start_bytes for part in plan_layout(prepared.device.image).partitions}
        return frozenset(start + SUPERBLOCK_BYTES + SECTOR_BYTES for start in starts)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """From stage 1's first change to the flash, from there to the commit, and from there to the end of stage 2."""
        moments = (self.first, self.line, self.commit, self.end)
        names = (BEFORE_THE_LINE, IN_THE_WINDOW, AFTER_THE_COMMIT)
        spans = zip(names, moments, moments[1:], strict=False)
        return tuple(Phase(name=name, first=first, last=last) for name, first, last in spans if first < last)


def read_history(folder: Path) -> History:
    """The history in a folder of a recording. Raises LabError if there is none, or stage 1 changed nothing in it."""
    if not (folder / RECORD).exists():
        raise LabError(f"{folder} holds no recording", hint="record one with `./rehearse --record NAME`")
    record, window_s = pickle.loads((folder / RECORD).read_bytes())  # our own
    boots: list[int] = []
    requests: list[Request] = []
    logs = [(log, read_recording(log)) for log in logs_in(folder)]
    for _, found in logs:
        boots.append(len(requests))
        requests += joined(found) if isinstance(record.prepared.machine, PiMachine) else found
    store = store_of(folder / BEFORE)
    first = next((index for index, request in enumerate(requests) if _BEGINS in bytes(request.content[:4096])), None)
    if first is None:
        raise LabError(f"stage 1 changed nothing in {folder}")
    history = History(
        folder=folder,
        record=record,
        window_s=window_s,
        requests=tuple(requests),
        boots=tuple(boots),
        first=first,
        line=len(requests),
        commit=len(requests),
        end=len(requests),
        store=read_store_history(store.read_bytes(), logs) if store.exists() else None,
    )
    return _with_flash(history)


def _with_flash(history: History) -> History:
    """Nothing but the flash writes the disk's first sector."""
    zeroth = [
        index
        for index, request in enumerate(history.requests)
        if index > history.first and request.start_bytes == 0 and not request.is_flush
    ]
    if not zeroth:
        return history
    ends = [start for start in (*history.boots, history.end) if start > zeroth[0]]
    return replace(history, line=zeroth[0], end=ends[0], commit=1 + max(index for index in zeroth if index < ends[0]))


def put_variables(history: History, cut: Cut, disk: Path) -> None:
    """The disk's firmware has the variables that it had at the cut, if it has any; of several moments one is drawn."""
    if history.store:
        fewest, most = history.store.bounds[cut.after]
        count = random.Random(f"{cut.seed} {cut.after}").randint(fewest, most)
        store_of(disk).write_bytes(history.store.content(count))
