# SPDX-License-Identifier: Apache-2.0
"""Whatever moment the power fails at, undo brings back the tree as it was."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import pytest

from balena_migrate.core import journal
from balena_migrate.core.changes import ASIDE_SUFFIX, Action, ActionName, CapturedOnce, MakeDir, Produce, WriteFile
from balena_migrate.core.errors import AlreadyAppliedError, FileError, InterruptedRunError, JournalError, UndoError
from balena_migrate.core.journal import JournalState
from balena_migrate.core.paths import JOURNAL, STATE_DIR
from balena_migrate.core.system import System
from tests.support.system import quiet, tree


class PowerCutError(BaseException):
    """The machine is off: nothing runs any more, no handler either."""


class Power:
    """Fails before or after the n-th call into the kernel that changes a file or a folder."""

    CALLS = ("open", "rename", "fsync", "fchmod", "utime", "mkdir", "unlink", "rmdir")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.before, self.after = 0, 0, 0
        for name in self.CALLS:
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.before:
                raise PowerCutError
            here = self.count
            try:
                return call(*args, **kwargs)
            finally:
                if here == self.after:
                    raise PowerCutError

        return wrapper

    def cut(self, *, before: int = 0, after: int = 0) -> None:
        """Fails from now on at that call; 0 never fails."""
        self.count, self.before, self.after = 0, before, after


def make_big(system: System, path: str) -> None:
    system.write_file(path, b"half")
    system.write_file(path, b"a new archive")


ACTIONS: tuple[Action, ...] = (
    MakeDir(name=ActionName.WORK_DIR, title="a folder", path="/made"),
    WriteFile(name=ActionName.BOOT_NEXT, title="a new file", path="/made/new", content=b"new"),
    Produce(name=ActionName.BACKUP, title="a large file over another", path="/home/backup.tgz", make=make_big),
    Produce(name=ActionName.BACKUP, title="a large file where none was", path="/boot/initramfs", make=make_big),
    WriteFile(name=ActionName.BOOT_NEXT, title="a changed file", path="/boot/config.txt", content=b"changed"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system before stage 1."""
    for folder in ("var/lib", "home", "boot"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/home/backup.tgz").write_bytes(b"an old backup")
    (tmp_path / "root/boot/config.txt").write_bytes(b"\xff as it was\r\n")
    (tmp_path / "root/boot/config.txt").chmod(0o640)
    return tmp_path / "root"


def apply_all(system: System) -> None:
    journal.apply(system, ACTIONS, quiet, arm=True)


def test_apply_changes_the_tree_and_undo_brings_it_back(root: Path) -> None:
    before = tree(root)
    apply_all(System(root))
    changed = tree(root)
    assert changed["boot/config.txt"] == (before["boot/config.txt"][0], b"changed")
    assert changed["home/backup.tgz"][1] == b"a new archive"
    assert journal.read_journal(System(root)).state is JournalState.ARMED
    assert journal.undo(System(root), quiet) == len(ACTIONS)
    assert tree(root) == before
    assert journal.read_journal(System(root)).state is JournalState.UNDONE


def test_the_time_of_a_restored_file_is_as_it_was(root: Path) -> None:
    os.utime(root / "boot/config.txt", (1_000_000, 1_000_000))
    apply_all(System(root))
    journal.undo(System(root), quiet)
    assert (root / "boot/config.txt").stat().st_mtime == 1_000_000


@pytest.mark.long
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_cut_anywhere_in_apply_is_undone(
    tmp_path: Path, root: Path, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(root)
    monkeypatch.setattr(journal, "_undo_after", lambda *_: None)  # the power is off: nobody undoes
    for number in itertools.count(1):
        copy = tmp_path / f"{side}{number}"
        shutil.copytree(root, copy)
        with monkeypatch.context() as patch:
            power = Power(patch)
            power.cut(**{side: number})
            finished = ends(partial(apply_all, System(copy)))
        if finished:
            break
        journal.undo(System(copy), quiet)
        assert tree(copy) == before, f"cut {side} call {number}"
    assert number > 5 * len(ACTIONS)


@pytest.mark.long
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_cut_anywhere_in_undo_is_finished_by_the_next_undo(
    tmp_path: Path, root: Path, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(root)
    for number in itertools.count(1):
        copy = tmp_path / f"{side}{number}"
        shutil.copytree(root, copy)
        apply_all(System(copy))
        with monkeypatch.context() as patch:
            power = Power(patch)
            power.cut(**{side: number})
            finished = ends(partial(journal.undo, System(copy), quiet))
        journal.undo(System(copy), quiet)
        assert tree(copy) == before, f"cut {side} call {number}"
        if finished:
            break
    assert number > 2 * len(ACTIONS)


def ends(work: Callable[[], object]) -> bool:
    """Whether the work came to its end before the power failed."""
    try:
        work()
    except PowerCutError:
        return False
    return True


def test_a_torn_last_line_is_a_change_that_was_not_begun(root: Path) -> None:
    before = tree(root)
    apply_all(System(root))
    path = root / JOURNAL.lstrip("/")
    path.write_bytes(path.read_bytes() + b'{"event": "int')
    assert journal.read_journal(System(root)).state is JournalState.ARMED
    journal.undo(System(root), quiet)
    assert tree(root) == before
    apply_all(System(root))  # and the torn line is gone, so that the next run can be read
    assert journal.read_journal(System(root)).state is JournalState.ARMED


def test_a_damaged_line_is_named(root: Path) -> None:
    apply_all(System(root))
    path = root / JOURNAL.lstrip("/")
    path.write_bytes(b"rubbish\n" + path.read_bytes())
    with pytest.raises(JournalError, match=r"journal\.jsonl:1"):
        journal.read_journal(System(root))
    with pytest.raises(UndoError, match=r"journal\.jsonl:1"):
        journal.undo(System(root), quiet)


def test_a_failing_action_takes_all_back(root: Path) -> None:
    before = tree(root)
    failing = (*ACTIONS, WriteFile(name=ActionName.BOOT_NEXT, title="fails", path="/no/such/folder", content=b""))
    with pytest.raises(FileError):
        journal.apply(System(root), failing, quiet, arm=True)
    assert tree(root) == before
    assert journal.read_journal(System(root)).state is JournalState.UNDONE


def test_a_second_run_is_refused_until_the_first_is_undone(root: Path) -> None:
    apply_all(System(root))
    with pytest.raises(AlreadyAppliedError, match="undo"):
        apply_all(System(root))
    journal.undo(System(root), quiet)
    apply_all(System(root))


def test_undo_names_what_cannot_be_taken_back_and_does_the_rest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply_all(System(root))
    broken = System(root)
    original = broken.remove_tree

    def remove_tree(path: PurePath | str) -> None:
        if str(path) == "/boot/initramfs":
            raise FileError(path, "Read-only file system")
        original(path)

    monkeypatch.setattr(broken, "remove_tree", remove_tree)
    with pytest.raises(UndoError, match=r"/boot/initramfs.*Read-only"):
        journal.undo(broken, quiet)
    assert (root / "boot/config.txt").read_bytes() == b"\xff as it was\r\n"
    assert (root / "boot/initramfs").exists()
    assert journal.undo(System(root), quiet) == 1
    assert not (root / "boot/initramfs").exists()


def test_an_error_that_nobody_foresaw_does_not_keep_undo_from_the_rest(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_all(System(root))
    broken = System(root)
    original = broken.remove_tree
    monkeypatch.setattr(broken, "remove_tree", lambda path: 1 // 0 if path == "/made" else original(path))
    with pytest.raises(UndoError, match=r"/made: ZeroDivisionError"):
        journal.undo(broken, quiet)
    assert (root / "boot/config.txt").read_bytes() == b"\xff as it was\r\n"


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_run_is_rolled_back_and_says_so(root: Path) -> None:
    before = tree(root)
    actions = (*ACTIONS, Produce(name=ActionName.BACKUP, title="is interrupted", path="/home/big", make=interrupt))
    with pytest.raises(InterruptedRunError, match="interrupted; every change was rolled back"):
        journal.apply(System(root), actions, quiet, arm=True)
    assert tree(root) == before


def test_a_run_interrupted_before_its_first_change_calls_nothing_undone(root: Path) -> None:
    with pytest.raises(InterruptedRunError, match="interrupted; nothing was changed"):
        journal.apply(System(root), ACTIONS, interrupt, arm=True)


def test_an_interrupted_undo_is_no_finished_one(root: Path) -> None:
    apply_all(System(root))
    with pytest.raises(UndoError, match="interrupted before every change was rolled back"):
        journal.undo(System(root), interrupt)
    assert journal.undo(System(root), quiet) == len(ACTIONS)


def test_the_journal_keeps_the_names_of_the_changes(root: Path) -> None:
    apply_all(System(root))
    names = [entry.name for entry in journal.read_journal(System(root)).entries if entry.record]
    assert names == [action.name for action in ACTIONS]


def test_every_change_is_announced_with_its_name_and_title_before_it_is_made(root: Path) -> None:
    printed: list[str] = []
    journal.apply(System(root), ACTIONS, printed.append, arm=True)
    assert printed == [f"[{action.name}] {action.title}" for action in ACTIONS]


def test_what_the_hand_over_gets_is_what_the_journal_keeps(root: Path) -> None:
    """Between the two captures lie minutes, in which the file's time may change but not the file."""
    boot = CapturedOnce(WriteFile(name=ActionName.BOOT_NEXT, title="", path="/boot/config.txt", content=b"changed"))
    in_handover = boot.capture(System(root))
    os.utime(root / "boot/config.txt", (1, 1))
    journal.apply(System(root), (*ACTIONS[:-1], boot), quiet, arm=True)
    in_journal = [entry.record for entry in journal.read_journal(System(root)).entries if entry.record]
    assert in_journal[-1] == in_handover


@pytest.mark.parametrize("after", [b"what update-grub wrote", None])
def test_a_boot_file_that_something_else_changes_meanwhile_ends_the_run(root: Path, after: bytes | None) -> None:
    """Else stage 2 and undo would put different things back; it is not overwritten, and all else is rolled back."""
    boot = CapturedOnce(WriteFile(name=ActionName.BOOT_NEXT, title="", path="/boot/config.txt", content=b"changed"))
    path = root / "boot/config.txt"

    def make_handover(system: System, _: str) -> None:
        boot.capture(system)
        path.unlink()
        if after is not None:
            path.write_bytes(after)

    handover = Produce(name=ActionName.HANDOVER, title="the hand-over", path="/home/handover", make=make_handover)
    with pytest.raises(FileError, match=r"/boot/config\.txt: was changed by something else"):
        journal.apply(System(root), (*ACTIONS[:-1], handover, boot), quiet, arm=True)
    assert journal.read_journal(System(root)).state is JournalState.UNDONE
    assert (path.read_bytes() if path.exists() else None) == after
    assert not (root / "made").exists()


def test_what_was_moved_aside_is_there_again(root: Path) -> None:
    apply_all(System(root))
    assert (root / f"home/backup.tgz{ASIDE_SUFFIX}").read_bytes() == b"an old backup"
    journal.undo(System(root), quiet)
    assert (root / "home/backup.tgz").read_bytes() == b"an old backup"
    assert not (root / f"home/backup.tgz{ASIDE_SUFFIX}").exists()


def test_the_journal_is_for_root_only(root: Path) -> None:
    apply_all(System(root))
    assert (root / JOURNAL.lstrip("/")).stat().st_mode & 0o777 == 0o600
    assert (root / STATE_DIR.lstrip("/")).stat().st_mode & 0o777 == 0o700
