# SPDX-License-Identifier: Apache-2.0
"""Stage 2 with real file systems: mount, restore, keep the reason, let go; files in memory and on resin-data."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.block_map import BlockMap
from balena_migrate.core.changes import ActionName, WriteFile
from balena_migrate.core.errors import DiskError, MigrateError
from balena_migrate.core.handover import (
    DataFile,
    DataPartition,
    DiskIdentity,
    FileSystem,
    Handover,
    StoredFile,
    TermExit,
    describe_content,
)
from balena_migrate.core.stage2_result import Stage2Ending, Stage2Result, find_stage2_result
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.stage2 import boot, kernel, oldsystem, stash, transfer
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.mounts import Taken

pytestmark = [
    pytest.mark.long,
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]

CONTENT = b"an image" * 1000
UUIDS = (str(uuid.uuid4()), str(uuid.uuid4()))
"""New ones in each process: loop devices of others that run these tests just now are seen here as well."""
NOTHING = StoredFile(path="/none", size_bytes=0, sha256="")


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Loop devices with an old root file system and an old /boot."""
    found = []
    for number, name in enumerate(UUIDS):
        tree = tmp_path / f"tree{number}"
        (tree / "boot").mkdir(parents=True)
        (tree / "var/lib").mkdir(parents=True)
        (tree / "config.txt").write_text("as it was")
        (tree / "image").write_bytes(CONTENT)
        file = tmp_path / f"fs{number}"
        with file.open("wb") as target:
            target.truncate(16 * MIB)
        run("mke2fs", "-q", "-F", "-t", "ext4", "-U", name, "-d", tree, file)
        found.append(run("losetup", "--find", "--show", file))
    try:
        yield found[0], found[1]
    finally:
        for device in found:
            run("losetup", "--detach", device)


@pytest.fixture
def old(devices: tuple[str, str], tmp_path: Path) -> Iterator[System]:
    """The old root as the initramfs has it: mounted, read-only."""
    with kernel.mounted(devices[0], tmp_path / "rootmnt", "ext4", read_only=True) as point:
        yield System(point)


@pytest.fixture
def handover() -> Handover:
    return Handover(
        strategy="DEFAULT",
        target=DiskIdentity(name="sda", size_bytes=1, table_id="", serial=""),
        image=NOTHING,
        image_format="raw",
        image_size_bytes=0,
        patches=NOTHING,
        block_map=BlockMap(),
        data_partition=DataPartition(start_bytes=0, size_bytes=0),
        data_files=(),
        file_systems=(
            FileSystem(uuid=UUIDS[0], fstype="ext4", mount_point="/"),
            FileSystem(uuid=UUIDS[1], fstype="ext4", mount_point="/boot"),
        ),
        boot_undo=(),
        memory_reserve_bytes=0,
        no_flash=True,
        term_exit=TermExit.CONTINUE,
        log_file_system=None,
        version="test",
        kit="",
    )


def console() -> Console:
    return Console(io.StringIO())


def is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def test_the_boot_configuration_is_restored_on_its_own_file_system(old: System, handover: Handover) -> None:
    machine, voice = System("/"), console()
    with oldsystem.mounted_beside(machine, old, handover, voice):
        boot = old.real("/boot")
        change = WriteFile(name=ActionName.BOOT_NEXT, title="", path="/boot/config.txt", content=b"changed")
        record = change.capture(old)
        with kernel.writable(boot):
            change.apply(old)
        assert old.read_text("/boot/config.txt") == "changed"
        oldsystem.restore_boot(System("/"), old, _with_undo(handover, record), voice)
        assert old.read_text("/boot/config.txt") == "as it was"
        assert is_read_only(boot)
        assert is_read_only(old.root)
    assert not (old.root / "boot").is_mount()
    assert old.root.is_mount()


def test_where_the_root_does_not_appear_the_boot_partition_is_restored_alone(
    devices: tuple[str, str], handover: Handover, tmp_path: Path
) -> None:
    """As on a Raspberry Pi whose firmware would start stage 2 again: config.txt is on another file system."""
    with kernel.mounted(devices[1], tmp_path / "boot", "ext4"):
        change = WriteFile(name=ActionName.BOOT_NEXT, title="", path="/boot/config.txt", content=b"changed")
        record = change.capture(System(tmp_path))
        change.apply(System(tmp_path))
    other = replace(record, path="/etc/on-the-root")
    root = tmp_path / "rootmnt"
    root.mkdir()
    boot.restore_without_root(System("/"), _with_undo(handover, record, other), console(), root)
    assert not (root / "boot").is_mount() and not (root / "etc").exists()
    with kernel.mounted(devices[1], tmp_path / "boot", "ext4", read_only=True) as folder:
        assert (folder / "config.txt").read_text() == "as it was"


