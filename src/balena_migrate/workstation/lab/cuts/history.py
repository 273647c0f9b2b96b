# SPDX-License-Identifier: Apache-2.0
"""What a device asked of its boot disk in one rehearsal, and the moments that matter in it."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.journal import Event
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.images.filesystems.ext import SUPERBLOCK_OFFSET
from balena_migrate.workstation.lab.cuts.nvram import StoreHistory, read_store_history
from balena_migrate.workstation.lab.cuts.plan import Cut, Phase
from balena_migrate.workstation.lab.disks import copy_disk
from balena_migrate.workstation.lab.lookalike.layout import plan_layout
from balena_migrate.workstation.lab.machines.raspberrypi.machine import PiMachine
from balena_migrate.workstation.lab.recording import Request, joined, logs_in, read_recording
from balena_migrate.workstation.lab.run import Record
from balena_migrate.workstation.lab.variables import copy_store, store_of

BEFORE_THE_LINE, IN_THE_WINDOW, AFTER_THE_COMMIT = "before the line", "in the window", "after the commit"

FOLDER = "recording"
BEFORE, RECORD = "disk.img", "record.pickle"
_BLOCK_BYTES = 4096
_BEGINS = json.dumps({"event": Event.BEGIN})[:-1].encode()
"""How the journal's first line begins, which stage 1 writes before its first change."""


def begin_recording(folder: Path, drives: Sequence[Path]) -> Path:
    """The folder of the recording, with the drives, and the firmware's variables, as they are before."""
    recording = folder / FOLDER
    recording.mkdir(mode=0o700)  # it may hold a config.json of the user's
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
class Moments:
    """Moments of a history, as numbers of requests."""

    first: int
    """Before stage 1's first change."""
    line: int
    """Before the flash's first write; `end` where there was none."""
    commit: int
    """Behind the write with which the flash is done."""
    end: int
    """The end of the boot with the flash, or of all."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """From stage 1's first change to the flash, from there to the commit, and from there to the end of stage 2."""
        moments = (self.first, self.line, self.commit, self.end)
        names = (BEFORE_THE_LINE, IN_THE_WINDOW, AFTER_THE_COMMIT)
        spans = zip(names, moments, moments[1:], strict=False)
        return tuple(Phase(name=name, first=first, last=last) for name, first, last in spans if first < last)


def find_moments(requests: Sequence[Request], boots: Sequence[int]) -> Moments:
    """The moments of these requests, of which each boot has the first one in `boots`.

    Nothing but the flash writes a disk's first sector. Raises LabError if stage 1 changed nothing.
    """
    first = next((n for n, request in enumerate(requests) if _BEGINS in bytes(request.content[:_BLOCK_BYTES])), None)
    if first is None:
        raise LabError("stage 1 changed nothing in this recording")
    zeroth = [n for n, r in enumerate(requests) if n > first and r.start_bytes == 0 and not r.is_flush]
    if not zeroth:
        return Moments(first=first, line=len(requests), commit=len(requests), end=len(requests))
    end = min(start for start in (*boots, len(requests)) if start > zeroth[0])
    return Moments(first=first, line=zeroth[0], commit=1 + max(n for n in zeroth if n < end), end=end)


@dataclass(frozen=True, kw_only=True)
class History:
    """All requests of all boots."""

    folder: Path
    record: Record = field(repr=False)
    window_s: float | None
    """How long the device was between the line and its reboot."""
    requests: tuple[Request, ...] = field(repr=False)
    boots: tuple[int, ...]
    """The first request of each boot."""
    moments: Moments
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
        return frozenset(start + SUPERBLOCK_OFFSET + SECTOR_BYTES for start in starts)


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
    return History(
        folder=folder,
        record=record,
        window_s=window_s,
        requests=tuple(requests),
        boots=tuple(boots),
        moments=find_moments(requests, boots),
        store=read_store_history(store.read_bytes(), logs) if store.exists() else None,
    )


def put_variables(history: History, cut: Cut, disk: Path) -> None:
    """The disk's firmware has the variables that it had at the cut, if it has any; of several moments one is drawn."""
    if history.store:
        fewest, most = history.store.bounds[cut.after]
        count = random.Random(f"{cut.seed} {cut.after}").randint(fewest, most)
        store_of(disk).write_bytes(history.store.content(count))
