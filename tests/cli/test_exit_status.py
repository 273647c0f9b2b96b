# SPDX-License-Identifier: Apache-2.0
"""The exit status tells the truth: one row for each class of errors, and what the device is like at each status."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import balena_migrate
from balena_migrate.cli import guarded
from balena_migrate.core import errors, journal
from balena_migrate.core.changes import Action, ActionName, MakeDir, Produce, WriteFile
from balena_migrate.core.errors import (
    AlreadyAppliedError,
    BackupError,
    CommandError,
    ConfigError,
    DiskError,
    ExitStatus,
    FileError,
    FlashError,
    FleetError,
    ImageError,
    InProgressError,
    InterruptedRunError,
    JournalError,
    LabError,
    MigrateError,
    NetworkConfigError,
    RefusedError,
    UndoError,
    UsageError,
)
from balena_migrate.core.journal import JournalState
from balena_migrate.core.system import LoopError, System
from balena_migrate.stage2.frame import CameBackError, NoFlashError
from balena_migrate.workstation.lab.machines.raspberrypi.config_txt import UndefinedError

ROWS: dict[type[MigrateError], int] = {
    MigrateError: 3,
    UsageError: 2,
    ConfigError: 2,
    RefusedError: 1,
    AlreadyAppliedError: 1,
    InProgressError: 1,
    InterruptedRunError: 3,
    CommandError: 3,
    FileError: 3,
    LoopError: 3,
    ImageError: 3,
    NetworkConfigError: 3,
    BackupError: 3,
    FleetError: 3,
    DiskError: 3,
    FlashError: 3,
    JournalError: 3,
    UndoError: 4,
    LabError: 3,
    UndefinedError: 3,
    CameBackError: 3,
    NoFlashError: 3,
}


def an_error(kind: type[MigrateError]) -> MigrateError:
    if issubclass(kind, CommandError):
        return kind(["true"], 1, "")
    if issubclass(kind, FileError):
        return kind("/a/file", "a reason")
    return kind("a reason")


def status_of(work: Callable[[], object]) -> int:
    return guarded(click.Command("work", callback=work, params=[]))


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.fixture(autouse=True)
def no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["work"])


@pytest.mark.parametrize(("kind", "status"), ROWS.items(), ids=lambda value: getattr(value, "__name__", str(value)))
def test_each_class_of_errors_has_its_status(kind: type[MigrateError], status: int) -> None:
    assert status_of(raising(an_error(kind))) == status


def kinds(kind: type[BaseException] = MigrateError) -> Iterator[type[BaseException]]:
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def import_everything() -> None:
    for module in pkgutil.walk_packages(balena_migrate.__path__, "balena_migrate."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_a_new_class_of_errors_needs_a_row() -> None:
    import_everything()
    ours = {kind for kind in kinds() if kind.__module__.startswith("balena_migrate.")}
    assert ours == set(ROWS)


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    import_everything()
    drawn = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([| `-]*)([A-Z]\w+Error) +(\d)  ", line)
        if found:
            depth = len(found[1]) // 3
            above[depth:] = [found[2]]
            drawn[found[2]] = (above[depth - 1] if depth else "Exception", int(found[3]))
    assert drawn == {kind.__name__: (kind.__base__.__name__, status) for kind, status in ROWS.items() if kind.__base__}


def test_an_error_that_nobody_foresaw_is_a_failure_and_no_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(raising(ZeroDivisionError())) == ExitStatus.FAILED
    assert "ZeroDivisionError" in capsys.readouterr().err


# What the device is like -------------------------------------------------------------------------------------------

ACTIONS: tuple[Action, ...] = (
    MakeDir(name=ActionName.WORK_DIR, title="a folder", path="/made"),
    WriteFile(name=ActionName.BOOT_NEXT, title="a file", path="/made/file", content=b""),
)


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "var/lib").mkdir(parents=True)
    return System(tmp_path)


def run(system: System, *more: Action) -> int:
    return status_of(lambda: journal.apply(system, (*ACTIONS, *more), print, arm=True))


def test_a_second_run_on_an_armed_device_is_refused(system: System) -> None:
    assert run(system) == ExitStatus.DONE
    assert run(system) == ExitStatus.REFUSED
    assert journal.read_journal(system).state is JournalState.ARMED


def test_a_file_that_cannot_be_captured_fails_and_is_rolled_back(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    system.make_dir("/folder")
    assert (
        run(system, WriteFile(name=ActionName.BOOT_NEXT, title="fails", path="/folder", content=b""))
        == ExitStatus.FAILED
    )
    assert "every change was rolled back" in capsys.readouterr().out
    assert not system.exists("/made")


def test_a_failure_with_nothing_to_undo_is_not_called_undone(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    system.make_dir("/made")
    assert run(system) == ExitStatus.FAILED
    assert "rolled back" not in "".join(capsys.readouterr())


def test_an_interrupted_run_says_that_it_was_rolled_back(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    def make(*_: object) -> None:
        raise KeyboardInterrupt

    assert (
        run(system, Produce(name=ActionName.BACKUP, title="is interrupted", path="/big", make=make))
        == ExitStatus.FAILED
    )
    assert "interrupted; every change was rolled back" in capsys.readouterr().err
    assert not system.exists("/made")


def test_what_cannot_be_rolled_back_is_the_only_4(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove_tree(path: object) -> None:
        raise FileError(str(path), "Read-only file system")

    assert run(system) == ExitStatus.DONE
    with monkeypatch.context() as patch:
        patch.setattr(system, "remove_tree", remove_tree)
        assert status_of(lambda: journal.undo(system, print)) == ExitStatus.NOT_ROLLED_BACK
    assert system.exists("/made")
    assert status_of(lambda: journal.undo(system, print)) == ExitStatus.DONE
