# SPDX-License-Identifier: Apache-2.0
"""Several calls at once, and a call after a crash: real processes on a device in a folder."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from balena_migrate.core.changes import Action
from balena_migrate.core.journal import JournalState, read_journal
from balena_migrate.core.lock import locked
from balena_migrate.core.paths import LOCK, STAGE1_LOG
from balena_migrate.core.system import System
from tests.support import device_process
from tests.support.system import tree

pytestmark = [pytest.mark.processes, pytest.mark.long]

LIMIT_S = 60
ACTIONS = (*device_process.BEFORE, *device_process.BOOT)
Process = subprocess.Popen[str]


@dataclass
class Device:
    """A device in a folder; whatever runs on it is ended with the test."""

    folder: Path
    held: ExitStack = field(default_factory=ExitStack)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def system(self) -> System:
        return System(self.root)

    @property
    def rebooted(self) -> bool:
        return (self.folder / "rebooted").exists()

    def end_the_wait(self) -> None:
        """The time before the reboot is over."""
        (self.folder / "over").touch()

    def start(self, *words: str) -> Process:
        argv = [sys.executable, device_process.__file__, str(self.root), str(self.folder), *words]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.held.callback(end, process)
        return process

    def run(self, *words: str) -> tuple[int, str]:
        """The exit status, and all output, of a call."""
        process = self.start(*words)
        out, err = process.communicate(timeout=LIMIT_S)
        return process.returncode, out + err


def end(process: Process) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    for folder in ("var/lib", "home", "boot", "run", "etc", "proc/sys/kernel/random"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    root = tmp_path / "root"
    (root / "proc/sys/kernel/random/boot_id").write_text("first\n")
    (root / "home/backup.tgz").write_bytes(b"an old backup")
    (root / "boot/grubenv").write_bytes(b"\xff as it was")
    (root / "boot/grubenv").chmod(0o600)
    device = Device(tmp_path)
    with device.held:
        yield device
        (root / "home/slow").unlink(missing_ok=True)  # ends the programs


def files(device: Device) -> dict[str, tuple[int, bytes]]:
    """All files but the lock, and what is in the journal's folder."""
    found = tree(device.root)
    found.pop(LOCK.lstrip("/"), None)
    return found


