# SPDX-License-Identifier: Apache-2.0
"""Facts of devices that do not exist, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from balena_migrate.bootloaders.grub.environment import dump_environment
from balena_migrate.bootloaders.grub.files import GRUB_CFG, GRUBENV
from balena_migrate.core.memory import MemoryFacts
from balena_migrate.core.units import MIB
from balena_migrate.facts import (
    ESP_TYPES,
    BlockDevice,
    BootFacts,
    DiskFacts,
    EfiFacts,
    Facts,
    Firmware,
    FirmwareEntry,
    HardwareFacts,
    Mount,
    OsFacts,
)

GRUB_CFG_TEXT = (
    'if [ "${next_entry}" ] ; then\n  set default="${next_entry}"\nfi\nset timeout=5\n'
    "source ${config_directory}/custom.cfg\n"
)
PROGRAMS = ("mkinitramfs", "update-grub", "grub-mkimage", "grub-install", "systemctl")


def pc_facts(*, separate_boot: bool = False, files: Mapping[str, str] | None = None) -> Facts:
    """A PC with BIOS, Debian 12, 8 GiB disk, 2 GiB memory, ext4, GRUB 2; all is well with it."""
    disk = BlockDevice(
        name="sda",
        path="/dev/sda",
        kind="disk",
        size_bytes=8192 * MIB,
        table_id="12345678",
        table_type="dos",
        serial="S1",
    )
    root = _partition("sda1", "1111-root")
    boot = _partition("sda2", "2222-boot")
    mounts = [Mount(source="/dev/sda1", mount_point="/", fstype="ext4", size_bytes=8000 * MIB, free_bytes=6000 * MIB)]
    if separate_boot:
        mounts.append(Mount(source="/dev/sda2", mount_point="/boot", fstype="ext4", free_bytes=500 * MIB))
    return Facts(
        os=OsFacts(id="debian", version_id="12", pretty_name="Debian GNU/Linux 12 (bookworm)"),
        hardware=HardwareFacts(machine="x86_64", userland="amd64"),
        disks=DiskFacts(devices=(disk, root, boot) if separate_boot else (disk, root), mounts=tuple(mounts)),
        boot=BootFacts(
            firmware=Firmware.BIOS,
            kernel_release="6.1.0-test",
            kernel_command_line="BOOT_IMAGE=/boot/vmlinuz-6.1.0-test root=UUID=1111-root ro quiet",
            initramfs_bytes=30 * MIB,
            kernels=("/boot/vmlinuz-6.1.0-test",),
            files={GRUB_CFG: GRUB_CFG_TEXT, GRUBENV: dump_environment({}).decode(), **(files or {})},
        ),
        memory=MemoryFacts(total_bytes=2048 * MIB, available_bytes=1800 * MIB),
        programs={name: f"/usr/sbin/{name}" for name in PROGRAMS},
        uid=0,
    )


ESP_PARTUUID = "0b7b3a50-1f4f-4fb7-8f5a-40b3a8c2d901"
ROOT_PARTUUID = "a7d6f1c3-0f0a-4ce2-8b0d-9e6f3b5a2c18"


def uefi_facts(*, free_bytes: int = 500 * MIB, **efi: Any) -> Facts:
    """The same PC with UEFI: GPT, an EFI system partition of 512 MiB at /boot/efi, GRUB's and the network's entry."""
    facts = pc_facts()
    disk, root = facts.disks.devices
    esp = BlockDevice(
        name="sda1",
        path="/dev/sda1",
        kind="part",
        size_bytes=512 * MIB,
        start_bytes=MIB,
        parents=("sda",),
        fstype="vfat",
        uuid="8E1C-5B07",
        partuuid=ESP_PARTUUID,
        table_type="gpt",
        part_type=ESP_TYPES[0],
    )
    root = replace(root, name="sda2", path="/dev/sda2", partuuid=ROOT_PARTUUID, table_type="gpt")
    mounts = (
        replace(facts.disks.mounts[0], source="/dev/sda2"),
        Mount(source="/dev/sda1", mount_point="/boot/efi", fstype="vfat", options=("rw",), free_bytes=free_bytes),
    )
    known: dict[str, Any] = {
        "bits": 64,
        "current": 1,
        "order": (1, 0),
        "entries": (
            FirmwareEntry(number=0, label="UEFI PXEv4", partuuid="", file=""),
            FirmwareEntry(number=1, label="debian", partuuid=ESP_PARTUUID, file="EFI\\debian\\shimx64.efi"),
        ),
        "kernel_stub": True,
    }
    boot = replace(
        facts.boot,
        firmware=Firmware.UEFI,
        secure_boot=False,
        kernel_bytes=8 * MIB,
        efi=EfiFacts(**{**known, **efi}),
    )
    disks = DiskFacts(devices=(replace(disk, table_type="gpt"), esp, root), mounts=mounts)
    return replace(facts, disks=disks, boot=boot)


def with_disks(facts: Facts, *devices: BlockDevice, mounts: Iterable[Mount] = ()) -> Facts:
    """The facts with these devices and mounts besides."""
    disks = facts.disks
    more = replace(disks, devices=(*disks.devices, *devices), mounts=(*disks.mounts, *mounts))
    return replace(facts, disks=more)


PI_CMDLINE = "console=serial0,115200 root=PARTUUID=12345678-02 rootfstype=ext4 rootwait\n"
PI_FILES = {"config.txt": "arm_64bit=1\nauto_initramfs=1\n[cm4]\notg_mode=1", "cmdline.txt": PI_CMDLINE}


def pi_facts(
    *,
    disk: str = "mmcblk0",
    boot: str = "/boot/firmware",
    numbers: tuple[int, int] = (1, 2),
    revision: str = "a02082",
    tryboot: bool = False,
    files: Mapping[str, str] | None = None,
) -> Facts:
    """A Raspberry Pi (3 B) with Debian 12 on one disk; `numbers` are those of boot and root; all is well with it."""
    table = BlockDevice(
        name=disk, path=f"/dev/{disk}", kind="disk", size_bytes=8192 * MIB, table_id="12345678", table_type="dos"
    )
    names = [f"{disk}p{number}" if disk[-1].isdigit() else f"{disk}{number}" for number in numbers]
    fat, root = _partition(names[0], "AAAA-0001", disk, "vfat"), _partition(names[1], "1111-root", disk)
    mounts = (
        Mount(source=root.path, mount_point="/", fstype="ext4", size_bytes=8000 * MIB, free_bytes=6000 * MIB),
        Mount(source=fat.path, mount_point=boot, fstype="vfat", free_bytes=180 * MIB, block_bytes=2048),
    )
    own = {**PI_FILES, "cmdline.txt": PI_CMDLINE.replace("-02", f"-{numbers[1]:02}")}
    texts = {f"{boot}/{name}": text for name, text in (own if files is None else files).items()}
    return Facts(
        os=OsFacts(id="debian", version_id="12", pretty_name="Debian GNU/Linux 12 (bookworm)"),
        hardware=HardwareFacts(machine="aarch64", userland="armhf", model="Raspberry Pi", revision=revision),
        disks=DiskFacts(devices=(table, fat, root), mounts=mounts),
        boot=BootFacts(
            firmware=Firmware.RASPBERRY_PI,
            kernel_release="6.1.0-test",
            kernel_command_line=f"coherent_pool=1M {PI_CMDLINE.strip()}",
            tryboot=tryboot,
            files=texts,
        ),
        memory=MemoryFacts(total_bytes=1024 * MIB, available_bytes=900 * MIB),
        programs={name: f"/usr/sbin/{name}" for name in PROGRAMS},
        uid=0,
    )


def _partition(name: str, uuid: str, disk: str = "sda", fstype: str = "ext4") -> BlockDevice:
    return BlockDevice(
        name=name, path=f"/dev/{name}", kind="part", size_bytes=4000 * MIB, parents=(disk,), fstype=fstype, uuid=uuid
    )
