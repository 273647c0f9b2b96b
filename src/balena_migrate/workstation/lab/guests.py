# SPDX-License-Identifier: Apache-2.0
"""Virtual devices' operating systems: real Debian, installed as an installer would, and kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.core.system import System
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import fetch_packages
from balena_migrate.workstation.lab.console import Shell
from balena_migrate.workstation.lab.disks import MIB, Span, make_disk, make_ext4, mounted, read_partitions
from balena_migrate.workstation.lab.qemu import find_accelerator, pc_arguments, running

BOOT_TIMEOUT_S = 1800
INSTALL_MEMORY_MIB = 1024

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Guest:
    """How to make a PC's disk. `files` are put over what the packages brought; `commands` run in the booted guest."""

    name: str
    suite: str
    architecture: str
    packages: tuple[str, ...]
    root_uuid: str
    table_id: str
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()


_CONSOLE = "console=tty0 console=ttyS0,115200"
_UNITS = "etc/systemd/system"
_ROOT_UUID = "0f6d3c1e-7a52-4b39-9d0e-5c1b8a7e2f41"

DEBIAN_12 = Guest(
    name="debian-12-amd64",
    suite="bookworm",
    architecture="amd64",
    packages=(
        *("linux-image-amd64", "initramfs-tools", "zstd", "grub-pc"),
        *("systemd-sysv", "udev", "kmod", "dbus", "iproute2", "procps", "e2fsprogs", "fdisk"),
    ),
    root_uuid=_ROOT_UUID,
    table_id="0x5a3c91e7",
    files={
        "etc/fstab": f"UUID={_ROOT_UUID} / ext4 errors=remount-ro 0 1\n",
        "etc/hostname": "depot-gateway\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 depot-gateway\n",
        "etc/default/grub": (
            'GRUB_DEFAULT=0\nGRUB_TIMEOUT=1\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=""\n'
            f'GRUB_CMDLINE_LINUX="{_CONSOLE}"\nGRUB_TERMINAL="console serial"\n'
            'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n'
        ),
        # The modules of this machine only: a tenth of the time and size, when the device's own settings are used.
        "etc/initramfs-tools/conf.d/lab": "MODULES=dep\nCOMPRESSLEVEL=1\n",
        "etc/systemd/network/20-wired.network": (
            "[Match]\nName=en*\n\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nDNS=10.0.2.3\n"
        ),
        f"{_UNITS}/serial-getty@ttyS1.service.d/lab.conf": (
            "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %I dumb\n"
        ),
        # On a busy workstation a device unit may take minutes to appear; then there would be no login.
        "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStartSec=30min\n",
        "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\n",
    },
    links={
        f"{_UNITS}/getty.target.wants/serial-getty@ttyS1.service": "/lib/systemd/system/serial-getty@.service",
        f"{_UNITS}/multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
        # No timer may change files while a rehearsal compares them.
        f"{_UNITS}/apt-daily.timer": "/dev/null",
        f"{_UNITS}/apt-daily-upgrade.timer": "/dev/null",
        f"{_UNITS}/dpkg-db-backup.timer": "/dev/null",
        f"{_UNITS}/e2scrub_all.timer": "/dev/null",
        f"{_UNITS}/fstrim.timer": "/dev/null",
        f"{_UNITS}/e2scrub_reap.service": "/dev/null",
    },
    commands=("grub-install /dev/sda", "update-grub"),
)


@dataclass(frozen=True, kw_only=True)
class BuiltGuest:
    """A guest's disk in the cache, which is copied and never started; its kernel probes the accelerators."""

    disk: Path
    kernel: Path

    @property
    def root(self) -> Span:
        """Where the root file system lies on the disk."""
        return read_partitions(self.disk)[0]


def build_guest(guest: Guest, cache: Path, *, disk_mib: int, progress: Progress) -> BuiltGuest:
    """The disk of a guest that boots by itself, with GRUB installed and configured by the guest's own programs."""
    archive = build_archive(guest, cache, progress)

    def make(folder: Path) -> None:
        progress(f"installing {guest.name} on a disk of {disk_mib} MiB")
        _make_guest_disk(guest, archive, folder, disk_mib)
        progress(f"booting {guest.name} once, to install GRUB")
        _boot_and_install(guest, folder)

    folder = cached(cache, f"{guest.name}-disk", (guest, disk_mib), make)
    return BuiltGuest(disk=folder / "disk.img", kernel=folder / "vmlinuz")


def build_archive(guest: Guest, cache: Path, progress: Progress) -> Path:
    """A tar file of the root file system as Debian's packages make it."""
    recipe = (guest.suite, guest.architecture, guest.packages)

    def make(folder: Path) -> None:
        progress(f"fetching and unpacking {guest.name}")
        options = ("--mode=root", "--variant=minbase")
        fetch_packages(guest.architecture, guest.packages, folder / "root.tar", options=options, suite=guest.suite)

    return cached(cache, f"{guest.name}-root", recipe, make) / "root.tar"


def put_files(root: Path, files: Mapping[str, str | bytes]) -> None:
    """These files are below the folder. Files whose folder is called private are for root only, as are keyfiles."""
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


def _make_guest_disk(guest: Guest, archive: Path, folder: Path, disk_mib: int) -> None:
    disk = folder / "disk.img"
    root = make_disk(disk, disk_mib * MIB, table_id=guest.table_id)
    make_ext4(disk, root, label="root", uuid=guest.root_uuid)
    with mounted(disk, root) as mount_point:
        options = ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
        System().run(["tar", "-x", "-f", archive, "-C", mount_point, *options])
        put_files(mount_point, guest.files)
        for name, target in guest.links.items():
            link = mount_point / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        for name in ("vmlinuz", "initrd.img"):
            (folder / name).write_bytes((mount_point / name).resolve().read_bytes())


def _boot_and_install(guest: Guest, folder: Path) -> None:
    """The only boot that is given a kernel from outside: afterwards the disk boots by itself."""
    arguments = pc_arguments(
        folder / "disk.img", memory_mib=INSTALL_MEMORY_MIB, accelerator=find_accelerator(folder / "vmlinuz")
    )
    arguments += ["-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd.img"]
    arguments += ["-append", f"root=UUID={guest.root_uuid} ro {_CONSOLE}", "-no-reboot"]
    logs = {"console": folder / "install-console.log", "shell": folder / "install-shell.log"}
    with running("qemu-system-x86_64", arguments, serial_logs=logs) as device:
        shell = Shell(device.consoles["shell"])
        shell.log_in(BOOT_TIMEOUT_S)
        for command in guest.commands:
            shell.run(command, timeout_s=BOOT_TIMEOUT_S)
        device.consoles["shell"].send("systemctl poweroff\n")
        device.wait_off(BOOT_TIMEOUT_S)
    (folder / "initrd.img").unlink()
