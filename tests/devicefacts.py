"""Facts of devices that do not exist, for tests."""

from __future__ import annotations

from collections.abc import Mapping

from balena_migrate.bootloaders.grub import GRUB_CFG, GRUBENV, dump_environment
from balena_migrate.facts import (
    BlockDevice,
    BootFacts,
    DiskFacts,
    Facts,
    Firmware,
    HardwareFacts,
    MemoryFacts,
    Mount,
    OsFacts,
)

MIB = 1 << 20
GRUB_CFG_TEXT = (
    'if [ "${next_entry}" ] ; then\n  set default="${next_entry}"\nfi\nsource ${config_directory}/custom.cfg\n'
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
            files={GRUB_CFG: GRUB_CFG_TEXT, GRUBENV: dump_environment({}).decode(), **(files or {})},
        ),
        memory=MemoryFacts(total_bytes=2048 * MIB, available_bytes=1800 * MIB),
        programs={name: f"/usr/sbin/{name}" for name in PROGRAMS},
        uid=0,
    )


def _partition(name: str, uuid: str) -> BlockDevice:
    return BlockDevice(
        name=name, path=f"/dev/{name}", kind="part", size_bytes=4000 * MIB, parents=("sda",), fstype="ext4", uuid=uuid
    )
