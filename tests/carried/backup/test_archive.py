# SPDX-License-Identifier: Apache-2.0
"""What real busybox tar makes of our archives, and the form that every supervisor can restore."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import resource
import shutil
import socket
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.carried.backup import BackupItem, BackupPlan, BackupResult, make_backup, plan_backups
from balena_migrate.carried.backup import archive as archive_module
from balena_migrate.carried.backup.sink import BATCH_BYTES, GzipSink
from balena_migrate.core.errors import BackupError
from balena_migrate.core.system import System
from balena_migrate.settings import Config


def quiet(done: int, total: int) -> None:
    """No progress."""


def config(tmp_path: Path, **values: object) -> Config:
    return Config(home_dir=str(tmp_path / "home"), **values)  # type: ignore[arg-type]


def back_up(tmp_path: Path, settings: Config) -> tuple[BackupPlan, BackupResult]:
    (tmp_path / "home").mkdir(exist_ok=True)
    system = System("/")
    plan = plan_backups(settings, system)[-1]
    return plan, make_backup(system, plan, settings.in_home(settings.backup_file), quiet)


def make_tree(folder: Path) -> None:
    """Something of everything that an archive can hold."""
    (folder / "sub/deeper").mkdir(parents=True)
    (folder / "sub/deeper").chmod(0o2751)
    (folder / "empty").mkdir(mode=0o700)
    (folder / "file").write_bytes(os.urandom(70_000))
    (folder / "file").chmod(0o4750)
    (folder / "nothing").touch()
    (folder / "sub/a b\nc'\"").write_text("blank, newline and quotes in its name")
    os.close(os.open(os.fsencode(folder) + b"/sub/\xff\xfe", os.O_CREAT | os.O_WRONLY, 0o600))
    (folder / "sub" / ("n" * 200)).write_text("a long name")
    os.link(folder / "file", folder / "sub/hard")
    (folder / "sub/link").symlink_to("../file")
    (folder / "sub/dangling").symlink_to("/nowhere/" + "x" * 150)
    (folder / "sub/loop").symlink_to("loop")
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(3_000_000)
        sparse.seek(1_000_000)
        sparse.write(b"island")
    for path in (folder / "file", folder / "nothing", folder / "sparse"):
        os.utime(path, (1_600_000_000, 1_500_000_000))
    if os.geteuid() == 0:
        os.chown(folder / "nothing", 1234, 4321)
        os.chown(folder / "sub/deeper", 70_000, 3_000_000)


def snapshot(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """All that has to be the same after a restore. (busybox keeps no owner of a link; nothing depends on one.)"""
    found: dict[bytes, tuple[object, ...]] = {}
    top = os.fsencode(folder)
    for parent, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(parent, name)
            info = os.lstat(path)
            content: object = None
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    content = (hashlib.sha256(file.read()).hexdigest(), int(info.st_mtime), info.st_nlink)
            elif stat.S_ISLNK(info.st_mode):
                found[os.path.relpath(path, top)] = (info.st_mode, os.readlink(path))
                continue
            found[os.path.relpath(path, top)] = (info.st_mode, info.st_uid, info.st_gid, content)
    return found


def members(path: str) -> list[tarfile.TarInfo]:
    with tarfile.open(path, "r:gz") as tar:
        return tar.getmembers()


def assert_supervisor_form(path: str, volumes: set[str]) -> None:
    """The rules of the restore: ./volume/... only, folders at the top, and nothing but plain GNU tar in gzip."""
    with gzip.open(path) as file:
        raw = file.read()
    found = members(path)
    assert len(raw) % tarfile.RECORDSIZE == 0 and raw.endswith(bytes(1024))
    assert found[0].name == "." and found[0].isdir()
    for member in found:
        assert member.name == "." or member.name.startswith("./")
        assert not member.pax_headers and not member.issparse()
        assert member.uname == member.gname == ""
    tops = {m.name: m for m in found if m.name.count("/") == 1}
    assert set(tops) == {f"./{volume}" for volume in volumes}
    assert all(member.isdir() for member in tops.values())


@pytest.mark.processes
@pytest.mark.parametrize("member", [[], ["."]], ids=["from 10.3.2", "8.7.0 to 10.3.1"])
def test_busybox_restores_volumes_exactly(tmp_path: Path, member: list[str]) -> None:
    make_tree(tmp_path / "source")
    plan, result = back_up(tmp_path, config(tmp_path, backup_volumes=(f"data={tmp_path}/source",)))
    assert result.skipped == ()
    assert result.name_on_data == "backup.tgz"
    assert_supervisor_form(result.path, {"data"})
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["busybox", "tar", "-xzf", result.path, "-C", str(out), *member], check=True)
    assert snapshot(out / "data") == snapshot(tmp_path / "source")
    assert plan.file_count == result.file_count - 1  # the member for "." itself


@pytest.mark.processes
def test_busybox_restores_a_plain_archive(tmp_path: Path) -> None:
    make_tree(tmp_path / "source")
    _, result = back_up(tmp_path, config(tmp_path, backup_directories=(str(tmp_path / "source"),)))
    assert result.name_on_data == "migration-backup.tgz"
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["busybox", "tar", "-xzf", result.path, "-C", str(out)], check=True)
    assert snapshot(out / str(tmp_path / "source").lstrip("/")) == snapshot(tmp_path / "source")


def test_result_describes_the_file(tmp_path: Path) -> None:
    make_tree(tmp_path / "source")
    _, result = back_up(tmp_path, config(tmp_path, backup_directories=(str(tmp_path / "source"),)))
    content = Path(result.path).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (result.size_bytes, result.sha256)
    assert len(gzip.decompress(content)) == result.archive_bytes
    assert result.file_count == len(members(result.path))
    assert stat.S_IMODE(Path(result.path).stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "home") == ["backup.tgz"]


def test_progress_is_told_by_the_mebibyte_and_at_the_end(tmp_path: Path) -> None:
    """Showing each of many small files would take longer than reading it."""
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "home").mkdir()
    for number in range(30):
        (source / f"{number}").write_bytes(bytes(100_000))
    settings = config(tmp_path, backup_directories=(str(source),))
    plan = plan_backups(settings, System("/"))[-1]
    told: list[tuple[int, int]] = []
    make_backup(System("/"), plan, settings.in_home("backup.tgz"), lambda *progress: told.append(progress))
    assert [done for done, _ in told] == [1_100_000, 2_200_000, 3_000_000]
    assert {total for _, total in told} == {plan.archive_bytes}


def test_the_archive_does_not_contain_itself_or_the_image(tmp_path: Path) -> None:
    """Neither the one being made, nor the one of an earlier run."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/backup.tgz").write_text("an older one")
    (tmp_path / "home/backup.tgz.before-balena-migrate").write_text("the one before")
    (tmp_path / "home/os.img.gz").write_text("image")
    (tmp_path / "home/notes").write_text("kept")
    settings = config(tmp_path, backup_directories=(str(tmp_path),), image_name="os.img.gz")
    _, result = back_up(tmp_path, settings)
    names = [Path(member.name).name for member in members(result.path)]
    assert "notes" in names
    assert set(os.listdir(tmp_path / "home")) & set(names) == {"notes"}
    assert {skipped.reason for skipped in result.skipped} == {"the backup itself", "an earlier backup", "the image"}


