# SPDX-License-Identifier: Apache-2.0
"""All that an initramfs may have mounted below the old root is let go, and is there again on the way back."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import DiskError
from balena_migrate.core.handover import FileSystem
from balena_migrate.core.mountinfo import MountInfo
from balena_migrate.core.stage2_result import find_stage2_result
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.stage2 import kernel, mounts, oldsystem
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.frame import CameBackError, Stage2, before_the_line
from balena_migrate.stage2.target import open_disk
from tests.support.handover import HANDOVER

pytestmark = [
    pytest.mark.long,
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]

MS_PRIVATE = 1 << 18
"""As all mounts of an initramfs are; what is mounted on a shared one cannot be moved (Linux, sharedsubtree.rst)."""
ROOT_UUID = str(uuid.uuid4())
FOLDERS = ("usr", "local", "media", "srv", "etc", "run", "mnt/a b", "opt", "var/lib/app", "boot")


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def ext4(folder: Path, name: str, *options: str) -> Iterator[str]:
    """A loop device with a file system that has the usual folders and a file that tells its name."""
    tree, file = folder / f"{name}.tree", folder / f"{name}.fs"
    for part in FOLDERS:
        (tree / part).mkdir(parents=True)
    (tree / "name").write_text(name)
    (tree / "etc/app.cfg").touch()
    with file.open("wb") as target:
        target.truncate(16 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", tree, file)
    device = run("losetup", "--find", "--show", file)
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@pytest.fixture
def stage2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage2]:
    """The old system as an initramfs may have mounted it."""
    monkeypatch.setattr(mounts, "ASIDE", tmp_path / "aside")
    root = tmp_path / "rootmnt"
    with ExitStack() as held:
        devices = {
            "root": held.enter_context(ext4(tmp_path, "root", "-U", ROOT_UUID)),
            "usr": held.enter_context(ext4(tmp_path, "usr")),
            "local": held.enter_context(ext4(tmp_path, "local")),
        }
        root.mkdir()
        kernel.mount(devices["root"], root, "ext4", flags=kernel.MS_RDONLY, options="data=journal,errors=panic")
        held.callback(unmount_all, root)
        kernel.mount("", root, "", flags=MS_PRIVATE)
        handover = replace(HANDOVER, file_systems=(FileSystem(uuid=ROOT_UUID, fstype="ext4", mount_point="/"),))
        kernel.mount(devices["usr"], root / "usr", "ext4", flags=kernel.MS_RDONLY | kernel.MS_NODEV | kernel.MS_NOATIME)
        kernel.mount(devices["local"], root / "usr/local", "ext4", flags=kernel.MS_NOSUID | kernel.MS_STRICTATIME)
        kernel.bind(root / "var/lib", root / "srv")
        kernel.bind(root / "name", root / "etc/app.cfg")
        kernel.bind(root / "usr/local/srv", root / "opt")
        kernel.set_mount_flags(root / "opt", kernel.MS_RDONLY)
        for point in ("run", "mnt/a b"):
            kernel.mount("tmpfs", root / point, "tmpfs", flags=kernel.MS_NOEXEC, options="size=1m,mode=750")
        (root / "run/note").write_text("in memory only")
        (root / "run/media").mkdir()
        kernel.mount(devices["local"], root / "run/media", "ext4")
        yield Stage2(handover=handover, machine=System("/"), old=System(root), console=Console(io.StringIO()))


def unmount_all(root: Path) -> None:
    for mount in reversed(oldsystem.mounts_of(System("/"), System(root))):
        kernel.unmount(Path(mount.mount_point))


def described(stage2: Stage2) -> set[MountInfo]:
    """All mounts of the old system, without their numbers, of which each mount gets new ones."""
    found = oldsystem.mounts_of(stage2.machine, stage2.old)
    return {replace(mount, mount_id=0, parent_id=0) for mount in found}


def names(old: System) -> list[str]:
    """Which file system is seen at each place."""
    return [old.read_text(f"{place}/name") for place in ("", "/usr", "/usr/local", "/run/media")]


def test_all_is_let_go_and_is_there_again_as_it_was(stage2: Stage2) -> None:
    before, old = described(stage2), stage2.old
    assert len(before) == 9
    assert names(old) == ["root", "usr", "local", "local"]
    oldsystem.unmount(stage2.machine, old, stage2.taken)
    assert described(stage2) == set()
    for item in stage2.taken:
        if item.device:
            with open_disk(Path(item.device)):
                pass  # nobody holds it
    oldsystem.mount_again(stage2.machine, stage2.taken, stage2.console)
    assert not stage2.console.lines
    assert stage2.taken == []
    assert described(stage2) == before
    assert names(old) == ["root", "usr", "local", "local"]
    assert old.read_text("/etc/app.cfg") == "root"
    assert old.read_text("/run/note") == "in memory only"
    assert old.is_dir("/srv/app")


def let_go_and_fail(stage2: Stage2) -> None:
    """As the strategy does it, where the disk cannot be claimed."""
    with (
        oldsystem.mounted_beside(stage2.machine, stage2.old, stage2.handover, stage2.console),
        before_the_line(stage2),
    ):
        oldsystem.unmount(stage2.machine, stage2.old, stage2.taken)
        with stage2.console.step(Step.CLAIM):
            raise DiskError("it is in use")


def test_a_disk_that_cannot_be_claimed_leads_back_to_all_of_it(stage2: Stage2) -> None:
    before = described(stage2)
    with pytest.raises(CameBackError, match="it is in use"):
        let_go_and_fail(stage2)
    assert described(stage2) == before
    result = find_stage2_result(stage2.old)
    assert result is not None
    assert (result.step, result.reason) == (Step.CLAIM, "it is in use")


def test_what_is_busy_leads_back_to_all_of_it(stage2: Stage2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "UNMOUNT_TRIES", 2)
    before = described(stage2)
    with stage2.old.real("/usr/name").open("rb"), pytest.raises(CameBackError, match="usr cannot be unmounted"):
        let_go_and_fail(stage2)
    assert described(stage2) == before


def test_what_cannot_be_mounted_again_is_said_and_the_rest_is_there(stage2: Stage2) -> None:
    before = described(stage2)
    oldsystem.unmount(stage2.machine, stage2.old, stage2.taken)
    gone = [item for item in stage2.taken if item.mount.mount_point.endswith("/run/media")]
    wrong = replace(gone[0], device="/dev/null")
    stage2.taken[stage2.taken.index(gone[0])] = wrong
    oldsystem.mount_again(stage2.machine, stage2.taken, stage2.console)
    assert stage2.taken == [wrong]
    assert "run/media cannot be mounted again as it was: /dev/null" in stage2.console.lines[-1]
    assert described(stage2) == before - {replace(gone[0].mount, mount_id=0, parent_id=0)}


def test_what_the_initramfs_has_mounted_stays_and_what_stage_2_has_mounted_does_not(
    stage2: Stage2, tmp_path: Path
) -> None:
    """Its own /usr among the file systems that stage 2 needs: the old system has to boot on with it."""
    boot_uuid, before = str(uuid.uuid4()), described(stage2)
    usr = run("blkid", "-o", "value", "-s", "UUID", next(m.source for m in before if m.mount_point.endswith("/usr")))
    with ext4(tmp_path, "boot", "-U", boot_uuid):
        needed = (
            *stage2.handover.file_systems,
            FileSystem(uuid=usr, fstype="ext4", mount_point="/usr"),
            FileSystem(uuid=boot_uuid, fstype="ext4", mount_point="/boot"),
        )
        handover = replace(stage2.handover, file_systems=needed)
        with oldsystem.mounted_beside(stage2.machine, stage2.old, handover, stage2.console):
            assert stage2.old.read_text("/boot/name") == "boot"
        assert described(stage2) == before


@pytest.mark.skipif(not shutil.which("mkfs.btrfs"), reason="no mkfs.btrfs")
def test_a_subvolume_is_mounted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "ASIDE", tmp_path / "aside")
    root, file = tmp_path / "rootmnt", tmp_path / "fs"
    with file.open("wb") as target:
        target.truncate(120 * MIB)
    run("mkfs.btrfs", "-q", file)
    device = run("losetup", "--find", "--show", file)
    voice, taken = Console(io.StringIO()), list[mounts.Taken]()
    try:
        with kernel.mounted(device, root, "btrfs"):
            run("btrfs", "subvolume", "create", root / "@")
            (root / "@/data").mkdir()
        kernel.mount(device, root, "btrfs", options="subvol=@,compress=zlib")
        kernel.mount("", root, "", flags=MS_PRIVATE)
        (root / "data/sub").mkdir()
        (root / "place").mkdir()
        kernel.bind(root / "data", root / "place")
        before = oldsystem.mounts_of(System("/"), System(root))
        assert [mount.root for mount in before] == ["/@", "/@/data"]
        oldsystem.unmount(System("/"), System(root), taken)
        oldsystem.mount_again(System("/"), taken, voice)
        after = oldsystem.mounts_of(System("/"), System(root))
        assert [replace(m, mount_id=0, parent_id=0, device="") for m in after] == [
            replace(m, mount_id=0, parent_id=0, device="") for m in before
        ]
        assert (root / "place/sub").is_dir()
    finally:
        unmount_all(root)
        run("losetup", "--detach", device)
