# SPDX-License-Identifier: Apache-2.0
"""The one door to the machine: paths stay inside of the root, files are whole, programs say why they failed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from balena_migrate.core.digest import Digest
from balena_migrate.core.errors import CommandError, FileError
from balena_migrate.core.system import System, temporary_beside


def test_links_are_followed_inside_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/resolv.conf").write_text("here")
    (tmp_path / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    (tmp_path / "etc/up.conf").symlink_to("../../../../run/resolv.conf")
    system = System(tmp_path)
    assert system.read_text("/etc/resolv.conf") == "here"
    assert system.read_text("/etc/up.conf") == "here"


def test_two_slashes_at_the_start_of_a_path_mean_one(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/cert.pem").write_text("certificate")
    (tmp_path / "link").symlink_to("//etc")
    system = System(tmp_path)
    assert system.read_text("//etc/cert.pem") == system.read_text("/link/cert.pem") == "certificate"
    assert system.without_links("//link/cert.pem") == "/etc/cert.pem"


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(FileError, match="symbolic links"):
        System(tmp_path).read_text("/a/x")


def test_what_a_link_contains(tmp_path: Path) -> None:
    (tmp_path / "devices/sda").mkdir(parents=True)
    (tmp_path / "block").symlink_to("/devices")
    (tmp_path / "devices/8:0").symlink_to("../else/sda")
    system = System(tmp_path)
    assert system.find_link("/block/8:0") == PurePosixPath("../else/sda")
    assert system.find_link("/block") == PurePosixPath("/devices")
    assert system.find_link("/block/sda") is None
    assert system.find_link("/absent/link") is None


def test_the_files_below_a_folder(tmp_path: Path) -> None:
    for name in ("boot/a", "boot/deep/b", "else/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "boot/link").symlink_to("../else")
    (tmp_path / "boot/lost").symlink_to("nowhere")
    (tmp_path / "here").symlink_to("/boot")
    system = System(tmp_path)
    assert sorted(map(str, system.files_below("/here"))) == ["/here/a", "/here/deep/b", "/here/lost"]
    assert list(system.files_below("/absent")) == []


def test_a_device_is_opened_where_it_is_and_without_a_buffer(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    os.mknod(tmp_path / "dev/node", 0o600 | stat.S_IFIFO)
    system = System(tmp_path)
    with ExitStack() as held:
        end = os.open(tmp_path / "dev/node", os.O_RDWR)
        held.callback(os.close, end)
        held.enter_context(system.open_device("/dev/node", writable=True)).write(b"fed")
        assert held.enter_context(system.open_device("/dev/node")).read(3) == b"fed"
    with pytest.raises(FileError, match=r"^/dev/absent: No such file"):
        system.open_device("/dev/absent", writable=True)
    assert not system.exists("/dev/absent")


def test_a_file_system_and_what_may_be_executed(tmp_path: Path) -> None:
    system = System(tmp_path)
    assert system.statvfs("/").f_blocks == os.statvfs(tmp_path).f_blocks
    with pytest.raises(FileError, match=r"^/absent: No such file"):
        system.statvfs("/absent")
    system.write_file("/run", b"", mode=0o755)
    system.write_file("/read", b"", mode=0o644)
    assert [system.is_executable(path) for path in ("/run", "/read", "/", "/absent")] == [True, False, False, False]


def test_a_fifo_and_a_folder_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("/fifo", "/"):
        with pytest.raises(FileError):
            System(tmp_path).read_bytes(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(FileError, match="larger than"):
        System(tmp_path).read_bytes("/big")


def test_write_file_leaves_content_and_mode_and_nothing_else(tmp_path: Path) -> None:
    system = System(tmp_path)
    system.write_file("/secret", b"one", mode=0o600)
    system.write_file("/secret", b"two", mode=0o640)
    assert (tmp_path / "secret").read_bytes() == b"two"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["secret"]


def half_a_file(system: System, error: BaseException) -> None:
    with system.replacing("/file") as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError(), OSError(errno.ENOSPC, "")])
def test_a_replacement_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileError if isinstance(error, OSError) else type(error)):
        half_a_file(System(tmp_path), error)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_replacement_takes_its_place_at_the_end_and_only_then(tmp_path: Path) -> None:
    system = System(tmp_path)
    with system.replacing("/file", mode=0o640) as file:
        file.write(b"new")
        assert not system.exists("/file")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


class Calls:
    """The calls into the kernel that decide in which order FAT is written, in words."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self._open: dict[int, str] = {}
        for name in ("open", "close", "fsync", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            found = call(*args, **kwargs)
            if name == "open":
                self._open[found] = f"{Path(args[0]).name}{' held' if args[1] & os.O_PATH else ''}"
            subject = self._open[found if name == "open" else args[0]] if name in ("open", "close", "fsync") else ""
            self.made.append(f"{name} {subject or ' '.join(Path(arg).name for arg in args)}")
            return found

        return wrapper


def test_an_old_file_is_held_until_its_name_leads_to_the_new_one_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On FAT its clusters are freed by then and not before (tests/vm/test_fat_writes)."""
    system, folder, beside = System(tmp_path), tmp_path.name, ".file.balena-migrate"
    (tmp_path / "file").write_bytes(b"old")
    with monkeypatch.context() as patch:
        calls = Calls(patch)
        system.write_file("/file", b"new")
    tail = ["open file held", f"rename {beside} file", f"fsync {beside}"]
    assert calls.made[2:] == [*tail, f"open {folder}", f"fsync {folder}", f"close {folder}", "close file held"]


def test_a_moved_file_and_a_removed_one_are_on_the_disk_before_the_old_one_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, folder = System(tmp_path), tmp_path.name
    for name in ("source", "file"):
        (tmp_path / name).write_bytes(name.encode())
    with monkeypatch.context() as patch:
        calls = Calls(patch)
        system.move("/source", "/file")
        moved, calls.made = calls.made, []
        system.remove_file("/file")
    flushed = [f"open {folder}", f"fsync {folder}", f"close {folder}", "close file held"]
    entry = ["open file", "fsync file", "close file"]
    assert moved == ["open file held", "rename source file", *entry, *flushed]
    assert calls.made == ["open file held", "unlink file", *flushed]


def test_copy_names_the_file_that_failed(tmp_path: Path) -> None:
    system = System(tmp_path)
    system.write_file("/source", b"x" * (3 << 20))
    system.copy("/source", "/copy")
    assert system.digest("/copy") == system.digest("/source")
    assert system.digest("/copy") == Digest(size_bytes=3 << 20, sha256=hashlib.sha256(b"x" * (3 << 20)).hexdigest())
    with pytest.raises(FileError, match=r"^/missing: No such file"):
        system.copy("/missing", "/copy")
    with pytest.raises(FileError, match=r"^/no/folder: No such file"):
        system.copy("/source", "/no/folder")
    assert sorted(os.listdir(tmp_path)) == ["copy", "source"]
    assert system.stat("/copy").st_size == 3 << 20


def test_move_replaces_what_is_there_and_moves_a_link_and_not_its_target(tmp_path: Path) -> None:
    system = System(tmp_path)
    system.write_file("/target", b"target")
    system.write_file("/there", b"there")
    (tmp_path / "link").symlink_to("/target")
    system.move("/link", "/there")
    assert (tmp_path / "there").is_symlink()
    assert system.read_bytes("/there") == b"target"
    assert not (tmp_path / "link").is_symlink()


def test_updating_keeps_what_is_there(tmp_path: Path) -> None:
    system = System(tmp_path)
    for _ in range(2):
        with system.updating("/log") as file:
            file.seek(0, os.SEEK_END)
            file.write(b"line\n")
    assert (tmp_path / "log").read_bytes() == b"line\nline\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_write_file_says_why_it_failed(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        System(tmp_path).write_file("/missing/file", b"")


def test_remove_tree_takes_a_folder_but_not_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/file").touch()
    (tmp_path / "link").symlink_to("keep")
    (tmp_path / "folder/deep").mkdir(parents=True)
    system = System(tmp_path)
    for path in ("/link", "/folder", "/absent"):
        system.remove_tree(path)
    assert sorted(os.listdir(tmp_path)) == ["keep"]
    assert (tmp_path / "keep/file").exists()


def test_glob_looks_into_every_matching_folder(tmp_path: Path) -> None:
    for name in ("a1/x.conf", "a2/y.conf", "b/z.conf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(p) for p in System(tmp_path).glob("/a*/*.conf")] == ["/a1/x.conf", "/a2/y.conf"]
    assert System(tmp_path).glob("/none/*.conf") == ()


@pytest.mark.processes
def test_a_failed_program_is_named_with_its_last_words() -> None:
    with pytest.raises(CommandError, match=r"ls ended with status 2.*No such file") as caught:
        System("/").run(["ls", "/does/not/exist"])
    assert caught.value.returncode == 2


@pytest.mark.processes
def test_a_missing_program_and_one_that_hangs_are_errors() -> None:
    with pytest.raises(CommandError, match="not found"):
        System("/").run(["balena-migrate-no-such-program"])
    with pytest.raises(CommandError, match="out of time"):
        System("/").run(["sleep", "60"], timeout_s=0.2)


@pytest.mark.processes
def test_the_kits_program_comes_before_the_devices() -> None:
    system = System("/", programs={"ls": ("/bin/echo", "from the kit")})
    assert system.run(["ls", "-l"]).text == "from the kit -l\n"


@pytest.mark.processes
def test_a_program_that_runs_out_of_time_ends_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"sleep 60 & echo $! >{pid}; echo started >&2; wait"
    start = time.monotonic()
    with pytest.raises(CommandError, match="ran out of time: started"):
        System("/").run(["sh", "-c", script], timeout_s=1)
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        ask_for(int(pid.read_text()), times=100)


def ask_for(pid: int, *, times: int) -> None:
    """Raises ProcessLookupError as soon as there is no such process; asks ten times a second."""
    for _ in range(times):
        os.kill(pid, 0)
        time.sleep(0.1)


def test_a_high_limit_takes_no_memory_for_a_small_file(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"content")
    assert System(tmp_path).read_bytes("/small", limit_bytes=1 << 50) == b"content"


def test_what_others_put_under_the_temporary_name_gets_nothing_of_the_new_file(tmp_path: Path) -> None:
    """In a folder where others may write, they can make it first and keep it open, or name another file by it."""
    (tmp_path / "other").write_text("of another")
    temporary = temporary_beside(tmp_path / "file")
    temporary.write_text("planted")
    temporary.chmod(0o666)
    with temporary.open() as planted:
        System(tmp_path).write_file("/file", b"secret", mode=0o600)
        assert planted.read() == "planted"
    for plant in (temporary.symlink_to, temporary.hardlink_to):
        plant(tmp_path / "other")
        System(tmp_path).write_file("/file", b"secret", mode=0o600)
        assert (tmp_path / "other").read_text() == "of another"
    temporary.mkdir()
    with pytest.raises(FileError):
        System(tmp_path).write_file("/file", b"not written", mode=0o600)
    assert (tmp_path / "file").read_bytes() == b"secret"


def test_a_file_that_is_planted_at_the_last_moment_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = temporary_beside(tmp_path / "file")
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: temporary.write_text("planted"))
    with pytest.raises(FileError, match="File exists"):
        System(tmp_path).write_file("/file", b"secret", mode=0o600)
    assert temporary.read_text() == "planted"


def test_a_link_is_not_updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").write_text("of another")
    (tmp_path / "file").symlink_to("other")
    system = System(tmp_path)
    monkeypatch.setattr(system, "real", lambda path: tmp_path / "file")  # as on the device, where the root is /
    with pytest.raises(FileError, match="symbolic links"), system.updating("/file") as file:
        file.write(b"secret")
    assert (tmp_path / "other").read_text() == "of another"


@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_folder_has_its_mode_from_the_start_and_with_any_umask(
    tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fchmod", lambda fd, mode: modes.append(stat.S_IMODE(os.fstat(fd).st_mode)))
    modes: list[int] = []
    before = os.umask(mask)
    try:
        System(tmp_path).make_dir("/private", mode=0o700)
        monkeypatch.undo()
        System(tmp_path).make_dir("/public", mode=0o755)
    finally:
        os.umask(before)
    assert modes == [0o700]
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o755


def test_a_folder_that_another_made_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "folder").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "folder").stat().st_uid + 1)
    with pytest.raises(FileError, match="is another user's folder"):
        System(tmp_path).make_dir("/folder", mode=0o700)
    monkeypatch.undo()
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755
    System(tmp_path).make_dir("/folder", mode=0o700)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700


def test_a_link_to_a_folder_is_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "folder").symlink_to("elsewhere")
    system = System(tmp_path)
    monkeypatch.setattr(system, "real", lambda path: tmp_path / "folder")
    with pytest.raises(FileError, match="Not a directory"):
        system.make_dir("/folder", mode=0o700)