def _with_undo(handover: Handover, *records: object) -> Handover:
    return Handover(**{**vars(handover), "boot_undo": records})


def test_a_boot_partition_that_is_gone_is_said_and_the_reason_is_kept_all_the_same(
    old: System, handover: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balena_migrate.images.partitions.known_disk.WAIT_S", 0)
    missing = FileSystem(uuid="no-such-uuid", fstype="ext4", mount_point="/boot")
    handover = Handover(**{**vars(handover), "file_systems": (handover.file_systems[0], missing)})
    voice = console()
    with oldsystem.mounted_beside(System("/"), old, handover, voice):
        assert any("no-such-uuid" in line for line in voice.lines)
        result = Stage2Result(ending=Stage2Ending.FAILED, step=Step.SECURE, reason="memory is too small")
        oldsystem.keep_result(System("/"), old, handover, [], result, voice)
    assert find_stage2_result(old) == result
    assert is_read_only(old.root)
    assert "no-such-uuid" in old.read_text("/var/lib/balena-migrate/stage2.log")


def changed_boot(old: System, voice: Console, handover: Handover, *, now: bytes = b"changed") -> Handover:
    """/boot/config.txt as stage 1 left it, or as somebody made it since; and the hand-over that knows of stage 1."""
    change = WriteFile(name=ActionName.BOOT_NEXT, title="", path="/boot/config.txt", content=b"changed")
    with oldsystem.mounted_beside(System("/"), old, handover, voice):
        record = change.capture(old)
        with kernel.writable(old.real("/boot")):
            old.write_file("/boot/config.txt", now)
    return Handover(
        **{**vars(_with_undo(handover, record)), "boot_written": (describe_content(change.path, change.content),)}
    )


def config_on(device: str, tmp_path: Path) -> str:
    with kernel.mounted(device, tmp_path / "look", "ext4", read_only=True) as point:
        return (point / "config.txt").read_text()


@pytest.mark.parametrize("writable_root", [False, True])
def test_a_boot_partition_that_is_not_mounted_is_not_mistaken_for_its_mount_point(
    old: System,
    devices: tuple[str, str],
    handover: Handover,
    tmp_path: Path,
    writable_root: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is written into the root's empty folder, it is said, and the migration goes on."""
    voice = console()
    handover = changed_boot(old, voice, handover)
    monkeypatch.setattr("balena_migrate.images.partitions.known_disk.WAIT_S", 0)
    gone = FileSystem(uuid="no-such-uuid", fstype="vfat", mount_point="/boot")
    handover = Handover(**{**vars(handover), "file_systems": (handover.file_systems[0], gone)})
    if writable_root:
        kernel.remount(old.root, read_only=False)
    with oldsystem.mounted_beside(System("/"), old, handover, voice):
        oldsystem.restore_boot(System("/"), old, handover, voice)
        assert not old.exists("/boot/config.txt")
    assert voice.lines[-1].endswith("restore /boot/config.txt: failed: /boot is not mounted")
    assert config_on(devices[1], tmp_path) == "changed"


@pytest.mark.parametrize(
    ("now", "said"), [(b"changed", None), (b"edited by hand", "/boot/config.txt is not as stage 1 left it")]
)
def test_a_config_txt_that_was_changed_since_is_put_back_and_that_is_said(
    old: System, devices: tuple[str, str], handover: Handover, tmp_path: Path, now: bytes, said: str | None
) -> None:
    voice = console()
    handover = changed_boot(old, voice, handover, now=now)
    with oldsystem.mounted_beside(System("/"), old, handover, voice):
        oldsystem.restore_boot(System("/"), old, handover, voice)
    assert config_on(devices[1], tmp_path) == "as it was"
    assert any("is not as stage 1 left it" in line for line in voice.lines) == bool(said)
    assert said is None or any(said in line for line in voice.lines)


def test_a_config_txt_that_is_gone_is_there_again(
    old: System, devices: tuple[str, str], handover: Handover, tmp_path: Path
) -> None:
    voice = console()
    handover = changed_boot(old, voice, handover)
    with oldsystem.mounted_beside(System("/"), old, handover, voice):
        with kernel.writable(old.real("/boot")):
            old.remove_file("/boot/config.txt")
        oldsystem.restore_boot(System("/"), old, handover, voice)
    assert config_on(devices[1], tmp_path) == "as it was"
    assert any("/boot/config.txt is not as stage 1 left it" in line for line in voice.lines)


def test_without_a_record_of_the_old_config_txt_the_migration_goes_on(old: System, handover: Handover) -> None:
    """As with NO_SETUP: nothing was changed, so nothing is put back."""
    voice = console()
    with oldsystem.mounted_beside(System("/"), old, handover, voice):
        oldsystem.restore_boot(System("/"), old, handover, voice)
        assert old.read_text("/boot/config.txt") == "as it was"


def test_unmount_lets_go_of_all_and_keep_outcome_mounts_the_root_again(old: System, handover: Handover) -> None:
    voice = console()
    with oldsystem.mounted_beside(System("/"), old, handover, voice):
        taken: list[Taken] = []
        oldsystem.unmount(System("/"), old, taken)
        assert not old.root.is_mount()
        result = Stage2Result(ending=Stage2Ending.FAILED, step=Step.UNMOUNT, reason="x")
        oldsystem.keep_result(System("/"), old, handover, taken, result, voice)
    assert old.root.is_mount()
    assert find_stage2_result(old) == result


def test_a_busy_file_system_is_not_let_go(old: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "UNMOUNT_TRIES", 2)
    with old.real("/image").open("rb"), pytest.raises(DiskError, match="busy"):
        oldsystem.unmount(System("/"), old, [])
    assert old.root.is_mount()


def test_files_are_in_memory_inside_of_the_block_and_nowhere_after_it(
    old: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stash, "MEMORY", tmp_path / "memory")
    dropped: list[bool] = []
    monkeypatch.setattr(kernel, "drop_caches", lambda: dropped.append((tmp_path / "memory/image").exists()))
    file = StoredFile(path="/image", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    said = console()
    with stash.in_memory(System("/"), old, [file, file], 0, said) as found, found.open(file) as image:
        assert re.search(r"memory-bytes \d+, of which \d+ are available$", said.lines[0])
        assert dropped == [False, True], "before memory is judged, and judged again"
        assert image.read() == CONTENT
        assert (tmp_path / "memory").is_mount()
        assert (tmp_path / "memory").stat().st_mode & 0o777 == 0o700, "config.json is in it"
    assert not (tmp_path / "memory").is_mount()


def test_too_little_memory_is_found_before_anything_is_copied(old: System) -> None:
    file = StoredFile(path="/image", size_bytes=1 << 50, sha256="")
    with (
        pytest.raises(MigrateError, match="memory is too small"),
        stash.in_memory(System("/"), old, [file], 0, console()),
    ):
        pass


def test_backup_and_log_are_on_the_data_partition_for_root_only(
    devices: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "DATA", tmp_path / "data")
    (tmp_path / "none").write_bytes(CONTENT)
    backup = DataFile(file=NOTHING, name="backup.tgz")
    transfer.transfer(devices[1], (backup,), stash.RamStash(tmp_path), "the log\n")
    with kernel.mounted(devices[1], tmp_path / "look", "ext4", read_only=True) as point:
        assert (point / "backup.tgz").read_bytes() == CONTENT
        assert (point / "migrate.log").read_text() == "the log\n"
        assert {path.stat().st_mode & 0o777 for path in (point / "backup.tgz", point / "migrate.log")} == {0o600}
        assert not list(point.glob(".*.new"))


def test_a_log_drive_gets_every_line_and_one_that_is_missing_is_said(
    devices: tuple[str, str], tmp_path: Path, handover: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oldsystem, "LOG_DRIVE", tmp_path / "log")
    voice = console()
    voice.say("before")
    drive = FileSystem(uuid=UUIDS[1], fstype="ext4", mount_point="")
    with_drive = Handover(**{**vars(handover), "log_file_system": drive})
    with oldsystem.logging_to_drive(System("/"), with_drive, voice):
        voice.say("after")
    with kernel.mounted(devices[1], tmp_path / "look", "ext4", read_only=True) as point:
        text = (point / "migrate.log").read_text()
    assert "before" in text
    assert "after" in text
    monkeypatch.setattr("balena_migrate.images.partitions.known_disk.WAIT_S", 0)
    gone = FileSystem(uuid="no-such-uuid", fstype="ext4", mount_point="")
    without = Handover(**{**vars(handover), "log_file_system": gone})
    with oldsystem.logging_to_drive(System("/"), without, voice):
        pass
    assert "no log drive" in voice.lines[-1]
