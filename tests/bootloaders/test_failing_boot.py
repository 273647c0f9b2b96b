# SPDX-License-Identifier: Apache-2.0
"""A boot partition that is full, read-only or damaged: a clear error, and everything as it was."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.bootloaders.raspberrypi.firmware import BOOT_LOADER
from balena_migrate.core import journal
from balena_migrate.core.changes import Action, ActionName, MakeDir, Produce, WriteFile, take_back
from balena_migrate.core.errors import FileError, JournalError, MigrateError
from balena_migrate.core.journal import JournalState
from balena_migrate.core.paths import INITRAMFS_NAME, STAGE2_CONFIG, STATE_DIR, WORK_DIR
from balena_migrate.core.system import Result, System
from balena_migrate.initramfs import initramfs_tools
from balena_migrate.initramfs._cpio import Archive
from balena_migrate.settings import Config
from balena_migrate.stage2 import kernel
from tests.support.raspberrypi import CMDLINE, facts
from tests.support.system import quiet, tree

BOOT_FILES = {"config.txt": b"arm_64bit=1\r\n[pi4]", "cmdline.txt": CMDLINE.encode()}
INITRAMFS_BYTES = 96 << 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("boot", "etc/initramfs-tools", "var/lib", "root"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    fill(tmp_path / "root/boot")
    (tmp_path / "root/proc/self").mkdir(parents=True)
    (tmp_path / "root/proc/self/mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    return tmp_path / "root"


def fill(boot: Path) -> None:
    for name, content in BOOT_FILES.items():
        (boot / name).write_bytes(content)


def mkinitramfs(root: Path) -> Callable[..., Result]:
    """In place of the device's programs: an initramfs of a known size with the right content."""

    def runner(argv: Any, data: bytes | None, timeout_s: float | None) -> Result:
        if "mkinitramfs" in argv:
            (root / argv[argv.index("-o") + 1].lstrip("/")).write_bytes(INITRAMFS)
        return Result(stdout=b"", stderr=b"", returncode=0)

    return runner


def make_initramfs(size_bytes: int) -> bytes:
    """Padded with zeros, over which every reader goes on."""
    plain = io.BytesIO()
    archive = Archive(plain)
    for name in initramfs_tools.IN_INITRAMFS:
        archive.file(name, b"")
    archive.end()
    return gzip.compress(plain.getvalue()).ljust(size_bytes, b"\0")


INITRAMFS = make_initramfs(INITRAMFS_BYTES)


def actions() -> tuple[Action, ...]:
    """Those of stage 1 that touch the boot partition, and one before them."""

    def make(system: System, path: str) -> None:
        initramfs_tools.make_initramfs(system, "6.1", path)

    files = {f"/boot/{name}": content.decode() for name, content in BOOT_FILES.items()}
    return (
        MakeDir(name=ActionName.WORK_DIR, title="a folder", path=WORK_DIR),
        WriteFile(name=ActionName.BOOT_NEXT, title="the hand-over", path=STAGE2_CONFIG, content=b"{}"),
        Produce(name=ActionName.BACKUP, title="the initramfs", path=f"/boot/{INITRAMFS_NAME}", make=make),
        *BOOT_LOADER.boot_actions(Config(image_name="x"), facts(files)),
    )


def apply_all(root: Path) -> None:
    journal.apply(System(root, runner=mkinitramfs(root)), actions(), quiet, arm=True)