def wait_for(process: Process, text: str) -> None:
    """Wait until the process prints a line with the text on standard error."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return
    raise AssertionError(f"{text!r} is not in {seen!r}")


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


# Two at once --------------------------------------------------------------------------------------------------------


def test_of_runs_that_start_together_one_changes_the_device_and_the_others_name_it(device: Device) -> None:
    (device.root / "home/slow").touch()
    running = [device.start("run") for _ in range(4)]
    wait_until(lambda: sum(process.poll() is not None for process in running) == 3)
    (winner,) = (process for process in running if process.poll() is None)
    (device.root / "home/slow").unlink()
    for process in running:
        text = process.communicate(timeout=LIMIT_S)[1]
        if process is winner:
            assert (process.returncode, "stage 1 is done" in text) == (0, True), text
        else:
            assert process.returncode == 1
            assert f"error: balena-migrate run, process {winner.pid} since 20" in text
    titles = [entry.title for entry in read_journal(device.system).entries if entry.title]
    assert titles == [action.title for action in ACTIONS]
    assert (device.root / STAGE1_LOG.lstrip("/")).read_text().count("stage 1 is done") == 1


@pytest.mark.parametrize("verb", ["run", "undo"])
def test_a_call_during_run_is_refused_at_once_with_who_it_is_and_what_to_do(device: Device, verb: str) -> None:
    (device.root / "home/slow").touch()
    running = device.start("run")
    wait_for(running, "a file by a program")
    status, text = device.run(verb, "--json")
    found = json.loads(text)
    assert (status, found["exit_status"]) == (1, 1)
    assert re.fullmatch(rf"balena-migrate run, process {running.pid} since \S+Z, changes this device", found["error"])
    assert found["hint"].startswith(f"wait for its end, or end it with kill {running.pid}, and it rolls back")
    assert read_journal(device.system).state is JournalState.PARTLY


def test_status_says_that_a_run_is_in_progress_and_no_longer_when_it_has_ended(device: Device) -> None:
    (device.root / "home/slow").touch()
    running = device.start("run")
    wait_for(running, "a file by a program")
    found = json.loads(device.run("status", "--json")[1])
    assert (found["state"], found["in_progress"]["verb"]) == ("in-progress", "run")
    assert (found["in_progress"]["pid"], found["changes"]) == (running.pid, 4)
    text = device.run("status")[1]
    assert f"It is balena-migrate run, process {running.pid} since" in text and "interrupted" not in text
    end(running)
    found = json.loads(device.run("status", "--json")[1])
    assert (found["state"], found["in_progress"]) == ("partly-applied", None)


def test_kill_as_the_error_says_rolls_back_and_then_run_succeeds(device: Device) -> None:
    before = files(device)
    (device.root / "home/slow").touch()
    running = device.start("run")
    wait_for(running, "a file by a program")
    wait_until((device.root / "home/pid").exists)
    running.terminate()
    assert "interrupted; every change was rolled back" in running.communicate(timeout=LIMIT_S)[1]
    assert running.returncode == 3
    assert "interrupted; every change was rolled back" in (device.root / STAGE1_LOG.lstrip("/")).read_text()
    (device.root / "home/slow").unlink()
    (device.root / "home/pid").unlink()
    assert files(device) == before
    assert device.run("run")[0] == 0


def test_a_program_that_outlives_its_run_does_not_hold_the_lock(device: Device) -> None:
    (device.root / "home/slow").touch()
    running = device.start("run")
    wait_until((device.root / "home/pid").exists)
    end(running)
    status, text = device.run("undo")
    assert (device.root / "home/pid").exists(), "the program is still there"
    assert (status, "4 changes were rolled back" in text) == (0, True), text


# Before the reboot --------------------------------------------------------------------------------------------------


def test_undo_while_run_waits_before_its_reboot_prevents_that(device: Device) -> None:
    before = files(device)
    running = device.start("run", "--reboot")
    wait_for(running, "rebooting into stage 2")
    assert device.run("undo")[0] == 0
    device.end_the_wait()
    assert "not rebooted: balena-migrate undo has rolled every change back" in running.communicate(timeout=LIMIT_S)[1]
    assert (running.returncode, device.rebooted) == (3, False)
    assert files(device) == before


def test_run_reboots_where_nobody_undoes(device: Device) -> None:
    device.end_the_wait()
    assert device.run("run", "--reboot")[0] == 0
    assert device.rebooted


def test_a_signal_while_run_waits_leaves_the_device_armed_and_running(device: Device) -> None:
    running = device.start("run", "--reboot")
    wait_for(running, "rebooting into stage 2")
    running.terminate()
    assert "not rebooted; the next reboot starts stage 2" in running.communicate(timeout=LIMIT_S)[1]
    assert (running.returncode, device.rebooted) == (0, False)
    assert read_journal(device.system).state is JournalState.ARMED


def test_run_does_not_reboot_while_undo_is_at_work(device: Device) -> None:
    running = device.start("run", "--reboot")
    wait_for(running, "rebooting into stage 2")
    with locked(device.system, "undo"):
        device.end_the_wait()
        text = running.communicate(timeout=LIMIT_S)[1]
    assert re.search(r"not rebooted: balena-migrate undo, process \d+ since .* changes this device", text), text
    assert (running.returncode, device.rebooted) == (3, False)


# After a crash ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.title)
def test_after_a_kill_in_each_change_run_says_undo_and_undo_brings_all_back(device: Device, action: Action) -> None:
    before = files(device)
    for seed in range(2):
        running = device.start("run")
        wait_for(running, f"[{action.name}]")
        time.sleep(random.Random(f"{action.title} {seed}").random() * device_process.PIECES * device_process.PAUSE_S)
        end(running)
        status, text = device.run("run")
        assert (status, "balena-migrate undo rolls them back" in text) == (1, True), text
        assert device.run("undo")[0] == 0
        assert files(device) == before
    assert device.run("run")[0] == 0
    assert device.run("undo")[0] == 0
    assert files(device) == before


def test_an_undo_that_was_killed_is_finished_by_the_next_one(device: Device) -> None:
    before = files(device)
    for seed in range(4):
        assert device.run("run")[0] == 0
        undoing = device.start("undo")
        wait_for(undoing, "grubenv")
        time.sleep(random.Random(seed).random() * 0.01)
        end(undoing)
        assert device.run("undo")[0] == 0
        assert files(device) == before
