# SPDX-License-Identifier: Apache-2.0
"""Whatever moment the power fails at, a Raspberry Pi's firmware finds the old system or stage 2 on its FAT, whole.

A virtual machine, whose kernel has vfat, changes a boot partition with our own code while its disk's writes are
recorded. Every state that a power cut could leave is then judged: every sector in order for an SD card, and for a disk
that reorders, any subset of what was not flushed.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from balena_migrate.bootloaders.raspberrypi import BOOT_LOADER
from balena_migrate.bootloaders.raspberrypi.board import Board
from balena_migrate.core.changes import ActionName, WriteFile
from balena_migrate.core.errors import LabError
from balena_migrate.core.handover import dump_handover
from balena_migrate.core.kit import Kit
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.settings import Config
from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.kit.build import build_kit
from balena_migrate.workstation.lab.fat_state import Boot, FatState, what_boots
from balena_migrate.workstation.lab.lookalike.initramfs import make_initramfs
from balena_migrate.workstation.lab.lookalike.sources import Sources, fetch_sources, order_modules
from balena_migrate.workstation.lab.lookalike.specs import Board as Platform
from balena_migrate.workstation.lab.machines.raspberrypi.machine import RASPI3B
from balena_migrate.workstation.lab.qemu import TCG, running
from balena_migrate.workstation.lab.recording import (
    Request,
    read_recording,
    recorded,
    states_in_order,
    states_reordered,
)
from balena_migrate.workstation.mtools import FatDrive
from tests.support.handover import HANDOVER
from tests.support.raspberrypi import CMDLINE, facts
from tests.vm.fat_writes_guest import DONE, MARK_BYTES

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("fat-writes")]

DISK_BYTES, START_BYTES = 64 * MIB, MIB
OFF_S = 600
FILES = {
    "bootcode.bin": b"b" * 3000,
    "start.elf": b"s" * 3000,
    "fixup.dat": b"f" * 700,
    "kernel8.img": b"\x1f\x8b" + b"k" * 5000,
    "bcm2710-rpi-3-b.dtb": b"d" * 2000,
    "cmdline.txt": CMDLINE.encode(),
    "config.txt": b"# For more options see config.txt's documentation.\n" * 30
    + b"arm_64bit=1\ninitramfs initrd8.img\n",
    "initrd8.img": b"i" * 4000,
}
OURS = b"stage 2" * 3000

OLD, NEW = "old system", "stage 2"

STEPS = (
    ("before the first step", OLD),
    ("stage 1 arms", NEW),
    ("stage 2 restores", OLD),
    ("undo", OLD),
    ("stage 1 arms again", NEW),
    ("undo of all", OLD),
)
"""What the guest does, and what boots from the end of each step on; until then, also what booted before it."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk of the virtual machine; on a `plain` one files are replaced in the order that is right elsewhere."""

    name: str
    slot: str
    device: str
    """QEMU's, without its place."""
    fat_bits: int
    states: Callable[[bytes, Iterable[Request]], Iterator[bytearray]]
    plain: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        if self.device == "sd-card":  # it goes into the slot that is still empty
            return ("-device", f"sdhci-pci,addr=0x{self.slot}", "-device", f"sd-card,drive={self.name}")
        return ("-device", f"{self.device},drive={self.name},addr=0x{self.slot}")


CARD = Disk(name="card", slot="10", device="sd-card", fat_bits=32, states=states_in_order)
DISK = Disk(name="disk", slot="11", device="virtio-blk-pci", fat_bits=16, states=states_reordered)
PLAIN_CARD = replace(CARD, name="plain-card", slot="12", plain=True)
PLAIN_DISK = replace(DISK, name="plain-disk", slot="13", plain=True)
DISKS = (CARD, DISK, PLAIN_CARD, PLAIN_DISK)

MODULES = ("sdhci_pci", "mmc_block", "virtio_pci", "virtio_blk", "vfat", "nls_cp437", "nls_ascii", "nls_utf8")
INIT = b"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec > /dev/ttyS0 2>&1
while read -r module; do insmod "$module"; done < /modules.list
for _ in $(seq 100); do [ -b /dev/mmcblk1p1 ] && [ -b /dev/mmcblk0p1 ] && break; sleep 0.1; done
/kit/base/ld.so --inhibit-cache --library-path /kit/base/lib /kit/base/bin/python3 -S -X utf8 /guest/guest.py
poweroff -f
"""


def make_disk(folder: Path, name: str, fat_bits: int, files: Mapping[str, bytes]) -> Path:
    """A disk whose one partition boots a Raspberry Pi 3; FAT32 has clusters of a sector, as on cards since 2026."""
    disk = folder / f"{name}.img"
    with disk.open("xb") as file:
        file.truncate(DISK_BYTES)
    start, sectors = START_BYTES // SECTOR_BYTES, (DISK_BYTES - START_BYTES) // SECTOR_BYTES
    table = f"label: dos\nstart={start}, size={sectors}, type=c\n"
    System().run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk], data=table.encode())
    kind = ("-F", str(fat_bits), "-s", "1" if fat_bits == 32 else "4")
    System().run(["mkfs.vfat", *kind, "--offset", str(start), disk, str(sectors // 2)])
    files_folder = folder / f"{name}-files"
    files_folder.mkdir()
    for file_name, content in files.items():
        (files_folder / file_name).write_bytes(content)
    FatDrive(image=disk, offset_bytes=START_BYTES).copy_in(sorted(files_folder.iterdir()))
    return disk


def boot_change() -> tuple[WriteFile, ...]:
    """Stage 1's changes of the boot partition: the initramfs, and what the boot loader asks for."""
    files = {f"/boot/{name}": FILES[name].decode() for name in ("cmdline.txt", "config.txt")}
    path = f"/boot/{INITRAMFS_NAME}"
    ours = WriteFile(name=ActionName.INITRAMFS, title="", path=path, content=OURS)
    actions = BOOT_LOADER.boot_actions(Config(), facts(files))
    assert all(isinstance(action, WriteFile) for action in actions)
    return (ours, *(action for action in actions if isinstance(action, WriteFile)))


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A disk as it was before, and all that the guest asked of it."""

    before: bytes
    requests: tuple[Request, ...]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Recording]:
    """What the guest did to each disk, by the disk's name."""
    folder, cache = tmp_path_factory.mktemp("machine"), cache_folder()
    kit, sources = build_kit("amd64", folder / "kit", cache, print), fetch_sources(Platform.PC, cache)
    before: dict[str, bytes] = {}
    attached: list[str] = []
    for disk in DISKS:
        image = make_disk(folder, disk.name, disk.fat_bits, FILES)
        before[disk.name] = image.read_bytes()
        attached += [*recorded(image, folder / f"{disk.name}.log", disk.name), *disk.options]
    arguments = [
        *("-machine", "q35", "-accel", TCG, "-cpu", "qemu64", "-m", "512M", "-nodefaults", "-no-user-config"),
        *("-display", "none", "-no-reboot", *attached, "-kernel", str(sources.kernel)),
        *("-initrd", str(make_guest(sources, kit, folder)), "-append", "console=ttyS0 quiet panic=-1"),
    ]
    with running("qemu-system-x86_64", arguments, serial_logs={"console": folder / "console.log"}) as machine:
        machine.consoles["console"].wait_for(DONE, OFF_S)
        machine.wait_off(OFF_S)
    logs = {name: read_recording(folder / f"{name}.log") for name in before}
    return {name: Recording(before=before[name], requests=log) for name, log in logs.items()}


