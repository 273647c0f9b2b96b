# SPDX-License-Identifier: Apache-2.0
"""The script that lets something go wrong in a stage does so at its place, and the stage is the real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from balena_migrate.workstation.lab import fault_device as device
from balena_migrate.workstation.lab.fault_device import MARK, REACHED, spoil

STAGE1 = """\
import sys
from balena_migrate.core import journal
from balena_migrate.core.changes import ActionName, Produce
from balena_migrate.core.system import System

def make(system, path):
    system.write_file(path, b"made")

def action(name):
    return Produce(name=name, title=name, path=f"/{name}", make=make)

root = sys.argv[1]
actions = [action(name) for name in (ActionName.PATCHES, ActionName.HANDOVER, ActionName.INITRAMFS)]
journal.read_boot_id = lambda system: "a boot"
journal.apply(System(root), actions, print, arm=True)
"""


@pytest.fixture
def owner(tmp_path: Path) -> Path:
    """The owner's folder, with an image and something smaller."""
    folder = tmp_path / "owner"
    folder.mkdir()
    (folder / "image").write_bytes(b"an image " * 100)
    (folder / "config.json").write_text("{}")
    return folder


def stage1(tmp_path: Path, owner: Path, faults: str) -> subprocess.Popen[str]:
    """Stage 1 with what goes wrong where, or a terminal that is asked."""
    (tmp_path / "start.py").write_text(STAGE1)
    (tmp_path / "root/var/lib").mkdir(parents=True)
    argv = [sys.executable, device.__file__, faults, str(tmp_path), str(owner), str(tmp_path / "start.py")]
    return subprocess.Popen(
        [*argv, str(tmp_path / "root")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.processes
@pytest.mark.parametrize(("place", "made"), [("patches", []), ("initramfs", ["patches", "handover"])])
def test_stage_1_is_killed_once_the_journal_has_the_intent(
    tmp_path: Path, owner: Path, place: str, made: list[str]
) -> None:
    with stage1(tmp_path, owner, f"{place}=killed") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "root").iterdir() if path.is_file()) == sorted(made)
    assert f'"name": "{place}"' in (tmp_path / "root/var/lib/balena-migrate/journal.jsonl").read_text().splitlines()[-1]


@pytest.mark.processes
@pytest.mark.parametrize(("place", "shown"), [("patches", True), ("image", False)])
def test_it_is_said_that_it_happens_and_only_then(tmp_path: Path, owner: Path, place: str, shown: bool) -> None:
    with stage1(tmp_path, owner, f"{place}=killed") as process:
        assert process.stdout is not None
        assert (MARK in process.stdout.read()) == shown


@pytest.mark.processes
def test_it_happens_once(tmp_path: Path, owner: Path) -> None:
    """So that who is started again goes on."""
    (tmp_path / "lab-happened").touch()
    with stage1(tmp_path, owner, "patches=killed") as process:
        assert process.wait(60) == 0


@pytest.mark.processes
def test_a_place_that_is_not_reached_changes_nothing(tmp_path: Path, owner: Path) -> None:
    with stage1(tmp_path, owner, "image=killed") as process:
        assert process.wait(60) == 0
    assert (tmp_path / "root/initramfs").read_text() == "made"


@pytest.mark.processes
def test_a_stage_that_hangs_does_not_go_on(tmp_path: Path, owner: Path) -> None:
    with stage1(tmp_path, owner, "handover=hang") as process:
        until = time.monotonic() + 60
        while " T " not in Path(f"/proc/{process.pid}/stat").read_text() and time.monotonic() < until:
            time.sleep(0.05)
        assert " T " in Path(f"/proc/{process.pid}/stat").read_text()
        assert not (tmp_path / "root/handover").exists()
        process.kill()


@pytest.mark.processes
@pytest.mark.parametrize(
    ("answers", "asked", "made"),
    [
        (["", "", ""], ["patches", "handover", "initramfs"], ["handover", "initramfs", "patches"]),
        (["", "killed"], ["patches", "handover"], ["patches"]),
        (["read error"], ["patches"], ["handover", "initramfs", "patches"]),
    ],
    ids=["nothing", "killed at the second place", "the disk fails"],
)
def test_a_terminal_is_asked_at_each_place_until_something_goes_wrong(
    tmp_path: Path, owner: Path, answers: list[str], asked: list[str], made: list[str]
) -> None:
    workstation, terminal = os.openpty()
    with stage1(tmp_path, owner, os.ttyname(terminal)) as process:
        assert process.stdout is not None
        places = []
        for line in process.stdout:
            if line.startswith(REACHED):
                places.append(line.split()[-1])
                os.write(workstation, f"{answers.pop(0)}\n".encode())
        process.wait(60)
    os.close(workstation)
    os.close(terminal)
    assert (places, answers) == (asked, [])
    assert sorted(path.name for path in (tmp_path / "root").iterdir() if path.is_file()) == made


def test_a_spoilt_file_differs_and_has_its_size(owner: Path) -> None:
    before = (owner / "image").read_bytes()
    spoil(owner / "image")
    after = (owner / "image").read_bytes()
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 16