@pytest.fixture
def small_boot(root: Path) -> Iterator[Callable[[int], Path]]:
    """Makes /boot a file system of its own, of so many bytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    boot = root / "boot"

    def make(size_bytes: int) -> Path:
        kernel.mount("tmpfs", boot, "tmpfs", options=f"size={size_bytes}")
        fill(boot)
        return boot

    try:
        yield make
    finally:
        if boot.is_mount():
            kernel.unmount(boot)


PAGE = os.sysconf("SC_PAGE_SIZE")
NEEDED = INITRAMFS_BYTES + 4 * PAGE
"""The initramfs, the two files that are there, and the two that are written."""


@pytest.mark.loop
def test_with_just_enough_room_stage_1_comes_to_its_end(root: Path, small_boot: Callable[[int], Path]) -> None:
    boot = small_boot(NEEDED + PAGE)  # config.txt is there twice for a moment
    apply_all(root)
    assert journal.read_journal(System(root)).state is JournalState.ARMED
    assert (boot / INITRAMFS_NAME).stat().st_size == INITRAMFS_BYTES


@pytest.mark.loop
@pytest.mark.parametrize("pages", range(2, NEEDED // PAGE + 1, 5))
def test_a_full_boot_partition_is_as_it_was(root: Path, small_boot: Callable[[int], Path], pages: int) -> None:
    """Whichever write is the one that fails: the first half of the initramfs, or config.txt itself."""
    before, boot = tree(root), small_boot(pages * PAGE)
    with pytest.raises(FileError, match=r"/boot/.*No space left on device"):
        apply_all(root)
    assert {path.name: path.read_bytes() for path in boot.iterdir()} == BOOT_FILES
    kernel.unmount(boot)
    assert tree(root) == before
    assert journal.read_journal(System(root)).state is JournalState.UNDONE


@pytest.mark.loop
def test_a_read_only_boot_partition_is_named_and_all_else_is_taken_back(
    root: Path, small_boot: Callable[[int], Path]
) -> None:
    """As the kernel makes it on finding its FAT damaged, after the checks."""
    before, boot = tree(root), small_boot(1 << 20)
    kernel.remount(boot, read_only=True)
    with pytest.raises(MigrateError, match="Read-only file system"):
        apply_all(root)
    kernel.unmount(boot)
    assert tree(root) == before


class BrokenDisk:
    """From the n-th call on that touches a file of /boot every such call fails, as on a disk that has gone."""

    CALLS = ("open", "rename", "unlink", "fsync", "fchmod", "utime", "stat")

    def __init__(self, patch: pytest.MonkeyPatch, boot: Path, first: int) -> None:
        self.boot, self.first, self.count = str(boot) + "/", first, 0
        self.handles: set[int] = set()
        for name in self.CALLS:
            patch.setattr(os, name, self._wrapped(getattr(os, name), name))

    def _wrapped(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            mine = args[0] in self.handles if isinstance(args[0], int) else os.fspath(args[0]).startswith(self.boot)
            if mine:
                self.count += 1
                if self.count >= self.first:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            result = call(*args, **kwargs)
            if name == "open":
                (self.handles.add if mine else self.handles.discard)(result)
            return result

        return wrapper


def test_a_disk_that_fails_at_any_moment_ends_in_a_clear_error_and_undo_finishes_later(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that lies elsewhere is taken back at once, and the boot partition as soon as it answers again."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of them, on a disk that others use
    before, number = tree(root), 0
    while True:
        number += 1
        with monkeypatch.context() as patch:
            BrokenDisk(patch, root / "boot", number)
            try:
                apply_all(root)
            except MigrateError as error:
                reason = str(error)
            else:
                break
        assert "Input/output error" in reason
        elsewhere = {name: value for name, value in tree(root).items() if not name.startswith("boot/")}
        assert elsewhere == {name: value for name, value in before.items() if not name.startswith("boot/")}
        if journal.read_journal(System(root)).state is not JournalState.UNDONE:
            journal.undo(System(root), quiet)
        assert tree(root) == before
        shutil.rmtree(root / STATE_DIR.lstrip("/"))
    assert number > 20


@pytest.mark.loop
def test_undo_on_a_read_only_boot_partition_says_so_and_does_the_rest(
    root: Path, small_boot: Callable[[int], Path]
) -> None:
    boot = small_boot(1 << 20)
    apply_all(root)
    kernel.remount(boot, read_only=True)
    with pytest.raises(JournalError, match=r"/boot/config\.txt: Read-only file system"):
        journal.undo(System(root), quiet)
    assert not (root / STAGE2_CONFIG.lstrip("/")).exists()
    kernel.remount(boot, read_only=False)
    journal.undo(System(root), quiet)
    assert {path.name: path.read_bytes() for path in boot.iterdir()} == BOOT_FILES


def test_a_file_that_cannot_be_read_any_more_is_written_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken chain of clusters: what is there is lost, and the old content is known."""
    system = System(root)
    record = WriteFile(name=ActionName.BOOT_NEXT, title="", path="/boot/config.txt", content=b"new").capture(system)
    (root / "boot/config.txt").write_bytes(b"new")
    with monkeypatch.context() as patch:
        patch.setattr(system, "read_bytes", broken)
        take_back(system, record)
    assert (root / "boot/config.txt").read_bytes() == BOOT_FILES["config.txt"]


def broken(path: object, **_: object) -> bytes:
    raise FileError(str(path), os.strerror(errno.EIO))


def test_a_config_txt_that_cannot_be_read_is_not_touched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(root)
    system = System(root, runner=mkinitramfs(root))
    original = system.read_bytes

    def read_bytes(path: Any, **more: Any) -> bytes:
        return broken(path) if str(path) == "/boot/config.txt" else original(path, **more)

    monkeypatch.setattr(system, "read_bytes", read_bytes)
    with pytest.raises(FileError, match=r"/boot/config\.txt: Input/output error"):
        journal.apply(system, actions(), quiet, arm=True)
    assert tree(root) == before