def test_sockets_fifos_and_devices_are_skipped_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.mkfifo(source / "fifo")
    monkeypatch.chdir(source)  # a socket's path is limited to 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    (source / "file").write_text("x")
    _, result = back_up(tmp_path, config(tmp_path, backup_directories=(str(source),)))
    told = {Path(skipped.path).name: skipped.reason for skipped in result.skipped}
    assert told == {"fifo": "a FIFO", "socket": "a socket"}
    assert [Path(m.name).name for m in members(result.path)] == ["source", "file"]


def test_kernel_file_systems_are_not_entered(tmp_path: Path) -> None:
    for name in ("proc/1", "etc", "run/lock", "home"):
        (tmp_path / "root" / name).mkdir(parents=True)
    (tmp_path / "root/etc/hosts").write_text("x")
    (tmp_path / "root/proc/1/mem").write_text("x")
    system = System(tmp_path / "root")
    plan = plan_backups(Config(home_dir="/home", backup_directories=("/",)), system)[-1]
    result = make_backup(system, plan, "/home/backup.tgz", quiet)
    names = {m.name for m in members(str(tmp_path / "root/home/backup.tgz"))}
    assert names == {".", "./etc", "./etc/hosts", "./home", "./proc", "./run"}
    assert {s.path for s in result.skipped} == {"/proc", "/run", "/home/.backup.tgz.balena-migrate"}


