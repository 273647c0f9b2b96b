# SPDX-License-Identifier: Apache-2.0
"""An emulated board of the lab, whose card is written to by programs on the board itself.

The board has its kernel and the drivers of its card from the lab's guest. All else it has in memory, as stage 2 has:
so its whole card is free to be written. In its memory are Debian's programs for the methods of others, the kit's part
for stage 2 for ours, and the image in its packed forms; each file of this machine has the path there that it has here,
so that a method is the same command in both places.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from balena_migrate.core.units import MIB
from balena_migrate.core.values import from_json
from balena_migrate.initramfs._cpio import ALIGNED, Archive
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import SUITE, fetch_packages
from balena_migrate.workstation.kit.build import build_kit
from balena_migrate.workstation.kit.packages import OPTIONS
from balena_migrate.workstation.lab.console import Shell
from balena_migrate.workstation.lab.disks import copy_disk
from balena_migrate.workstation.lab.guests.debian_pi import FIRST_INITRAMFS, RASPBERRYPI3_64_BUILT_IN, DebianPi
from balena_migrate.workstation.lab.machines.raspberrypi.machine import PiMachine
from balena_migrate.workstation.lab.qemu import read_version
from balena_migrate.workstation.lab.timeline import Timeline
from balena_migrate.workstation.lab.virtual import VirtualDevice
from bench import flash, process
from bench.image import BenchImage
from bench.process import Pipeline, Runner, Usage
from bench.target import MEMORY, Kind, Target

BOARDS: Mapping[str, DebianPi] = {"raspberrypi3-64": RASPBERRYPI3_64_BUILT_IN}
"""Guests whose machine gives the kernel an initramfs of ours, by the names of their boards."""
PROGRAMS = {"mmdebstrap": "mmdebstrap", "qemu-system-aarch64": "qemu-system-arm"}
"""What a board needs besides, and which of Debian's packages has it."""
PACKAGES = ("bmap-tools", "coreutils", "dash", "diffutils", "gzip", "mount", "util-linux", "zstd")
FOLDERS = ("bin", "lib", "sbin", "usr")
"""Of these packages; nothing needs their settings."""
CARD = Path("/dev/mmcblk0")
BASE = "balena-migrate/base"
PYTHON = f"{BASE}/python"
STAGE2 = " -m balena_migrate.stage2.main"
METHOD_TIMEOUT_S = 1800.0


@contextlib.contextmanager
def open_board(guest: DebianPi, image: BenchImage, work: Path, cache: Path) -> Iterator[Target]:
    """The board is on, and its card, of the image's size, is the target. It has the files in `work`, too.

    All is gone afterwards. Raises MigrateError where the board cannot be made, or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir=MEMORY) as name:
        folder = Path(name)
        card, machine = _make_board(guest, image, work, folder, cache)
        device = VirtualDevice(machine=machine, drives=(card,), folder=folder, timeline=Timeline(say))
        say(f"starting {machine.board.name}")
        with device.on(guest.memory_mib) as boot:
            yield Target(
                kind=Kind.EMULATED,
                device=CARD,
                file=card,
                size_bytes=image.size_bytes,
                limit=f"the card of {machine.board.name} in {read_version(machine.program)}",
                run=runner(boot.log_in()),
                python=Path("/", PYTHON),
                measured_bytes=32 * MIB,
            )


def _make_board(guest: DebianPi, image: BenchImage, work: Path, folder: Path, cache: Path) -> tuple[Path, PiMachine]:
    """Its card and its machine, whose files are in the folder."""
    built = guest.build(guest.disk_mib, cache, say)
    card, initramfs = folder / "card", folder / "initramfs"
    copy_disk(built.disk, card)
    os.truncate(card, image.size_bytes)  # the kernel, which is read when the board starts, is near the card's start
    files = (image.packed, image.prepared, image.bmap, Path(flash.__file__), Path(process.__file__), *work.iterdir())
    write_initramfs(initramfs, built.disk.with_name(FIRST_INITRAMFS), guest.architecture, files, cache)
    return card, replace(guest.machine, built_in=initramfs)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def runner(shell: Shell) -> Runner:
    """Runs a pipeline on the board. Raises LabError, with its last output, if it fails."""

    def run(pipeline: Pipeline) -> Usage:
        words = json.dumps([[str(word) for word in argv] for argv in pipeline])
        command = shlex.join(["python3", process.__file__, words])
        *said, result = shell.run(command, timeout_s=METHOD_TIMEOUT_S).splitlines()
        for line in said:
            say(line)
        return from_json(Usage, json.loads(result))

    return run


# What it has in memory ----------------------------------------------------------------------------------------------


def write_initramfs(path: Path, drivers: Path, architecture: str, files: Sequence[Path], cache: Path) -> None:
    """The drivers' archive, and behind it what takes the place of its /init, and all else."""
    packages = _packages(architecture, cache)
    with path.open("wb") as file, tempfile.TemporaryDirectory() as work:
        first = drivers.read_bytes()
        file.write(first + bytes(-len(first) % ALIGNED))
        archive = Archive(file)
        archive.file("init", Path(__file__).with_name("board_init.sh").read_bytes(), mode=0o755)
        for name in ("dev", "proc", "sys", "tmp"):
            archive.folder(name)
        for name in FOLDERS:
            archive.copy(name, packages / name)
        _add_kit(archive, _kit_base(architecture, Path(work), cache))
        add_files(archive, files)
        archive.end()


def _packages(architecture: str, cache: Path) -> Path:
    def make(folder: Path) -> None:
        say(f"fetching the bench's Debian packages for {architecture}")
        fetch_packages(architecture, PACKAGES, folder, options=OPTIONS)

    return cached(cache, f"bench-{architecture}-packages", (SUITE, PACKAGES, OPTIONS), make)


def _kit_base(architecture: str, work: Path, cache: Path) -> Path:
    return build_kit(architecture, work / "kit", cache, say).base


def _add_kit(archive: Archive, base: Path) -> None:
    """The kit's base part, and what starts its Python."""
    archive.folder(str(PurePosixPath(BASE).parent))
    archive.copy(BASE, base)
    archive.file(PYTHON, python_start(base).encode(), mode=0o755)


def python_start(base: Path) -> str:
    """The script that starts stage 2, but for the program that its caller names."""
    return (base / "stage2").read_text().replace(STAGE2, "")


def add_files(archive: Archive, files: Sequence[Path]) -> None:
    """Each has its own path, with its folders."""
    folders = {parent for path in files for parent in path.parents if parent != Path("/")}
    for folder in sorted(folders):
        archive.folder(str(folder).lstrip("/"))
    for path in files:
        archive.file(str(path).lstrip("/"), path.read_bytes())
