# SPDX-License-Identifier: Apache-2.0
"""What a device does with a disk that a power cut left: it starts the old system, stage 2, the new system, or nothing.

Nothing here knows how a migration works. The disk is read as the firmware and the boot loader read it, and what they
would start is compared with what they start from the disk before stage 1, after it, and at the end of stage 2.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from balena_migrate.core.errors import LabError, MigrateError
from balena_migrate.core.paths import JOURNAL, STAGE2_RESULT
from balena_migrate.core.system import System, last_lines
from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab.cuts.chains import Chain
from balena_migrate.workstation.lab.cuts.fat import broken_folders, fat_changes
from balena_migrate.workstation.lab.cuts.oldfiles import OldFiles
from balena_migrate.workstation.lab.cuts.starts import Starts
from balena_migrate.workstation.lab.disks import FileSystem, Span, mounted_system, read_partitions, require_file
from balena_migrate.workstation.lab.leftdisk import ANY_STATUS


class Boots(StrEnum):
    """What comes up."""

    OLD = "old system"
    STAGE2 = "stage 2"
    NEW = "new system"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What comes up, and what is wrong with it."""

    boots: Boots
    reason: str = ""
    """Why nothing comes up."""
    changed: tuple[str, ...] = ()
    """Of the old system: files that are not as they were, apart from those that may differ."""
    repaired: bool = False
    """Whether e2fsck had more to do than to replay a journal (see _TORN_COMMIT): stage 2's kernel mounts such a file
    system, or stage 2 comes back."""
    stuck: tuple[str, ...] = ()
    """Folders on a FAT that cannot be read, so that Linux does not remove them: `undo` fails."""
    status: DeviceState | None = None
    """What the old system's `status` has to say."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """`before` and `armed` are what the chain starts from the old system's disk, and after stage 1."""

    chain: Chain
    before: Starts
    armed: Starts
    final: Path | None
    """The disk at the end of stage 2, if it was flashed."""
    systems: tuple[FileSystem, ...]
    files: OldFiles
    described: Mapping[str, str] = field(repr=False)
    """All of the old system's files, as `snapshot` describes them."""
    may: tuple[str, ...]
    """Patterns of files that may differ in the old system until `undo`."""

    def judge(self, disk: Path, touched: set[str]) -> Verdict:
        """What comes up from the disk, which boots in the process as far as its boot loader writes to it.

        On it, no places of the old system's files but the `touched` ones were overwritten.
        """
        try:
            if self.final and _decides(disk) == _decides(self.final):
                return self._new_system(disk, self.final)
            return self._old_loader(disk, touched)
        except MigrateError as error:
            return Verdict(boots=Boots.DEAD, reason=str(error))

    def _new_system(self, disk: Path, final: Path) -> Verdict:
        """The new system comes up where its table, its boot partition and its root are whole, and its others clean."""
        table, (boot, root, *others) = _table_span(final), read_partitions(final)
        for span in (table, boot, root):
            place = _first_difference(disk, final, span)
            if place is not None:
                raise LabError(f"the new system is not whole: byte {place}")
        for span in others:
            if _has_ext4(final, span):
                repair(disk, span)
        return Verdict(boots=Boots.NEW)

    def _old_loader(self, disk: Path, touched: set[str]) -> Verdict:
        starts = self.chain.starts(disk)
        if starts not in (self.before, self.armed):
            raise LabError(f"it starts {starts}")
        repaired = [repair(disk, system.span) for system in self.systems if not system.fat]
        with mounted_system(disk, self.systems, read_only=True) as root:
            changed = self.files.changes(disk, root, touched, self.may)
            status = expected_status(root)
        fats = [system for system in self.systems if system.fat]
        return Verdict(
            boots=Boots.STAGE2 if starts == self.armed else Boots.OLD,
            changed=(*changed, *(name for fat in fats for name in fat_changes(disk, fat, self.described, self.may))),
            repaired=any(repaired),
            stuck=tuple(name for fat in fats for name in broken_folders(disk, fat)),
            status=status,
        )


