# SPDX-License-Identifier: Apache-2.0
"""Runs in a virtual device, in place of what starts a stage there: that very stage, in which one thing goes wrong.

    python3 device.py FAULTS NOTES OWNER START [ARGUMENT]...

FAULTS is what goes wrong where, as PLACE=FAULT; or a terminal, which is asked at each place: the answer is what goes
wrong there, or an empty line. It goes wrong once: a file in the folder NOTES says that it did. OWNER is the folder with
the owner's image, START what is started: a file, or stage 2's module. The kit's base part is all that is there to
import from, and the workstation's part is not: the stages' modules are named as text.
"""

from __future__ import annotations

import os
import sys

STAGE2 = "balena_migrate.stage2.main"
if __name__ == "__main__" and sys.argv[4] != STAGE2:
    # As the kit's start.py does it, before anything brings a package in from the base part.
    sys.path.insert(0, f"{sys.argv[4].rpartition('/')[0]}/python")

# ruff: noqa: E402
import contextlib
import json
import runpy
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from balena_migrate.core.units import KIB, MIB

MARK = "lab: now it goes wrong"
"""The workstation waits for this line, so that nothing passes in which it did not."""
REACHED = "lab: what goes wrong at"
"""A terminal is asked with these words and the place."""
LEFT_BYTES = 16 * MIB
"""What is left of the memory where it is short."""
NOTE = "lab-happened"
FILLER = "lab-filler"
HOG = Path("/run/lab-hog")
LABEL_AT, MAGIC_AT, MAGIC = 1024 + 120, 1024 + 56, b"\x53\xef"
"""Of an ext file system (the kernel's Documentation/filesystems/ext4/globals.rst)."""
SPOILED_BYTES = 16


def main() -> None:
    faults, notes, owner, start, *arguments = sys.argv[1:]
    note = Path(notes, NOTE)
    give_memory_back()
    if start == STAGE2:
        console: Any = import_module("balena_migrate.stage2.console")
        console.Console.step = _step_with(console.Console.step, faults, note)
        sys.argv = [start, *arguments]
        import_module(start).main()
    else:
        journal: Any = import_module("balena_migrate.core.journal")
        journal.append = _append_with(journal.append, faults, note, Path(owner))
        sys.argv = [start, *arguments]
        runpy.run_path(start, run_name="__main__")


def _step_with(step: Any, faults: str, note: Path) -> Any:
    """Console.step, in which it happens once a step has begun."""

    @contextlib.contextmanager
    def faulty(console: Any, name: str) -> Iterator[None]:
        with step(console, name):
            if fault := chosen(faults, name, note):
                happen(fault, lambda: _files_of(name), _full_folders)
            try:
                yield
            finally:
                give_memory_back()

    return faulty


def _append_with(append: Any, faults: str, note: Path, owner: Path) -> Any:
    """core.journal.append, behind which it happens once the journal has the intent to make a change."""

    def faulty(system: Any, entry: Any) -> None:
        append(system, entry)
        if entry.event == "intent" and (fault := chosen(faults, entry.name, note)):
            happen(fault, lambda: [max(owner.iterdir(), key=lambda path: path.stat().st_size)], lambda: [Path("/")])

    return faulty


def chosen(faults: str, place: str, note: Path) -> str:
    """What goes wrong at this place; "" for nothing, as once something has gone wrong."""
    if note.exists():
        return ""
    if faults.startswith("/"):
        print(f"{REACHED} {place}", flush=True)
        with Path(faults).open(encoding="ascii") as terminal:
            fault = terminal.readline().strip()
    else:
        at, _, fault = faults.partition("=")
        fault = fault if at == place else ""
    if fault:
        note.touch()
    return fault


