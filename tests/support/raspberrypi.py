# SPDX-License-Identifier: Apache-2.0
"""Facts of Raspberry Pis by what is in their boot partition, and where that is mounted."""

from __future__ import annotations

from balena_migrate.core.memory import MemoryFacts
from balena_migrate.facts import BlockDevice, BootFacts, DiskFacts, Facts, Firmware, HardwareFacts, Mount, OsFacts

CMDLINE = "console=tty1 root=PARTUUID=1-02 rootwait\n"


def device(name: str, kind: str = "part", fstype: str = "", uuid: str = "") -> BlockDevice:
    parents = () if kind == "disk" else (name.rstrip("0123456789").removesuffix("p") or name,)
    parents = ("mmcblk0",) if name.startswith("mmcblk0p") else parents
    start = 0 if kind == "disk" else int(name[-1]) << 20
    return BlockDevice(
        name=name,
        path=f"/dev/{name}",
        kind=kind,
        size_bytes=1 << 30,
        parents=parents,
        start_bytes=start,
        fstype=fstype,
        uuid=uuid,
    )


DISKS = (
    device("mmcblk0", "disk"),
    device("mmcblk0p1", fstype="vfat", uuid="AAAA-0001"),
    device("mmcblk0p2", fstype="ext4", uuid="root"),
    device("mmcblk0p6", fstype="vfat", uuid="AAAA-0006"),
    device("mmcblk0p7", fstype="ext4", uuid="root7"),
    device("sda", "disk"),
    device("sda1", fstype="vfat", uuid="AAAA-5DA1"),
)


def facts(
    files: dict[str, str],
    mounts: dict[str, str] | None = None,
    options: tuple[str, ...] = ("rw",),
    revision: str = "a02082",
    tryboot: bool = False,
    unreadable: dict[str, str] | None = None,
) -> Facts:
    """A Raspberry Pi 3; `mounts` is mount point -> partition, all but the root are FAT."""
    places = {"/": "mmcblk0p2", "/boot": "mmcblk0p1"} if mounts is None else mounts
    return Facts(
        os=OsFacts(id="raspbian", version_id="9"),
        hardware=HardwareFacts(machine="aarch64", userland="armhf", model="Raspberry Pi x", revision=revision),
        disks=DiskFacts(
            devices=DISKS,
            mounts=tuple(
                Mount(
                    source=f"/dev/{name}",
                    mount_point=point,
                    fstype="ext4" if point == "/" else "vfat",
                    options=options if point != "/" else ("rw",),
                )
                for point, name in places.items()
            ),
        ),
        boot=BootFacts(
            firmware=Firmware.RASPBERRY_PI,
            kernel_release="6.1",
            kernel_command_line=f"coherent_pool=1M {CMDLINE.strip()}",
            files=files,
            tryboot=tryboot,
            unreadable=unreadable or {},
        ),
        memory=MemoryFacts(total_bytes=1 << 30, available_bytes=1 << 29),
        programs={},
        uid=0,
    )
