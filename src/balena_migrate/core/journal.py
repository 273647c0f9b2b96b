# SPDX-License-Identifier: Apache-2.0
"""The write-ahead journal: records every change, so that it can be reverted, even after a crash.

One JSON object per line. An *intent* with its undo record is flushed to the disk before the change starts; a *done*
follows when the change is on the disk, an *undone* when it was reverted. A last line torn by a power cut is ignored:
its change had not started. Undo reverts, newest first, every intent without an *undone*, whether or not it is *done*:
reverting is idempotent, so it does not matter how far the change had got.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.changes import Action, ActionName, UndoRecord, begun, take_back
from balena_migrate.core.errors import (
    AlreadyAppliedError,
    FileError,
    InterruptedRunError,
    JournalError,
    UndoError,
)
from balena_migrate.core.paths import JOURNAL, STATE_DIR
from balena_migrate.core.progress import Say
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.core.values import from_json, parse_json, to_json

LOG = logging.getLogger(__name__)

JOURNAL_FORMAT = 2
JOURNAL_LIMIT_BYTES = 256 * MIB

UNDO_HINT = "run balena-migrate undo"


class Event(StrEnum):
    BEGIN = "begin"
    INTENT = "intent"
    DONE = "done"
    ARMED = "armed"
    """All changes were applied: the next boot starts stage 2."""
    PREPARED = "prepared"
    """All changes were applied except the boot change, which NO_SETUP rules out."""
    UNDONE = "undone"
    END = "end"
    """All changes were reverted."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the journal; `number` counts a run's changes from 1, and is 0 on lines about the whole run."""

    event: Event
    number: int = 0
    name: ActionName | None = None
    title: str = ""
    record: UndoRecord | None = None
    boot_id: str = ""
    """On ARMED: the kernel's boot id, which shows whether the device was rebooted since."""
    format: int = JOURNAL_FORMAT


class JournalState(StrEnum):
    """How far the newest run went, by its entries."""

    NOTHING = "nothing done"
    PARTLY = "partly applied"
    PREPARED = "prepared"
    ARMED = "armed"
    UNDONE = "undone"


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The entries of the newest run."""

    entries: tuple[Entry, ...] = ()

    @property
    def pending(self) -> tuple[Entry, ...]:
        """The intents that were not reverted, newest first."""
        undone = {entry.number for entry in self.entries if entry.event is Event.UNDONE}
        intents = [e for e in self.entries if e.event is Event.INTENT and e.number not in undone]
        return tuple(reversed(intents))

    @property
    def armed_boot_id(self) -> str:
        """The id of the boot in which the device was armed, "" if it was not."""
        return next((entry.boot_id for entry in self.entries if entry.event is Event.ARMED), "")

    @property
    def state(self) -> JournalState:
        events = {entry.event for entry in self.entries}
        if not events:
            return JournalState.NOTHING
        if Event.END in events:
            return JournalState.UNDONE
        if Event.ARMED in events:
            return JournalState.ARMED
        return JournalState.PREPARED if Event.PREPARED in events else JournalState.PARTLY


def parse_journal(text: str) -> Journal:
    """The newest run in a journal's text.

    Raises JournalError for a malformed line, except for a torn last one, which is ignored.
    """
    lines = text.split("\n")
    whole, torn = lines[:-1], lines[-1]
    if torn:
        LOG.warning("the journal's last line is torn; the change that it announced was not begun")
    entries: list[Entry] = []
    for number, line in enumerate(whole, start=1):
        entry = _parse_entry(line, number)
        if entry.event is Event.BEGIN:
            entries = []
        entries.append(entry)
    return Journal(entries=tuple(entries))


def read_boot_id(system: System) -> str:
    """The kernel's id of this boot (random(4)); "" if it has none."""
    return (system.find_text("/proc/sys/kernel/random/boot_id") or "").strip()


def _parse_entry(line: str, number: int) -> Entry:
    try:
        entry = from_json(Entry, parse_json(line))
        if entry.event is Event.INTENT and entry.record is None:
            raise ValueError("a change without its undo record")
    except ValueError as error:
        raise JournalError(
            f"{JOURNAL}:{number}: {error}", hint="the journal is damaged; keep it and ask for help"
        ) from None
    if entry.format != JOURNAL_FORMAT:
        raise JournalError(
            f"{JOURNAL}:{number}: format {entry.format} is unknown", hint="use the release that wrote it"
        )
    return entry