def test_unreadable_and_vanished_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("gone", "kept", "secret", "swapped"):
        (source / name).write_text(name)
    opened = os.open

    def moody(path: str, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith("/gone"):
            (source / "gone").unlink()
        if str(path).endswith("/secret"):
            raise PermissionError(13, "no")
        if str(path).endswith("/swapped"):
            (source / "swapped").unlink()
            os.mkfifo(source / "swapped")
        return opened(path, flags, mode)

    plan = plan_backups(config(tmp_path, backup_directories=(str(source),)), System("/"))[-1]
    monkeypatch.setattr(os, "open", moody)
    result = make_backup(System("/"), plan, str(tmp_path / "out.tgz"), quiet)
    told = {Path(skipped.path).name: skipped.reason for skipped in result.skipped}
    assert told == {
        "gone": "No such file or directory",
        "secret": "Permission denied",
        "swapped": "is no longer a file",
    }
    assert [Path(m.name).name for m in members(result.path)] == ["source", "kept"]


def during_reading(monkeypatch: pytest.MonkeyPatch, happen: Callable[[int], None]) -> None:
    """`happen` is called with 1, 2, ... each time after a piece of a file was read."""
    reads = 0
    read = archive_module.read_chunk

    def watched(*args: object) -> bytes:
        nonlocal reads
        data = read(*args)  # type: ignore[arg-type]
        reads += 1
        happen(reads)
        return data

    monkeypatch.setattr(archive_module, "read_chunk", watched)


def test_a_file_that_changes_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written of the first reading is not in the archive, and its checksum is right."""
    source = tmp_path / "source"
    source.mkdir()
    file = source / "file"
    file.write_bytes(os.urandom(3_000_000))

    def happen(count: int) -> None:
        if count == 1:
            file.write_bytes(b"new")

    during_reading(monkeypatch, happen)
    _, result = back_up(tmp_path, config(tmp_path, backup_directories=(str(source),)))
    assert result.skipped == ()
    with tarfile.open(result.path) as tar:
        extracted = tar.extractfile(tar.getmembers()[1])
        assert extracted is not None and extracted.read() == b"new"
    assert hashlib.sha256(Path(result.path).read_bytes()).hexdigest() == result.sha256
    assert result.size_bytes < 1000


def test_a_small_file_that_changes_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_bytes(b"old" * 100)

    def happen(count: int) -> None:
        if count == 1:
            (source / "a").write_bytes(b"new")

    during_reading(monkeypatch, happen)
    _, result = back_up(tmp_path, config(tmp_path, backup_directories=(str(source),)))
    assert result.skipped == ()
    with tarfile.open(result.path) as tar:
        files = [tar.extractfile(member) for member in tar.getmembers()[1:]]
        assert [file.read() for file in files if file] == [b"new", b"old" * 100]


@pytest.mark.parametrize("size_bytes", [1000, 3_000_000], ids=["small", "large"])
def test_a_file_that_cannot_be_read_is_not_in_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_bytes(os.urandom(size_bytes))
    read, reads = os.read, 0

    def failing(fd: int, count: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == (1 if size_bytes == 1000 else 2):
            raise OSError(5, "Input/output error")
        return read(fd, count)

    plan = plan_backups(config(tmp_path, backup_directories=(str(source),)), System("/"))[-1]
    monkeypatch.setattr(os, "read", failing)
    result = make_backup(System("/"), plan, str(tmp_path / "out.tgz"), quiet)
    assert [(Path(s.path).name, s.reason) for s in result.skipped] == [("a", "Input/output error")]
    assert [(Path(m.name).name, m.size) for m in members(result.path)] == [("source", 0), ("b", size_bytes)]


def test_a_new_file_with_the_number_of_a_removed_one_is_no_link_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inode numbers are used again; only a file with several names can be a link to an earlier member."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("old")
    os.link(source / "a", tmp_path / "other")
    (source / "b").write_text("new")
    one = os.lstat(source / "a")
    looked = os.lstat

    def alike(path: str) -> os.stat_result:
        info = looked(path)
        if not path.endswith("/source/b"):
            return info
        return os.stat_result((info.st_mode, one.st_ino, one.st_dev, 1, *info[4:]), {"st_mtime": info.st_mtime})

    plan = plan_backups(config(tmp_path, backup_directories=(str(source),)), System("/"))[-1]
    monkeypatch.setattr(os, "lstat", alike)
    result = make_backup(System("/"), plan, str(tmp_path / "out.tgz"), quiet)
    assert [member.type for member in members(result.path)] == [tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.REGTYPE]


def test_a_disk_that_fills_up_leaves_the_old_archive_and_nothing_else(tmp_path: Path) -> None:
    """The thread that writes meets the error; it is not lost there."""
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    home.mkdir()
    (home / "backup.tgz").write_text("older")
    (source / "file").write_bytes(os.urandom(8_000_000))
    settings = config(tmp_path, backup_directories=(str(source),))
    plan = plan_backups(settings, System("/"))[-1]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(BackupError, match="File too large"):
            make_backup(System("/"), plan, settings.in_home("backup.tgz"), quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_text() for path in home.iterdir()} == {"backup.tgz": "older"}
    assert [thread.name for thread in threading.enumerate() if thread.name == "backup"] == []


class FailsOnce(io.BytesIO):
    """A file whose second write fails; the others do not."""

    writes = 0

    def write(self, data: Any, /) -> int:
        self.writes += 1
        if self.writes == 2:
            raise OSError(5, "Input/output error")
        return super().write(data)


def test_an_error_of_a_single_write_is_not_forgotten() -> None:
    def pack() -> None:
        with GzipSink(FailsOnce()) as sink:
            for _ in range(4):
                sink.write(os.urandom(BATCH_BYTES))
            sink.finish()

    with pytest.raises(OSError, match="Input/output error"):
        pack()


@pytest.mark.parametrize("change", ["grow", "shrink"])
def test_a_file_that_keeps_changing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    file = source / "a"
    file.write_bytes(b"x" * 2_500_000)
    (source / "b").write_text("after it")

    def happen(count: int) -> None:
        os.truncate(file, file.stat().st_size + (70_000 if change == "grow" else -70_000))

    during_reading(monkeypatch, happen)
    _, result = back_up(tmp_path, config(tmp_path, backup_directories=(str(source),)))
    told = {Path(skipped.path).name: skipped.reason for skipped in result.skipped}
    assert told == {"a": "changed while it was read, 3 times; it is there as last read"}
    assert [Path(m.name).name for m in members(result.path)] == ["source", "a", "b"]


def test_a_failing_disk_leaves_the_old_archive_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/backup.tgz").write_text("older")
    (tmp_path / "source").mkdir()

    def full(fd: int) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BackupError, match="No space left"):
        back_up(tmp_path, config(tmp_path, backup_directories=(str(tmp_path / "source"),)))
    assert {p.name: p.read_text() for p in (tmp_path / "home").iterdir()} == {"backup.tgz": "older"}


def test_overlapping_items_lose_nothing_silently(tmp_path: Path) -> None:
    """Of two files for one place the first wins and the other is told; made-up folders do not hide real ones."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir(mode=0o711)
        (tmp_path / name / "same").write_text(name)
    (tmp_path / "extra").write_text("extra")
    items = (
        BackupItem(source=str(tmp_path / "one"), name="./v"),
        BackupItem(source=str(tmp_path / "two"), name="./v"),
        BackupItem(source=str(tmp_path / "extra"), name="./v/sub/extra"),
    )
    plan = BackupPlan(name="backup.tgz", items=items, volumes=("v",), name_on_data="backup.tgz", left_out={})
    result = make_backup(System("/"), plan, str(tmp_path / "out.tgz"), quiet)
    assert [(Path(s.path).parent.name, s.reason) for s in result.skipped] == [
        ("two", f"{tmp_path}/one/same has its name in the archive already")
    ]
    found = {m.name: m.mode for m in members(result.path)}
    assert list(found) == [".", "./v", "./v/same", "./v/sub", "./v/sub/extra"]
    assert found["./v"] == 0o711


def test_a_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    plan = BackupPlan(name="backup.tgz", items=(), name_on_data="x.tgz", left_out={})
    with pytest.raises(BackupError, match="nothing in the backup"):
        make_backup(System("/"), plan, str(tmp_path / "x.tgz"), quiet)


def test_a_monster_that_shrinks_is_not_filled_up_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header for 8 TiB is written; then the file is cut to nothing."""
    (tmp_path / "source").mkdir()
    (tmp_path / "home").mkdir()
    settings = config(tmp_path, backup_directories=(str(tmp_path / "source"),))
    plan = plan_backups(settings, System("/"))[-1]
    monkeypatch.setattr("balena_migrate.carried.backup.make.GROWTH_BYTES", 10 << 20)
    monster = tmp_path / "source/monster"
    monster.touch()
    os.truncate(monster, 8 << 40)
    during_reading(monkeypatch, lambda count: os.truncate(monster, 0))
    with pytest.raises(BackupError, match="grow faster"):
        make_backup(System("/"), plan, settings.in_home("backup.tgz"), quiet)


def test_endless_growth_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balena_migrate.carried.backup.make.GROWTH_BYTES", 1000)
    (tmp_path / "source").mkdir()
    (tmp_path / "home").mkdir()
    settings = config(tmp_path, backup_directories=(str(tmp_path / "source"),))
    plan = plan_backups(settings, System("/"))[-1]
    (tmp_path / "source/log").write_bytes(bytes(10_000))
    with pytest.raises(BackupError, match="grow faster"):
        make_backup(System("/"), plan, settings.in_home("backup.tgz"), quiet)
    assert os.listdir(tmp_path / "home") == []
    shutil.rmtree(tmp_path / "source")
