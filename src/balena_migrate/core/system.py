# SPDX-License-Identifier: Apache-2.0
"""The one door to the machine: every file and every program goes through a `System`.

`System("/")` is the device itself, `System("/root")` the old root file system in stage 2, `System(tmp_path)` a
folder in a test. Paths given to it are absolute on *that* system; symbolic links are followed as that system
would follow them, so that an absolute link cannot lead out of it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO, TypeVar

from balena_migrate.core.digest import Digest, Digester, Writable
from balena_migrate.core.errors import CommandError, FileError
from balena_migrate.core.units import MIB

LOG = logging.getLogger(__name__)

TEXT_LIMIT_BYTES = MIB
"""Limit for text files: a larger one is an error, so that it cannot exhaust the memory."""

BLOCK_BYTES = MIB
"""The block size for reading and copying files of any size."""

LAST_LINES = 12
COMMAND_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LINKS_LIMIT = 40


@dataclass(frozen=True, kw_only=True)
class Result:
    """A program's output and exit status."""

    stdout: bytes
    stderr: bytes
    returncode: int

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are kept as surrogates."""
        return self.stdout.decode("utf-8", "surrogateescape")


Runner = Callable[[Sequence[str], "bytes | None", "float | None"], Result]


def command_environment() -> dict[str, str]:
    """The environment of every program that we start: English, no colour, nothing inherited that matters."""
    return {
        "LC_ALL": "C",
        "PATH": COMMAND_PATH,
        "HOME": "/root",
        "TERM": "dumb",
        "DEBIAN_FRONTEND": "noninteractive",
    }


def run_command(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
    """Start a program without a shell, give it `data` as standard input and wait for its end.

    Raises CommandError if it cannot be started or runs out of time; the exit status is the caller's to judge.
    """
    LOG.debug("+ %s", " ".join(argv))
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=command_environment(),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise CommandError(list(argv), 127, "program not found") from None
    except OSError as error:
        raise CommandError(list(argv), 126, os.strerror(error.errno or 0)) from None
    with process, _ended_with_its_children(process):
        try:
            stdout, stderr = process.communicate(data, timeout_s)
        except subprocess.TimeoutExpired as error:
            raise CommandError(list(argv), None, last_lines(error.stderr or b"")) from None
    return Result(stdout=stdout, stderr=stderr, returncode=process.returncode)


@contextlib.contextmanager
def _ended_with_its_children(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """If a program is given up, kill its children, too, so that nothing continues to write in the background."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise


