# SPDX-License-Identifier: Apache-2.0
"""A PC with a real Debian, installed as an installer would, and kept in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from balena_migrate.core.architectures import Architecture
from balena_migrate.core.progress import Say
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import fetch_packages
from balena_migrate.workstation.lab.console import Shell
from balena_migrate.workstation.lab.disklayout import DiskLayout, Kind, Part, Table, make_laid_out
from balena_migrate.workstation.lab.disks import mounted_system
from balena_migrate.workstation.lab.guests import FASTER_KERNEL, Guest, GuestDisk, initramfs_files, put_files
from balena_migrate.workstation.lab.machines.pc import PROGRAM, Firmware, PcMachine
from balena_migrate.workstation.lab.qemu import running

BOOT_TIMEOUT_S = 1800


@dataclass(frozen=True, kw_only=True)
class DebianPc(Guest):
    """How to build a PC's disk. `files` are added to the packages' files; `commands` run in the booted guest."""

    suite: str
    packages: tuple[str, ...]
    layout: DiskLayout
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    first_files: Mapping[str, str] = field(default_factory=dict)
    """Files that have to be there before the packages are installed: they make the guest's own initramfs small."""
    firmware: Firmware = Firmware.BIOS

    def build(self, disk_mib: int, cache: Path, say: Say) -> GuestDisk:
        """The disk boots on its own, with GRUB installed and configured by the guest's own programs."""

        def make(folder: Path) -> None:
            archive = _build_archive(self, cache, say)
            say(f"installing {self.name} on a disk of {disk_mib} MiB")
            _make_disk(self, archive, folder, disk_mib)
            say(f"booting {self.name} once, to install its boot loader")
            _boot_and_install(self, folder)
            if self.firmware is not Firmware.BIOS:
                say(f"booting {self.name} by that, so that the firmware adds its own boot entries")
                _boot_by_itself(self, folder)

        folder = cached(cache, f"{self.name}-disk", (self, disk_mib), make)
        return GuestDisk(
            disk=folder / "disk.img",
            machine=_machine(self, folder),
            file_systems=self.layout.file_systems(disk_mib * MIB),
        )


CONSOLE = f"console=tty0 console=ttyS0,115200 {FASTER_KERNEL}"
_UNITS = "etc/systemd/system"
ROOT_UUID = "0f6d3c1e-7a52-4b39-9d0e-5c1b8a7e2f41"
ROOT = Part(kind=Kind.ROOT, uuid=ROOT_UUID)
_DISK_DRIVERS = (
    *("ahci", "sd_mod", "nvme", "virtio_pci", "virtio_blk", "virtio_scsi", "xhci_pci", "usb_storage", "uas"),
    *("sdhci_pci", "mmc_block"),
)
"""Those of all buses on which the disk may hang."""

_SHELL = """\
# A root shell, without the device unit that a getty waits for: on a busy workstation that takes minutes to appear.
[Unit]
After=network.target

[Service]
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 ttyS1 dumb
Restart=always
"""