def make_guest(sources: Sources, kit: Kit, folder: Path) -> Path:
    """The guest's initramfs: a look-alike's programs, the kit's Python with our package, and our guest program."""
    root = folder / "root"
    shutil.copytree(sources.root, root)
    modules = order_modules(MODULES, {path.stem: path for path in (root / "modules").iterdir()})
    (root / "modules.list").write_text("".join(f"/modules/{name}.ko\n" for name in modules))
    shutil.copytree(kit.base, root / "kit/base")
    shutil.copytree(kit.more / "python/balena_migrate", root / "guest/balena_migrate")
    shutil.copy(Path(__file__).with_name("fat_writes_guest.py"), root / "guest/guest.py")
    actions = [
        {"name": action.name, "path": action.path, "content": base64.b64encode(action.content).decode()}
        for action in boot_change()
    ]
    (root / "guest/actions.json").write_text(json.dumps(actions))
    (root / "guest/disks.json").write_text(json.dumps([(disk.slot, disk.plain) for disk in DISKS]))
    (root / "guest/handover.json").write_bytes(dump_handover(HANDOVER))
    (folder / "initramfs").write_bytes(make_initramfs(root, INIT))
    return folder / "initramfs"


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """How many states were judged, and what was wrong with how many of them."""

    judged: int
    wrong: Mapping[str, int]


def judge(states: Iterable[bytearray], wanted: Mapping[str, Boot], board: Board) -> Verdicts:
    """Each state boots what its step allows; the first one in which a step is done, what that step ends with."""
    count, seen, wrong = 0, -1, Counter[str]()
    for disk in states:
        count += 1
        done = disk[MARK_BYTES]
        first, seen = done > seen, max(seen, done)
        allowed = {boots for _, boots in STEPS[done : done + (1 if first else 2)]}
        found = name_boot(disk, wanted, board)
        if found not in allowed:
            wrong[f"after the step {STEPS[done][0]!r}: {found}"] += 1
    return Verdicts(judged=count, wrong=wrong)


def name_boot(disk: bytearray, wanted: Mapping[str, Boot], board: Board) -> str:
    try:
        found = what_boots(FatState(disk, START_BYTES), board)
    except LabError as error:
        return f"nothing: {error}"
    return next((name for name, boot in wanted.items() if boot == found), f"something else: {found.start}")


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Boot]:
    """What the old system is and what stage 2 is, as a disk has them that mtools wrote."""
    folder = tmp_path_factory.mktemp("wanted")
    armed = FILES | {action.path.removeprefix("/boot/"): action.content for action in boot_change()}
    disks = {OLD: make_disk(folder, "old", 32, FILES), NEW: make_disk(folder, "new", 32, armed)}
    return {name: what_boots(FatState(disk.read_bytes(), START_BYTES), RASPI3B.board) for name, disk in disks.items()}


@pytest.mark.parametrize("disk", [CARD, DISK], ids=lambda disk: disk.name)
def test_every_state_boots_the_old_system_or_stage_2(
    disk: Disk, recordings: Mapping[str, Recording], wanted: Mapping[str, Boot]
) -> None:
    recording = recordings[disk.name]
    verdicts = judge(disk.states(recording.before, recording.requests), wanted, RASPI3B.board)
    assert verdicts.wrong == {}
    assert verdicts.judged > 200


@pytest.mark.parametrize("disk", [PLAIN_CARD, PLAIN_DISK], ids=lambda disk: disk.name)
def test_the_order_that_is_right_elsewhere_leaves_states_that_boot_nothing(
    disk: Disk, recordings: Mapping[str, Recording], wanted: Mapping[str, Boot]
) -> None:
    """So the judge finds what it is there for."""
    recording = recordings[disk.name]
    verdicts = judge(disk.states(recording.before, recording.requests), wanted, RASPI3B.board)
    assert any("nothing" in what for what in verdicts.wrong), verdicts