def expected_status(root: Path) -> DeviceState:
    """What `status` has to say in the old system below a root folder, after a reboot, by its journal."""
    journal = root / JOURNAL.lstrip("/")
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    events = [json.loads(line)["event"] for line in lines]
    newest = events[len(events) - events[::-1].index("begin") - 1 :] if "begin" in events else []
    if not newest:
        return DeviceState.NOTHING
    if "end" in newest:
        return DeviceState.UNDONE
    if "armed" not in newest:
        return DeviceState.PARTLY
    return DeviceState.FAILED if (root / STAGE2_RESULT.lstrip("/")).exists() else DeviceState.NOT_STARTED


_HARMLESS = re.compile(
    r"recovering journal|[Cc]learing orphaned inode|: clean,|non-contiguous|rphan file|^Setting free|has zero dtime"
)
"""What e2fsck says where nothing is wrong: the journal was replayed, files were deleted while they were open."""
_TORN_COMMIT = re.compile(r"Journal transaction \d+ was corrupt, replay was aborted|with errors, check forced")
"""What it says where the block with which a transaction is committed was torn. The transaction is none then. Linux
takes it for one since 2024 (fs/jbd2/recovery.c, jbd2_commit_block_csum_verify_partial), and before that did not mount
such a file system at all (fs/jbd2/journal.c, j_failed_commit)."""


def repair(disk: Path, span: Span) -> bool:
    """The ext4 file system is as a start of its system makes it: its journal is replayed.

    Returns whether there was more to do. Raises LabError if anything else is wrong with it.
    """
    with looped(disk, span) as device:
        checked = System().run(["e2fsck", "-f", "-p", device], ok=ANY_STATUS)
    if checked.returncode & ~1:
        raise LabError(f"a file system cannot be repaired: {last_lines(checked.stdout + checked.stderr)}")
    said = [line for line in checked.text.splitlines() if line.strip() and not _HARMLESS.search(line)]
    left = [line for line in said if not _TORN_COMMIT.search(line)]
    if left:
        raise LabError(f"a file system is damaged: {' | '.join(left)}")
    return bool(said)


@contextlib.contextmanager
def looped(disk: Path, span: Span) -> Iterator[str]:
    """A loop device with that part of the disk. e2fsck takes a place in a file, but loses it once it has replayed.

    It goes away when nobody has it open any more, so even a killed process leaves none behind (loop(4), LOOP_CLR_FD).
    """
    place = ["--offset", str(span.start_bytes), "--sizelimit", str(span.size_bytes)]
    device = System().run(["losetup", "--find", "--show", *place, require_file(disk)]).text.strip()
    with Path(device).open("rb"):
        System().run(["losetup", "--detach", device])
        yield device


def _decides(disk: Path) -> bytes:
    """The sector that says whose disk it is: the header of a GPT, or else the first one."""
    with require_file(disk).open("rb") as file:
        first, second = file.read(SECTOR_BYTES), file.read(SECTOR_BYTES)
    return second if second.startswith(b"EFI PART") else first


def _table_span(final: Path) -> Span:
    return Span(start_bytes=0, size_bytes=min(span.start_bytes for span in read_partitions(final)))


def _has_ext4(disk: Path, span: Span) -> bool:
    with disk.open("rb") as file:
        file.seek(span.start_bytes + 1024 + 56)
        return file.read(2) == b"\x53\xef"


def _first_difference(one: Path, other: Path, span: Span) -> int | None:
    """The MiB in which two disks first differ in a part of them, by its first byte; None if they do not."""
    with one.open("rb") as a, other.open("rb") as b:
        a.seek(span.start_bytes)
        b.seek(span.start_bytes)
        for place in range(span.start_bytes, span.start_bytes + span.size_bytes, MIB):
            size = min(MIB, span.start_bytes + span.size_bytes - place)
            if a.read(size) != b.read(size):
                return place
    return None