def last_lines(output: bytes, count: int = LAST_LINES) -> str:
    """The last lines of a program's output, joined to one line."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return " | ".join(lines[-count:])


@contextlib.contextmanager
def errors_at(path: PurePath | str) -> Iterator[None]:
    """Turn each OSError in the block into a FileError that names the path: a failing disk may fail any call."""
    try:
        yield
    except OSError as error:
        raise FileError(path, os.strerror(error.errno or 0), hint=_write_hint(error)) from None


def _names(path: PurePath | str) -> list[str]:
    """The parts of a path without its root, which pathlib gives as "//" where a path starts so; the last one first."""
    return [part for part in reversed(PurePosixPath(path).parts) if part.strip("/")]


class LoopError(FileError):
    """Symbolic links form a loop."""


class System:
    """A root file system and the programs that run on it.

    `programs` maps the names of programs that the kit brings to their argv prefix; other names are looked up in
    the usual folders. `runner` is the test seam: a test gives its own function in place of real processes.
    """

    def __init__(
        self,
        root: PurePath | str = "/",
        *,
        programs: dict[str, tuple[str, ...]] | None = None,
        runner: Runner = run_command,
    ) -> None:
        self.root = Path(root)
        self.programs = dict(programs or {})
        self._runner = runner

    # Paths ------------------------------------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether this is the running system, so that the kernel's answers are about it."""
        return self.root == Path("/")

    @property
    def runs_systemd(self) -> bool:
        """Whether systemd is the init that runs (sd_booted(3)); where another one does, systemctl may be there, too."""
        return self.is_dir("/run/systemd/system")

    def real(self, path: PurePath | str, *, follow: bool = True) -> Path:
        """The path on the running machine for `path` of this system; links are resolved within the root.

        For a library that opens files by itself, and for walking very many of them: all else has a method here.
        Raises FileError if links form a loop, or where a failing disk does not say whether there are any.
        """
        if self.root == Path("/") and follow:
            return Path(path)
        with errors_at(path):
            return self._resolve(path, follow=follow)

    def without_links(self, path: PurePath | str) -> str:
        """The path of this system that leads to the same without any link; what is missing stays as it is.

        Raises FileError as real().
        """
        with errors_at(path):
            return str(PurePosixPath("/", self._resolve(path, follow=True).relative_to(self.root)))

    def _resolve(self, path: PurePath | str, *, follow: bool) -> Path:
        done = PurePosixPath("/")
        todo = _names(path)
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done.parent
                continue
            here = self.root / (done / part).relative_to("/")
            if here.is_symlink() and (todo or follow):
                links += 1
                if links > LINKS_LIMIT:
                    raise LoopError(path, "too many symbolic links")
                target = PurePosixPath(os.readlink(here))
                if target.is_absolute():
                    done = PurePosixPath("/")
                todo += _names(target)
                continue
            done = done / part
        return self.root / done.relative_to("/")

    def exists(self, path: PurePath | str) -> bool:
        """Whether there is anything at the path (a dangling link, or a loop of links, counts as nothing).

        Raises FileError, as is_file and is_dir, where a failing disk leaves that open.
        """
        return self._is(Path.exists, path)

    def is_file(self, path: PurePath | str) -> bool:
        return self._is(Path.is_file, path)

    def is_dir(self, path: PurePath | str) -> bool:
        return self._is(Path.is_dir, path)

    def _is(self, test: Callable[[Path], bool], path: PurePath | str) -> bool:
        try:
            with errors_at(path):
                return test(self.real(path))
        except LoopError:
            return False

    def stat(self, path: PurePath | str, *, follow: bool = True) -> os.stat_result:
        """The result of stat(2), or of lstat(2) without `follow`. Raises FileError."""
        with errors_at(path):
            return os.stat(self.real(path, follow=follow), follow_symlinks=follow)

    def is_executable(self, path: PurePath | str) -> bool:
        """Whether there is a file at the path that we may execute."""
        return self._is(lambda real: real.is_file() and os.access(real, os.X_OK), path)

    def statvfs(self, path: PurePath | str) -> os.statvfs_result:
        """The result of statvfs(3) for the file system of the path. Raises FileError."""
        with errors_at(path):
            return os.statvfs(self.real(path))

    def find_link(self, path: PurePath | str) -> PurePosixPath | None:
        """The target of the symbolic link at the path; None if it is not a link. Raises FileError."""
        with errors_at(path):
            real = self.real(path, follow=False)
            return PurePosixPath(os.readlink(real)) if real.is_symlink() else None

    def files_below(self, folder: PurePath | str) -> Iterator[PurePosixPath]:
        """All files in a folder and its subfolders, except in unreadable subfolders; links count as files."""
        real = self.real(folder)
        for here, _, names in os.walk(real):
            yield from (PurePosixPath(folder, Path(here, name).relative_to(real)) for name in names)

    def glob(self, pattern: str) -> tuple[PurePosixPath, ...]:
        """The paths that match a pattern such as "/etc/netplan/*.yaml", sorted; links to folders are followed."""
        folder, _, name = pattern.rpartition("/")
        if any(mark in folder for mark in "*?["):
            parents: tuple[PurePosixPath, ...] = self.glob(folder)
        else:
            parents = (PurePosixPath(folder or "/"),)
        found = []
        for parent in parents:
            if self.is_dir(parent):
                found += [parent / entry.name for entry in self.real(parent).glob(name)]
        return tuple(sorted(found))

    # Reading ----------------------------------------------------------------------------------------------------

    def open(self, path: PurePath | str) -> BinaryIO:
        """A regular file, or one in /proc or /sys, open for reading.

        Raises FileError if it is missing, cannot be opened, or is something else than a file.
        """
        with errors_at(path):
            # O_NONBLOCK: a FIFO in place of a file must not block us.
            fd = os.open(self.real(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            file = os.fdopen(fd, "rb")
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return file
            file.close()
        raise FileError(path, "is not a regular file")

    def open_device(self, path: PurePath | str, *, writable: bool = False) -> BinaryIO:
        """A device node, open without a buffer, for reading or for writing. Raises FileError."""
        with errors_at(path):
            fd = os.open(self.real(path), (os.O_WRONLY if writable else os.O_RDONLY) | os.O_CLOEXEC)
            return os.fdopen(fd, "wb" if writable else "rb", buffering=0)

    def read_blocks(self, path: PurePath | str) -> Iterator[bytes]:
        """The content of a file of any size, block by block. Raises FileError, which names it, even midway."""
        with self.open(path) as file, errors_at(path):
            while block := file.read(BLOCK_BYTES):
                yield block

    def digest(self, path: PurePath | str) -> Digest:
        """Size and SHA-256 of a file of any size. Raises FileError."""
        digester = Digester()
        self.copy_to(path, digester)
        return digester.digest()

    def copy_to(self, path: PurePath | str, file: Writable) -> None:
        """The content of a file of any size is written to an open one.

        Raises FileError, which names the path, where reading fails, and the OSError of the other where writing does.
        """
        for block in self.read_blocks(path):
            file.write(block)

    def read_bytes(self, path: PurePath | str, *, limit_bytes: int = TEXT_LIMIT_BYTES) -> bytes:
        """The content of a regular file or of a file in /proc or /sys.

        Raises FileError if it is missing, unreadable, larger than the limit or something else than a file.
        """
        data = bytearray()
        with self.open(path) as file, errors_at(path):
            # Block by block: a single read() would allocate the limit at once.
            while block := file.read(min(BLOCK_BYTES, limit_bytes + 1 - len(data))):
                data += block
        if len(data) > limit_bytes:
            raise FileError(path, f"is larger than {limit_bytes} bytes")
        return bytes(data)

    def read_text(self, path: PurePath | str, *, limit_bytes: int = TEXT_LIMIT_BYTES) -> str:
        """As read_bytes; bytes that are not UTF-8 are kept as surrogates."""
        return self.read_bytes(path, limit_bytes=limit_bytes).decode("utf-8", "surrogateescape")

    def find_text(self, path: PurePath | str) -> str | None:
        """The text of a file, or None if it does not exist. Other errors are raised as FileError."""
        return self.read_text(path) if self.exists(path) else None

    # Writing ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def replacing(self, path: PurePath | str, *, mode: int = 0o600, uid: int = -1, gid: int = -1) -> Iterator[BinaryIO]:
        """Open a new file for writing; it replaces the old one if the block succeeds, which otherwise stays.

        It is written next to its final place, flushed, and put there; a power cut at any time leaves the old file or
        the new one, whole, and when this returns, the new one (see _kept_on_disk). It is a file of ours alone from its
        first byte on, also in a folder where others may write, whatever they put under its name before.
        Raises FileError for each OSError, also of the block; then nothing of the new file is left.
        """
        real = self.real(path)
        temporary = temporary_beside(real)
        try:
            with errors_at(path):
                temporary.unlink(missing_ok=True)
                fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    # FAT knows neither owners nor modes and answers EPERM.
                    with contextlib.suppress(PermissionError):
                        os.fchmod(fd, mode)
                        if (uid, gid) != (-1, -1):
                            os.fchown(fd, uid, gid)
                    yield file
                    file.flush()
                    os.fsync(fd)
                    with _kept_on_disk(real):
                        os.rename(temporary, real)
                        os.fsync(fd)
                        sync_folder(real.parent)
        except (Exception, KeyboardInterrupt):
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def write_file(
        self, path: PurePath | str, content: bytes, *, mode: int = 0o644, uid: int = -1, gid: int = -1
    ) -> None:
        """Write exactly this content and mode, flushed to the disk; the file never has half of it at any moment."""
        with self.replacing(path, mode=mode, uid=uid, gid=gid) as file:
            file.write(content)

    def copy(self, source: PurePath | str, path: PurePath | str, *, mode: int = 0o600) -> None:
        """Copy `source` to `path`, flushed to the disk; `path` never has half of it at any moment.

        Raises FileError, which names the one of the two that failed.
        """
        with self.replacing(path, mode=mode) as file:
            self.copy_to(source, file)

    def move(self, source: PurePath | str, path: PurePath | str) -> None:
        """Move `source` to `path` within a file system, replacing what is there; flushed to the disk."""
        with errors_at(path):
            old, new = self.real(source, follow=False), self.real(path, follow=False)
            with _kept_on_disk(new):
                os.rename(old, new)
                _sync_entry(new)
                # The new name first: a power cut may leave two names of the file, but not none.
                for folder in dict.fromkeys((new.parent, old.parent)):
                    sync_folder(folder)

    @contextlib.contextmanager
    def updating(self, path: PurePath | str, *, mode: int = 0o600) -> Iterator[BinaryIO]:
        """Open a file, new or existing, for reading and writing in place; it is flushed at the end of the block.

        Raises FileError for a link.
        """
        with errors_at(path):
            real = self.real(path)
            is_new = not real.exists()
            fd = os.open(real, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            with os.fdopen(fd, "r+b") as file:
                yield file
                file.flush()
                os.fsync(fd)
            if is_new:
                sync_folder(real.parent)

    def open_lock(self, path: PurePath | str) -> BinaryIO:
        """A file for flock(2), made where it is missing, which only its owner can open; raises FileError."""
        with errors_at(path):
            fd = os.open(self.real(path, follow=False), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            return os.fdopen(fd, "r+b", buffering=0)

    def set_mtime(self, path: PurePath | str, mtime_ns: int) -> None:
        """Set the file's modification time, as far as its file system supports that."""
        with errors_at(path), contextlib.suppress(PermissionError):
            os.utime(self.real(path), ns=(mtime_ns, mtime_ns))

    def remove_temporary(self, path: PurePath | str) -> None:
        """Remove what a power cut left under that path's temporary name: a file, or a folder (see temporary_beside)."""
        self.remove_tree(temporary_beside(PurePosixPath(path)))
        with errors_at(path), contextlib.suppress(FileNotFoundError):
            temporary_beside(self.real(path)).unlink()  # `replacing` follows a link

    def remove_file(self, path: PurePath | str) -> None:
        """Remove the file or link at the path, flushed to the disk; do nothing if there is none."""
        real = self.real(path, follow=False)
        with errors_at(path), _kept_on_disk(real):
            real.unlink(missing_ok=True)
            if real.parent.is_dir():
                sync_folder(real.parent)

    def make_dir(self, path: PurePath | str, *, mode: int = 0o755) -> None:
        """There is a folder with this mode, with no more rights before; its parent must exist.

        Raises FileError, also for a link to a folder, and for another user's folder: who owns it can read and replace
        what is put there.
        """
        real = self.real(path)
        with errors_at(path):
            is_new = not real.is_dir()
            if is_new:
                real.mkdir(mode)
                sync_folder(real.parent)
            fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if not is_new and os.fstat(fd).st_uid != os.geteuid():
                    raise FileError(path, "is another user's folder", hint="remove it")
                with contextlib.suppress(PermissionError):
                    os.fchmod(fd, mode)
            finally:
                os.close(fd)

    def remove_tree(self, path: PurePath | str) -> None:
        """Remove whatever is at the path. Refuses to enter a mount point, whose content is not ours."""
        real = self.real(path, follow=False)
        with errors_at(path):
            if not real.exists() and not real.is_symlink():
                return
            if real.is_symlink() or not real.is_dir():
                self.remove_file(path)
                return
            for folder, names, _ in os.walk(real):
                for name in names:
                    if os.path.ismount(os.path.join(folder, name)):
                        raise FileError(path, f"a file system is mounted in it, at {folder}/{name}")
            shutil.rmtree(real)
            sync_folder(real.parent)

    # Programs ---------------------------------------------------------------------------------------------------

    def find_program(self, name: str) -> tuple[str, ...] | None:
        """The start of the argv for a program: the kit's own, else from the usual folders; None if it is missing."""
        if name in self.programs:
            return self.programs[name]
        for folder in COMMAND_PATH.split(":"):
            if self.is_executable(f"{folder}/{name}"):
                return (f"{folder}/{name}",)
        return None

    def run(
        self,
        argv: Sequence[str | PurePath],
        *,
        data: bytes | None = None,
        timeout_s: float | None = 600,
        ok: tuple[int, ...] = (0,),
    ) -> Result:
        """Run a program to its end. Its name is looked up as by find_program.

        Raises CommandError if it is missing, runs out of time, or ends with a status that is not in `ok`.
        """
        words = [os.fspath(word) for word in argv]
        prefix = self.programs.get(words[0], (words[0],))
        result = self._runner([*prefix, *words[1:]], data, timeout_s)
        if result.returncode not in ok:
            raise CommandError(words, result.returncode, last_lines(result.stderr or result.stdout))
        return result


_AnyPath = TypeVar("_AnyPath", bound=PurePath)


def temporary_beside(path: _AnyPath) -> _AnyPath:
    """The temporary name under which a file is written, or of the folder in which a program writes it; a power cut may
    leave it behind, and undo removes it."""
    return path.with_name(f".{path.name}.balena-migrate")


@contextlib.contextmanager
def _kept_on_disk(path: Path) -> Iterator[None]:
    """What is at the path, if anything, keeps its content on the disk until the end of the block.

    The block takes the name away from it, or gives it to another file, and flushes that. On FAT the order matters: a
    file's place is in its directory entry, which Linux writes when that file's inode is written, and not with the
    folder; and it frees the clusters of the old file as soon as nothing holds that any more (fs/fat/namei_vfat.c:
    vfat_rename; fs/fat/inode.c: __fat_write_inode, fat_evict_inode). After a mere rename and flush of the folder, the
    disk has the clusters freed before the entry names the new ones: a power cut leaves a name whose content is gone. So
    the old file is held here, and the block flushes the new one under its name.
    """
    try:
        # O_PATH holds whatever there is, also a link, and opens neither a device nor a FIFO (open(2)).
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        yield
        return
    try:
        yield
    finally:
        os.close(fd)


def _sync_entry(path: Path) -> None:
    """Flush a renamed file: on FAT its new name gets place and size only by that. Other things than files have none."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: PurePath | str) -> None:
    """Flush a folder's entries to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot flush a folder
            raise
    finally:
        os.close(fd)


def _write_hint(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "free some space there"
    if error.errno == errno.EROFS:
        return "the file system is mounted read-only"
    return ""