def read_journal(system: System) -> Journal:
    """The device's journal; without entries if there is none."""
    if not system.exists(JOURNAL):
        return Journal()
    return parse_journal(system.read_text(JOURNAL, limit_bytes=JOURNAL_LIMIT_BYTES))


def append(system: System, entry: Entry) -> None:
    """Append the entry and flush it to the disk. A torn last line is removed first."""
    line = json.dumps(to_json(entry)).encode() + b"\n"
    with system.updating(JOURNAL) as file:
        file.seek(file.read().rfind(b"\n") + 1)
        file.truncate()
        file.write(line)


def refuse_second_run(system: System) -> None:
    """Raise AlreadyAppliedError if changes of an earlier run are still in place."""
    if read_journal(system).pending:
        raise AlreadyAppliedError(
            "changes of an earlier run are still in place", hint="balena-migrate undo rolls them back"
        )


def expect_armed(system: System) -> None:
    """Raise InterruptedRunError if undo has rolled the newest run back, or UndoError if it did so in part."""
    journal = read_journal(system)
    if journal.state is JournalState.UNDONE:
        raise InterruptedRunError("not rebooted: balena-migrate undo has rolled every change back")
    if journal.state is not JournalState.ARMED or any(entry.event is Event.UNDONE for entry in journal.entries):
        raise UndoError("not rebooted: balena-migrate undo has not rolled every change back", hint=UNDO_HINT)


def apply(system: System, actions: Iterable[Action], say: Say, *, arm: bool) -> None:
    """Apply all actions in order, each recorded in the journal before it starts.

    With `arm`, the journal finally records that the device is armed. If an action fails, all are rolled back and its
    error is raised again; if the run is interrupted, InterruptedRunError is. Raises UndoError, which names both
    reasons, if the rollback fails, and AlreadyAppliedError if an earlier run was not undone.
    """
    refuse_second_run(system)
    if not system.is_dir(STATE_DIR):
        system.make_dir(STATE_DIR, mode=0o700)
    append(system, Entry(event=Event.BEGIN))
    try:
        for number, action in enumerate(actions, start=1):
            say(f"{begun(action.name)} {action.title}")
            record = action.capture(system)
            append(
                system,
                Entry(event=Event.INTENT, number=number, name=action.name, title=action.title, record=record),
            )
            action.apply(system)
            append(system, Entry(event=Event.DONE, number=number))
        if arm:
            append(system, Entry(event=Event.ARMED, boot_id=read_boot_id(system)))
        else:
            append(system, Entry(event=Event.PREPARED))
    except BaseException as error:
        rolled_back = _undo_after(system, error, say)
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedRunError(f"interrupted; {rolled_back}") from None
        say(rolled_back)
        raise


def _undo_after(system: System, error: BaseException, say: Say) -> str:
    """Roll back, and return the outcome in words. Raises UndoError, which names the original error, too."""
    try:
        count = undo(system, say)
    except UndoError as second:
        first = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        raise UndoError(f"{first}; and then rolling back failed: {second.message}", hint=UNDO_HINT) from error
    return "every change was rolled back" if count else "nothing was changed"


def undo(system: System, say: Say) -> int:
    """Roll back every change of the newest run, newest first; return how many there were.

    Works from any state, in any process. If one fails, the others are still tried. Raises UndoError, which names the
    failures, if a change is left in place, the journal is damaged, or on an interrupt.
    """
    try:
        pending = read_journal(system).pending
    except (JournalError, FileError) as error:
        raise UndoError(error.message, hint=error.hint) from None
    try:
        failures = [failure for entry in pending if (failure := _undo_one(system, entry, say))]
    except KeyboardInterrupt:
        raise UndoError("interrupted before every change was rolled back", hint=UNDO_HINT) from None
    if failures:
        raise UndoError("; ".join(failures), hint=f"remove the cause and {UNDO_HINT}")
    if read_journal(system).state not in (JournalState.NOTHING, JournalState.UNDONE):
        append(system, Entry(event=Event.END))
    return len(pending)


def _undo_one(system: System, entry: Entry, say: Say) -> str:
    """Roll one change back; on any failure, return the reason, so that the others are still tried."""
    assert entry.record is not None
    say(entry.record.describe())
    try:
        take_back(system, entry.record)
        append(system, Entry(event=Event.UNDONE, number=entry.number))
    except FileError as error:
        return str(error)
    except Exception as error:
        LOG.exception("%s", entry.record.describe())
        return f"{entry.record.path}: {type(error).__name__}: {error}"
    return ""
