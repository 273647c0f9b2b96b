# SPDX-License-Identifier: Apache-2.0
"""Readers of what the kernel, programs and the system's own files say of a device, and of our own files on it."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import struct
from pathlib import Path

from balena_migrate.core.blockdev import parse_blkid, read_number, read_serial
from balena_migrate.core.changes import Undo, UndoRecord
from balena_migrate.core.errors import CommandError, FileError, JournalError
from balena_migrate.core.handover import dump_handover, parse_handover
from balena_migrate.core.journal import Entry, Event, append, parse_journal
from balena_migrate.core.kit_sums import parse_sums
from balena_migrate.core.memory import parse_meminfo
from balena_migrate.core.mountinfo import MOUNTINFO, mounts_below, parse_mountinfo, read_mountinfo
from balena_migrate.core.os_version import parse_version
from balena_migrate.core.paths import JOURNAL, STAGE2_RESULT
from balena_migrate.core.stage2_result import Stage2Ending, Stage2Result, find_stage2_result, write_stage2_result
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.facts.disks import parse_lsblk
from balena_migrate.facts.hardware import (
    parse_cpuinfo_long_mode,
    parse_cpuinfo_model,
    parse_cpuinfo_revision,
    parse_device_tree_strings,
)
from balena_migrate.facts.luks import parse_luks_tokens, read_luks_tokens
from balena_migrate.facts.network import (
    RTM_NEWADDR,
    RTM_NEWROUTE,
    parse_addresses,
    parse_default_routes,
    parse_iw_country,
    parse_iw_link,
)
from balena_migrate.facts.os import parse_os_release
from balena_migrate.initramfs._cpio import Archive, read_names
from balena_migrate.initramfs.composed.kernel_config import RUNNING, parse_kernel_config, read_kernel_config
from balena_migrate.initramfs.composed.kernel_modules import (
    KernelModules,
    firmware_names,
    parse_aliases,
    parse_dependencies,
    parse_parameters,
    parse_softdeps,
    read_module,
)
from balena_migrate.initramfs.initramfs_tools import read_packed
from tests.fuzz.reader import Call, Reader, of_bytes, of_file, of_text, these
from tests.support.handover import HANDOVER

MOUNTS = """22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
30 22 8:1 / /boot\\040x rw - vfat /dev/sda1 rw
31 30 0:5 /a /boot\\040x/b ro - tmpfs tmpfs rw
"""
LSBLK = json.dumps(
    {
        "blockdevices": [
            {"name": "sda", "path": "/dev/sda", "type": "disk", "size": 8 << 30, "log-sec": 512, "ro": False}
            | {"children": [{"name": "sda1", "type": "part", "size": "1048576", "start": 2048, "fstype": "ext4"}]}
        ]
    }
)
CPUINFO = """processor\t: 0
flags\t\t: fpu lm
Hardware\t: BCM2835
Revision\t: a02082
Model\t\t: Raspberry Pi 3 Model B Rev 1.2
"""
MODULES_DEP = "kernel/a.ko.xz: kernel/b.ko kernel/c.ko\nkernel/b.ko: kernel/c.ko\nkernel/c.ko:\n"
MODPROBE = "softdep a pre: b post: c\noptions a x=1 y=2\nalias pci:v0000* a\nsoftdep b pre: a\n"


def mounts(text: str) -> None:
    mounts_below(parse_mountinfo(text), Path("/boot x"))


def modules(text: str) -> None:
    """As far as a file of each kind decides what is loaded."""
    files, needed = parse_dependencies(text)
    index = KernelModules(
        folder="/lib/modules/1",
        files=files,
        needed=needed,
        softdeps=parse_softdeps(text),
        aliases=parse_aliases(text),
        parameters=parse_parameters(text, text),
    )
    index.closure(index.files)
    index.find("pci:v00008086")


def journal_sample(folder: Path) -> list[bytes]:
    system = System(folder)
    system.real(JOURNAL).parent.mkdir(parents=True, exist_ok=True)
    record = UndoRecord(undo=Undo.REWRITE, path="/boot/grub/grubenv", content=b"\xff", mode=0o644, mtime_ns=7)
    for entry in (
        Entry(event=Event.BEGIN),
        Entry(event=Event.INTENT, number=1, title="write", record=record),
        Entry(event=Event.DONE, number=1),
        Entry(event=Event.ARMED, boot_id="b"),
    ):
        append(system, entry)
    return [system.read_bytes(JOURNAL)]


def journal(text: str) -> None:
    found = parse_journal(text)
    assert all(entry.record is not None for entry in found.pending)
    assert found.state is not None and found.armed_boot_id is not None


def result_sample(folder: Path) -> list[bytes]:
    system = System(folder)
    system.real(STAGE2_RESULT).parent.mkdir(parents=True, exist_ok=True)
    write_stage2_result(system, Stage2Result(ending=Stage2Ending.FAILED, step=next(iter(Step)), reason="r"), "log")
    return [system.read_bytes(STAGE2_RESULT)]


def archive() -> bytes:
    file = io.BytesIO()
    made = Archive(file)
    made.folder("dev")
    made.character_device("dev/console", 5, 1)
    made.file("init", b"#!/bin/sh\n", mode=0o755)
    made.link("linuxrc", "init")
    made.end()
    return file.getvalue()


def of_module(ending: str) -> Call:
    path = f"/module.ko{ending}"
    return of_file(path, lambda system: firmware_names(read_module(system, path)))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value.ljust(-(-len(value) // 4) * 4, b"\0")


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


ADDRESSES = b"".join(
    _message(RTM_NEWADDR, struct.pack("=BBBBI", 2, 24, 0x80, 0, index) + _attribute(1, address) + _attribute(8, flags))
    for index, address, flags in ((1, bytes((192, 0, 2, 7)), bytes(4)), (2, bytes((32, 1)) + bytes(14), b"\1\0\0\0"))
)
ROUTES = b"".join(
    _message(
        RTM_NEWROUTE,
        struct.pack("=8B", 2, 0, 0, 0, table, 0, 0, 1)
        + bytes(4)
        + _attribute(5, bytes((192, 0, 2, 1)))
        + _attribute(4, b"\1\0\0\0")
        + _attribute(9, struct.pack("=HBBi", 16, 0, 0, 2) + _attribute(5, bytes((192, 0, 2, 2)))),
    )
    for table in (254, 7)
)
NAMES = {1: "eth0", 2: "wlan0"}
LUKS_JSON = json.dumps({"keyslots": {}, "tokens": {"0": {"type": "systemd-tpm2", "keyslots": ["0"]}}}).encode()
LUKS_HEADER = (b"LUKS\xba\xbe" + struct.pack(">HQ", 2, 16384)).ljust(4096, b"\0") + LUKS_JSON.ljust(12288, b"\0")

READERS = (
    Reader(
        name="core.handover.parse_handover",
        read=of_text(parse_handover),
        samples=these(dump_handover(HANDOVER)),
        raises=(FileError,),
        is_text=True,
    ),
    Reader(
        name="core.kit_sums.parse_sums",
        read=of_text(parse_sums),
        samples=these("".join(f"{digit * 64}  base/{digit}\n" for digit in "0af").encode()),
        raises=(FileError,),
        is_text=True,
    ),
    Reader(
        name="core.journal.parse_journal",
        read=of_text(journal),
        samples=journal_sample,
        raises=(JournalError,),
        covers=("core.journal.read_journal",),
        is_text=True,
    ),
    Reader(
        name="core.stage2_result.find_stage2_result",
        read=of_file(STAGE2_RESULT, find_stage2_result),
        samples=result_sample,
        raises=(FileError,),
        is_text=True,
    ),
    Reader(
        name="core.mountinfo.parse_mountinfo",
        read=of_text(mounts),
        samples=these(MOUNTS),
        raises=(ValueError,),
        is_text=True,
    ),
    Reader(
        name="core.mountinfo.read_mountinfo",
        read=of_file(MOUNTINFO, read_mountinfo),
        samples=these(MOUNTS),
        raises=(FileError,),
        is_text=True,
    ),
    Reader(
        name="core.memory.parse_meminfo",
        read=of_text(parse_meminfo),
        samples=these("MemTotal:  1024 kB\nMemFree: 512 kB\nActive(file): 1 kB\nMemAvailable:  600 kB\n"),
        covers=("core.memory.read_memory",),
        is_text=True,
    ),
    Reader(
        name="core.blockdev.parse_blkid",
        read=of_text(parse_blkid),
        samples=these("DEVNAME=/dev/sda1\nUUID=a\nTYPE=ext4\n\nDEVNAME=/dev/sda2\nLABEL=b\n"),
        covers=("core.blockdev.read_probes",),
        is_text=True,
    ),
    Reader(
        name="core.blockdev.read_number",
        read=of_file(
            "/sys/class/block/sda/serial",
            lambda system: (read_number(system, "/sys/class/block/sda/serial"), read_serial(system, "sda")),
        ),
        samples=these("2048\n"),
        covers=("core.blockdev.read_serial",),
        is_text=True,
    ),
    Reader(
        name="core.os_version.parse_version",
        read=of_text(parse_version),
        samples=these("2.15.1+rev2"),
        is_text=True,
    ),
    Reader(
        name="facts.disks.parse_lsblk",
        read=of_text(parse_lsblk),
        samples=these(LSBLK),
        raises=(ValueError,),
        is_text=True,
    ),
    Reader(
        name="facts.hardware.parse_cpuinfo_model",
        read=of_text(
            lambda text: (parse_cpuinfo_model(text), parse_cpuinfo_revision(text), parse_cpuinfo_long_mode(text))
        ),
        samples=these(CPUINFO),
        covers=("facts.hardware.parse_cpuinfo_revision", "facts.hardware.parse_cpuinfo_long_mode"),
        is_text=True,
    ),
    Reader(
        name="facts.hardware.parse_device_tree_strings",
        read=of_bytes(parse_device_tree_strings),
        samples=these(b"raspberrypi,4-model-b\0brcm,bcm2711\0"),
    ),
    Reader(
        name="facts.os.parse_os_release",
        read=of_text(lambda text: parse_os_release(text, text)),
        samples=these('PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_ID="12"\n'),
        covers=("facts.os.read_os",),
        is_text=True,
    ),
    Reader(
        name="facts.luks.parse_luks_tokens",
        read=of_bytes(parse_luks_tokens),
        samples=these(LUKS_JSON + bytes(40)),
        is_text=True,
        limit_bytes=4 << 20,
    ),
    Reader(
        name="facts.luks.read_luks_tokens",
        read=of_file("/dev/sda3", lambda system: read_luks_tokens(system, "/dev/sda3")),
        samples=these(LUKS_HEADER),
    ),
    Reader(
        name="facts.network.parse_addresses",
        read=of_bytes(lambda content: parse_addresses(content, NAMES)),
        samples=these(ADDRESSES),
    ),
    Reader(
        name="facts.network.parse_default_routes",
        read=of_bytes(lambda content: parse_default_routes(content, NAMES)),
        samples=these(ROUTES),
    ),
    Reader(
        name="facts.network.parse_iw_link",
        read=of_text(lambda text: (parse_iw_link(text), parse_iw_country(text))),
        samples=these("Connected to 00:11:22:33:44:55\n\tSSID: Barn\\x20\n\tfreq: 2412.0\n", "country DE: DFS-ETSI\n"),
        covers=("facts.network.parse_iw_country",),
        is_text=True,
    ),
    Reader(
        name="initramfs._cpio.read_names",
        read=of_bytes(lambda content: list(read_names(io.BytesIO(content)))),
        samples=these(archive(), archive() + bytes(500) + archive() + b"\x1f\x8b"),
        raises=(ValueError,),
    ),
    Reader(
        name="initramfs.initramfs_tools.read_packed",
        read=of_file("/boot/initrd.img", lambda system: read_packed(system, "/boot/initrd.img")),
        samples=these(archive() + gzip.compress(archive())),
        raises=(FileError,),
        cost=4,
    ),
    Reader(
        name="initramfs.composed.kernel_modules.parse_dependencies",
        read=of_text(modules),
        samples=these(MODULES_DEP + MODPROBE),
        covers=tuple(
            f"initramfs.composed.kernel_modules.{name}"
            for name in ("parse_softdeps", "parse_aliases", "parse_parameters", "read_kernel_modules")
        ),
        is_text=True,
    ),
    *(
        Reader(
            name="initramfs.composed.kernel_modules.read_module",
            read=of_module(ending),
            samples=these(pack(b"\x7fELF" + bytes(99) + b"\0firmware=a/b.bin\0")),
            raises=(FileError, CommandError),
        )
        for ending, pack in (("", bytes), (".gz", gzip.compress), (".xz", lzma.compress))
    ),
    Reader(
        name="initramfs.composed.kernel_config.read_kernel_config",
        read=of_file(RUNNING, lambda system: read_kernel_config(system, "1")),
        samples=these(gzip.compress(b"CONFIG_EXT4_FS=y\n# CONFIG_A is not set\nCONFIG_B=m\n")),
    ),
    Reader(
        name="initramfs.composed.kernel_config.parse_kernel_config",
        read=of_text(parse_kernel_config),
        samples=these("CONFIG_EXT4_FS=y\n# CONFIG_A is not set\nCONFIG_B=m\n"),
        is_text=True,
    ),
)