def happen(fault: str, files: Any, folders: Any) -> None:
    """The fault happens. `files` and `folders` give what it is about, where it is about any."""
    print(MARK, flush=True)
    match fault:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "panic":
            Path("/proc/sys/kernel/sysrq").write_text("1")
            Path("/proc/sysrq-trigger").write_text("c")
        case "memory short":
            take_memory()
        case "disk full":
            for folder in folders():
                with _writable(folder):
                    fill(folder)
        case "file missing" | "file changed":
            for file in files():
                with _writable(_mount_of(file)):
                    file.unlink() if fault == "file missing" else spoil(file)
        case _:
            pass  # the disk fails, which the workstation sees to


def take_memory() -> None:
    """No more than LEFT_BYTES of memory are available, and no process holds what is taken."""
    kernel = import_module("balena_migrate.stage2.kernel")
    HOG.mkdir(exist_ok=True)
    kernel.mount("tmpfs", HOG, "tmpfs", options="size=100%")
    with (HOG / "taken").open("wb") as file:
        while _available_bytes() > LEFT_BYTES:
            file.write(bytes(MIB))
            file.flush()


def give_memory_back() -> None:
    """What was taken is free again: a step that ran short of memory leaves that to none behind it."""
    if HOG.is_mount():
        import_module("balena_migrate.stage2.kernel").unmount(HOG)


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * KIB


def fill(folder: Path) -> None:
    """Nothing more can be written to the file system."""
    with (folder / FILLER).open("wb") as file:
        piece, size = os.statvfs(folder).f_bfree * os.statvfs(folder).f_frsize, 0
        while piece >= 512:
            try:
                os.posix_fallocate(file.fileno(), size, piece)
                size += piece
            except OSError:
                piece //= 2


def spoil(file: Path) -> None:
    """The file has as many bytes as before, and a few others in its middle."""
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        content = opened.read(SPOILED_BYTES)
        opened.seek(-len(content), os.SEEK_CUR)
        opened.write(bytes(byte ^ 0xFF for byte in content))


def _files_of(step: str) -> list[Path]:
    """What this step of stage 2 works with."""
    paths = import_module("balena_migrate.core.paths")
    handover = json.loads(Path(paths.STAGE2_CONFIG).read_text())
    match step:
        case "modules":
            return [Path(Path(paths.STAGE2_MODULES).read_text().split()[0])]
        case "restore-boot":
            return [_on_old(file["path"]) for file in handover["boot_written"]]
        case "secure":
            return [_on_old(handover["image"]["path"])]
        case _:
            return [Path(paths.STAGE2_FILES + handover["data_files"][0]["file"]["path"])]


def _on_old(path: str) -> Path:
    return Path("/root" + path)


def _full_folders() -> list[Path]:
    """The mounted file systems of the old system, or those of the new one, which get mounted, that stage 2 writes."""
    old = [point for point in _mount_points() if point.is_relative_to("/root")]
    return old or [_mounted(label) for label in ("resin-data", "resin-state")]


def _mount_points() -> list[Path]:
    return [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _mounted(label: str) -> Path:
    """A folder at which the file system with that label is mounted."""
    kernel, folder = import_module("balena_migrate.stage2.kernel"), Path("/run", label)
    folder.mkdir()
    for partition in Path("/sys/class/block").glob("*/partition"):
        device = Path("/dev", partition.parent.name)
        with device.open("rb") as file:
            start = file.read(LABEL_AT + 16)
        if start[MAGIC_AT : MAGIC_AT + 2] == MAGIC and start[LABEL_AT:].rstrip(b"\0").decode() == label:
            kernel.mount(str(device), folder, "ext4")
    return folder


def _mount_of(file: Path) -> Path:
    return next(folder for folder in file.parents if folder.is_mount())


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """What is mounted there can be written meanwhile; a new file system is unmounted afterwards."""
    kernel = import_module("balena_migrate.stage2.kernel")
    with kernel.writable(folder):
        yield
    if folder.name.startswith("resin-"):
        kernel.unmount(folder)


if __name__ == "__main__":
    main()