_MASKED = (
    # No timer must change files while a rehearsal compares them.
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("e2scrub_reap.service", "systemd-tmpfiles-clean.timer"),
    # These only cost time in QEMU: the only login is on the second serial port, and nothing is mounted or plugged in.
    *("getty@tty1.service", "serial-getty@ttyS0.service", "systemd-logind.service", "systemd-user-sessions.service"),
    *("dbus.service", "dbus.socket", "systemd-rfkill.socket", "systemd-fsckd.socket", "systemd-binfmt.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-random-seed.service"),
    *("systemd-journal-flush.service", "systemd-sysusers.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
)

DEBIAN_12 = DebianPc(
    name="debian-12-amd64",
    boot_folder="boot",
    old_names=(ROOT_UUID,),
    disk_mib=4096,
    memory_mib=1024,
    reboot="systemctl reboot",
    power_off="systemctl poweroff",
    suite="bookworm",
    architecture="amd64",
    packages=(
        *("linux-image-amd64", "initramfs-tools", "zstd", "grub-pc"),
        *("systemd-sysv", "udev", "kmod", "dbus", "iproute2", "procps", "e2fsprogs", "fdisk"),
    ),
    layout=DiskLayout(table_id="0x5a3c91e7", parts=(ROOT,)),
    files={
        "etc/hostname": "depot-gateway\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 depot-gateway\n",
        "etc/default/grub": (
            'GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=""\n'
            f'GRUB_CMDLINE_LINUX="{CONSOLE}"\nGRUB_TERMINAL="console serial"\n'
            'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n'
        ),
        "etc/systemd/network/20-wired.network": (
            "[Match]\nName=en*\n\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nDNS=10.0.2.3\n"
        ),
        # The name server of QEMU's network, and not the one of the machine on which this was built.
        "etc/resolv.conf": "nameserver 10.0.2.3\n",
        f"{_UNITS}/lab-shell.service": _SHELL,
        # On a busy workstation, starting the network may take minutes.
        "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStartSec=30min\n",
        "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\n",
    },
    links={
        f"{_UNITS}/multi-user.target.wants/lab-shell.service": f"/{_UNITS}/lab-shell.service",
        f"{_UNITS}/multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
        f"{_UNITS}/default.target": "/lib/systemd/system/multi-user.target",
        **{f"{_UNITS}/{unit}": "/dev/null" for unit in _MASKED},
    },
    commands=("grub-install /dev/sda", "update-grub"),
    # For the initramfs that its packages make here, and for that of INITRAMFS=initramfs-tools.
    first_files=initramfs_files((*_DISK_DRIVERS, "ext4")),
)
DEBIAN_11 = replace(DEBIAN_12, name="debian-11-amd64", suite="bullseye")
DEBIAN_13 = replace(DEBIAN_12, name="debian-13-amd64", suite="trixie")

_DRACUT = f'hostonly="no"\ndrivers=" {" ".join(_DISK_DRIVERS)} ext4 "\ncompress="zstd"\n'
DEBIAN_13_DRACUT = replace(
    DEBIAN_13,
    name="debian-13-dracut-amd64",
    packages=tuple("dracut" if name == "initramfs-tools" else name for name in DEBIAN_12.packages),
    first_files={"etc/dracut.conf.d/lab.conf": _DRACUT},
)

_USR = Part(kind=Kind.USR, size_bytes=1024 * MIB, uuid="6f1c2a90-5b7e-4d83-8e21-90c4d7b3a5f6")
DEBIAN_12_USR = replace(
    DEBIAN_12,
    name="debian-12-usr-amd64",
    layout=replace(DEBIAN_12.layout, parts=(ROOT, _USR)),
)

DEBIAN_12_GPT = replace(
    DEBIAN_12,
    name="debian-12-gpt-amd64",
    layout=DiskLayout(
        table=Table.GPT,
        table_id="7d0c1c5b-2a8f-4b46-9be4-6f1d0c8f2a31",
        parts=(
            Part(kind=Kind.BIOS_GRUB, size_bytes=MIB),
            Part(kind=Kind.BOOT, size_bytes=256 * MIB, uuid="e2a9b1d4-3c5f-4a7b-8d60-1f2e3d4c5b6a"),
            Part(kind=Kind.SWAP, size_bytes=256 * MIB, uuid="a1c3e5f7-9b0d-4c2e-8f6a-7b5d3e1c9a80"),
            ROOT,
        ),
        swap_file_bytes=64 * MIB,
    ),
)


DEBIAN_12_I386 = replace(
    DEBIAN_12,
    name="debian-12-i386",
    architecture="i386",
    packages=tuple("linux-image-686" if name == "linux-image-amd64" else name for name in DEBIAN_12.packages),
)


def _machine(guest: DebianPc, folder: Path) -> PcMachine:
    """The guest's machine, with a processor of its architecture and no better one."""
    processor = "qemu32" if guest.architecture == Architecture.I386 else "qemu64"
    return PcMachine(kernel=folder / "vmlinuz", processor=processor, firmware=guest.firmware)


def _build_archive(guest: DebianPc, cache: Path, say: Say) -> Path:
    """A tar file of the root file system as installed from Debian's packages; guests with the same ones share it."""
    hooks = (_hook(name, text) for name, text in guest.first_files.items())
    # A 64-bit PC runs the programs of a 32-bit one by itself.
    native = ("--skip=check/qemu",) if guest.architecture == Architecture.I386 else ()
    options = ("--mode=root", "--variant=minbase", *native, *hooks)
    recipe = (guest.suite, guest.architecture, guest.packages, options)

    def make(folder: Path) -> None:
        say(f"fetching and unpacking the packages of {guest.name}")
        fetch_packages(guest.architecture, guest.packages, folder / "root.tar", options=options, suite=guest.suite)

    return cached(cache, f"debian-{guest.suite}-{guest.architecture}-root", recipe, make) / "root.tar"


def _hook(name: str, text: str) -> str:
    """Has mmdebstrap write the file before it installs the packages that are not essential."""
    return f"--essential-hook=install -D -m 644 /dev/stdin \"$1/{name}\" <<'END'\n{text}END\n"


def _make_disk(guest: DebianPc, archive: Path, folder: Path, disk_mib: int) -> None:
    disk = folder / "disk.img"
    systems = make_laid_out(disk, disk_mib * MIB, guest.layout)
    with mounted_system(disk, systems) as mount_point:
        options = ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
        System().run(["tar", "-x", "-f", archive, "-C", mount_point, *options])
        put_files(mount_point, {"etc/fstab": guest.layout.fstab, **guest.files})
        for name, target in guest.links.items():
            link = mount_point / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        for name in ("vmlinuz", "initrd.img"):
            (folder / name).write_bytes((mount_point / name).resolve().read_bytes())


def _boot_and_install(guest: DebianPc, folder: Path) -> None:
    """The only boot with a kernel from the host: afterwards the disk boots on its own.

    Firmware with Secure Boot would not start that kernel; one without it leaves the same variables.
    """
    guest.firmware.new_store(folder / "disk.img")
    machine = _machine(guest, folder)
    if guest.firmware is Firmware.SECURE_BOOT:
        machine = replace(machine, firmware=Firmware.UEFI)
    arguments = ["-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd.img"]
    arguments += ["-append", f"root=UUID={guest.layout.find_uuid(Kind.ROOT)} ro {CONSOLE}"]
    _boot(guest, machine, folder, arguments, guest.commands)
    (folder / "initrd.img").unlink()


def _boot_by_itself(guest: DebianPc, folder: Path) -> None:
    _boot(guest, _machine(guest, folder), folder, (), ())


def _boot(guest: DebianPc, machine: PcMachine, folder: Path, arguments: Sequence[str], commands: Iterable[str]) -> None:
    """The guest has booted, run these commands and shut itself down."""
    _, *common = machine.argv([folder / "disk.img"], guest.memory_mib, folder)
    logs = {"console": folder / "install-console.log", "shell": folder / "install-shell.log"}
    with running(PROGRAM, [*common, *arguments], serial_logs=logs) as device:
        shell = Shell(device.consoles["shell"])
        shell.log_in(BOOT_TIMEOUT_S)
        for command in commands:
            shell.run(command, timeout_s=BOOT_TIMEOUT_S)
        device.consoles["shell"].send(f"{guest.power_off}\n")
        device.wait_off(BOOT_TIMEOUT_S)
