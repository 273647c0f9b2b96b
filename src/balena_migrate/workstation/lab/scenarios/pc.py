# SPDX-License-Identifier: Apache-2.0
"""The rehearsals on PCs."""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.core.steps import Step, done, started
from balena_migrate.core.units import MIB
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab import networked, owner
from balena_migrate.workstation.lab.acts import (
    Act,
    Damaged,
    DataGrow,
    FallsBack,
    Faulty,
    LogDrive,
    OldSystem,
    OtherDisk,
    Printed,
    Refused,
    Shows,
    Stage1,
    Stage2,
    Stage2Dies,
    Status,
    Undo,
)
from balena_migrate.workstation.lab.buses import Bus
from balena_migrate.workstation.lab.damage import LAST_LINE, OTHER_UUID, Damage
from balena_migrate.workstation.lab.fault import Fault
from balena_migrate.workstation.lab.foreign import GREETING
from balena_migrate.workstation.lab.guests.debian_pc import (
    DEBIAN_11,
    DEBIAN_12,
    DEBIAN_12_GPT,
    DEBIAN_12_I386,
    DEBIAN_12_USR,
    DEBIAN_13,
    DEBIAN_13_DRACUT,
    ROOT_UUID,
)
from balena_migrate.workstation.lab.lookalike import find_spec
from balena_migrate.workstation.lab.prepare import LOG_DRIVE_UUID
from balena_migrate.workstation.lab.scenarios import (
    CUT_STAGE1,
    CUT_STAGE2,
    LOST_START,
    MEMORY_LIMIT,
    MIGRATION,
    NO_FLASH,
    NO_SETUP,
    UNDO,
    Scenario,
)
from balena_migrate.workstation.lab.wishes import Device, Expect, Wishes

PC = Device(guest=DEBIAN_12, image=find_spec("intel-nuc"))

WATCHDOG = ("-device", "i6300esb", "-action", "watchdog=reset")
WATCHDOG_FILES = {"etc/modprobe.d/watchdog.conf": "options i6300esb heartbeat=15\n"}

_SMALL_32 = replace(find_spec("intel-core2-32"), root_bytes=64 * MIB, data_bytes=40 * MIB)
"""With smaller partitions than the real one, and fewer files: it is there for its boot chain."""

PC_BIOS = Scenario(
    name="pc-bios",
    description="PC with BIOS and GRUB, Debian 12, current image for intel-nuc",
    device=PC,
)

PC_NETWORK = Scenario(
    name="pc-network",
    description="network settings of every kind, loaded by a real NetworkManager; KEEP; volumes and a plain "
    "backup, which are larger than the image's resin-data partition: stage 2 grows it",
    device=replace(
        PC,
        image=replace(find_spec("intel-nuc-network"), root_bytes=160 * MIB, data_bytes=64 * MIB),
        hardware=(*networked.SECOND_CARD, *WATCHDOG),
    ),
    wishes=Wishes(
        settings={
            "BACKUP_DIRECTORIES": "/etc",
            "BACKUP_VOLUMES": networked.VOLUMES_NAME,
            "KEEP": "hostname ssh-keys time-servers dns-servers country machine-id",
        },
        files={**networked.FILES, **WATCHDOG_FILES},
        data_mib=96,
    ),
    expect=Expect(
        composed_files=("system-proxy/redsocks.conf",),
        netplan_networks=frozenset(networked.NETPLAN_NETWORKS),
        profiles=networked.PROFILES,
        proxy=networked.PROXY_SETTINGS,
        volumes=networked.VOLUMES,
        kept=networked.KEPT,
        machine_id=networked.MACHINE_ID,
        grows_data=True,
    ),
    in_tests=True,
)


FULL_MEMORY_MIB = 384
PC_FULL_MEMORY = replace(PC_BIOS, device=replace(PC, memory_mib=FULL_MEMORY_MIB))
_IN_CGROUP = Shows(
    command="cd /sys/fs/cgroup && echo +memory >cgroup.subtree_control && mkdir small && echo 128M >small/memory.max "
    "&& echo $$ >small/cgroup.procs && cat small/memory.max /proc/self/cgroup; cd /",
    pattern=r"(?s)134217728.*::/small",
)


def _lost_start(name: str, description: str, *acts: Act) -> Scenario:
    """A start of stage 2 that comes to nothing: the old system comes up by itself, and `status` knows."""
    acts = (Stage1(), *acts, *LOST_START)
    return replace(PC_NETWORK, name=name, description=description, acts=acts, in_tests=False)


_WATCHED = replace(PC, hardware=WATCHDOG)
_WATCHDOG = Wishes(files=WATCHDOG_FILES)
_HAS_WATCHDOG = Shows(command="cat /sys/class/watchdog/watchdog0/timeout", pattern=r"(?m)^15$")

_BACKUP_SCRIPT = """\
#!/bin/sh
exec tar -czf "$1" -C / srv/depot
"""

SCENARIOS = (
    PC_BIOS,
    Scenario(
        name="pc-flasher-image",
        description="the same PC, with a flasher image: stage 1 takes the system image out of it, and puts the "
        "boot loader's configuration into that, which travels beside it",
        device=replace(PC, image=find_spec("intel-nuc-flasher")),
    ),
    replace(
        PC_BIOS,
        name="pc-used-disk",
        description="the same PC, whose disk has 0xA5 wherever the old system uses nothing: what the flash leaves out "
        "must not matter",
        device=replace(PC, waste=True),
    ),
    Scenario(
        name="pc-slow-format",
        description="the same PC, with an image that is packed with xz: stage 1 prepares it, so that stage 2 is quick",
        device=replace(PC, image=find_spec("intel-nuc-xz")),
    ),
    Scenario(
        name="pc-bios-2.15",
        description="the same PC, image of 2018, which ships no boot loader for BIOS; a log drive, a backup script, "
        "and Wi-Fi networks selected by name",
        device=replace(PC, image=replace(find_spec("intel-nuc-2.15"), root_bytes=96 * MIB), log_drive=True),
        wishes=Wishes(
            settings={
                "STRATEGY": "DEFAULT",
                "TERM_EXIT": "reboot -f",
                "LOG_DRIVE": f"/dev/disk/by-uuid/{LOG_DRIVE_UUID}",
                "LOG_FS_TYPE": "ext4",
                "BACKUP_SCRIPT": f"/{owner.HOME_DIR}/make-backup",
                "BACKUP_FILE": "depot.tgz",
                "HAS_WIFI_CFG": "TRUE",
                "MIGRATE_ALL_WIFIS": "FALSE",
                "MIGRATE_WIFI_CFG": "wifis",
            },
            files={f"{owner.HOME_DIR}/wifis": "Yard\ndepot-guest\nunknown\n"},
            programs={f"{owner.HOME_DIR}/make-backup": _BACKUP_SCRIPT},
        ),
        acts=(*MIGRATION, LogDrive(pattern=started(Step.TRANSFER))),
        expect=Expect(composed_files=("grub/grub.cfg",), script_folders=("srv/depot",)),
        in_tests=True,
    ),
    Scenario(
        name="pc-own-image",
        description="an image of the user's own (--image), whose system reports nothing: only its console is judged",
        device=replace(
            PC, image=replace(find_spec("intel-nuc-2.15"), root_bytes=96 * MIB, data_bytes=96 * MIB), own_image=True
        ),
        acts=(*MIGRATION, Printed(pattern=GREETING)),
    ),
    PC_NETWORK,
    replace(
        PC_NETWORK,
        name="pc-network-low-memory-stage2",
        description="stage 2 finds less memory than stage 1: it returns to the old system, which reports the reason",
        acts=(
            Stage1(),
            Stage2(comes_back=True, memory_mib=192),
            Status(state=DeviceState.FAILED, step=Step.SECURE),
            OldSystem(),
        ),
    ),
    replace(
        PC_NETWORK,
        name="pc-network-cut-stage2",
        description="power cut in stage 2, before the line: the old system boots, and undo reverts everything",
        acts=CUT_STAGE2,
        in_tests=False,
    ),
    Scenario(
        name="pc-no-flash",
        description="NO_FLASH: stage 2 runs up to the line and returns to the unchanged old system; then undo",
        device=PC,
        wishes=Wishes(settings={"NO_FLASH": "TRUE", "TERM_EXIT": "exit 0", "DEBUG": "TRUE"}),
        acts=(
            Stage1(),
            Stage2(comes_back=True),
            Shows(command="cat /run/initramfs/initramfs.debug", pattern=rf"balena-migrate: .* {done(Step.SECURE)}"),
            Status(state=DeviceState.NO_FLASH),
            Undo(),
            Status(state=DeviceState.UNDONE),
            OldSystem(at_once=True),
        ),
    ),
    Scenario(
        name="pc-no-flash-reboot",
        description='NO_FLASH with TERM_EXIT="reboot -f", a log drive, and a GRUB without its search command',
        device=replace(PC, log_drive=True),
        wishes=Wishes(
            settings={
                "NO_FLASH": "TRUE",
                "TERM_EXIT": "reboot -f",
                "GRUB_BOOT_DEV": "hd0",
                "LOG_DRIVE": f"/dev/disk/by-uuid/{LOG_DRIVE_UUID}",
                "DO_REBOOT": "FALSE",
            },
            removed=("boot/grub/i386-pc/search.mod",),
        ),
        acts=(
            Stage1(),
            Stage2(comes_back=True, shows="search.mod' not found"),
            Status(state=DeviceState.NO_FLASH),
            OldSystem(),
            LogDrive(pattern="going back to the old system: NO_FLASH is set"),
        ),
    ),
    Scenario(
        name="pc-no-setup",
        description="NO_SETUP: everything is prepared, but the next boot is unchanged; undo reverts it",
        device=PC,
        wishes=Wishes(settings={"NO_SETUP": "TRUE", "HOME_DIR": f"/{owner.HOME_DIR}/"}),
        acts=(*NO_SETUP, Undo(), OldSystem(at_once=True)),
    ),
    Scenario(
        name="pc-undo",
        description="undo before the reboot reverts everything",
        device=PC,
        wishes=Wishes(settings={"DO_REBOOT": "FALSE"}),
        acts=UNDO,
    ),
    Scenario(
        name="pc-cut-stage1",
        description="power cut while stage 1 builds the initramfs; undo reverts everything",
        device=PC,
        acts=CUT_STAGE1,
    ),
    Scenario(
        name="pc-image-cut",
        description="a truncated image: stage 1 refuses",
        device=replace(PC, image_part=0.6),
        acts=(Refused(finding="image"), OldSystem(at_once=True)),
    ),
    Scenario(
        name="pc-low-memory",
        description="too little memory for the backup and the image: stage 1 refuses",
        device=replace(PC, memory_mib=384),
        wishes=Wishes(data_mib=300),
        acts=(Refused(finding="memory-too-small"), OldSystem(at_once=True)),
    ),
    replace(
        PC_FULL_MEMORY,
        name="pc-memory-limit",
        description="32 MiB more data than `check` accepts: stage 1 refuses; then as many as it accepts, for which it "
        "prepares the image, in a cgroup with 128 MiB",
        acts=(*MEMORY_LIMIT, _IN_CGROUP, *MIGRATION),
    ),
    replace(
        PC_FULL_MEMORY,
        name="pc-memory-less-in-stage2",
        description="memory that is just enough, and 32 MiB less in stage 2, which returns to the old system",
        acts=(
            DataGrow(),
            Stage1(),
            Stage2(comes_back=True, memory_mib=FULL_MEMORY_MIB - 32),
            Status(state=DeviceState.FAILED, step=Step.SECURE),
        ),
    ),
    Scenario(
        name="pc-watchdog",
        description="a watchdog that resets the device after 15 s is fed until the new system is there",
        device=_WATCHED,
        wishes=_WATCHDOG,
        acts=(_HAS_WATCHDOG, *MIGRATION),
    ),
    Scenario(
        name="pc-hang",
        description="stage 2 hangs before the line: its watchdog resets the device, and the old system is back",
        device=_WATCHED,
        wishes=_WATCHDOG,
        acts=(
            _HAS_WATCHDOG,
            Stage1(),
            Faulty(step=Step.SECURE, fault=Fault.HANG),
            Stage2Dies(shows=started(Step.SECURE)),
            *LOST_START,
        ),
    ),
    replace(
        PC_BIOS,
        name="pc-initramfs-tools",
        description="the device's own mkinitramfs makes the initramfs",
        wishes=Wishes(settings={"INITRAMFS": "initramfs-tools"}),
    ),
    Scenario(
        name="pc-initramfs-tools-no-flash",
        description="the device's own mkinitramfs makes the initramfs; NO_FLASH, the old system goes on",
        device=PC,
        wishes=Wishes(settings={"INITRAMFS": "initramfs-tools", "NO_FLASH": "TRUE"}),
        acts=NO_FLASH,
    ),
    Scenario(name="pc-debian-11", description="PC with Debian 11", device=replace(PC, guest=DEBIAN_11)),
    Scenario(name="pc-debian-13", description="PC with Debian 13", device=replace(PC, guest=DEBIAN_13)),
    Scenario(
        name="pc-dracut",
        description="PC with Debian 13 and dracut, without initramfs-tools",
        device=replace(PC, guest=DEBIAN_13_DRACUT),
    ),
    Scenario(
        name="pc-separate-usr",
        description="/usr on a file system of its own",
        device=replace(PC, guest=DEBIAN_12_USR),
    ),
    Scenario(
        name="pc-separate-usr-no-flash",
        description="/usr on a file system of its own; NO_FLASH, the old system goes on",
        device=replace(PC, guest=DEBIAN_12_USR),
        wishes=Wishes(settings={"NO_FLASH": "TRUE"}),
        acts=NO_FLASH,
    ),
    Scenario(
        name="pc-separate-usr-initramfs-tools",
        description="/usr on a file system of its own, which the device's own initramfs mounts before stage 2",
        device=replace(PC, guest=DEBIAN_12_USR),
        wishes=Wishes(settings={"INITRAMFS": "initramfs-tools"}),
    ),
    _lost_start(
        "pc-grub-fallback",
        "the initramfs is gone: GRUB starts the old system at once",
        Damaged(how=Damage.REMOVED),
        FallsBack(shows="GRUB cannot load stage 2 and starts the old system"),
    ),
    _lost_start(
        "pc-torn-initramfs",
        "the initramfs is torn: what the kernel can unpack of it reboots into the old system",
        Damaged(how=Damage.TORN),
        Stage2Dies(shows="stage 2 did not end as it should"),
    ),
    _lost_start(
        "pc-kernel-panic",
        "nearly nothing is left of the initramfs: the kernel panics and reboots into the old system",
        Damaged(how=Damage.EMPTIED),
        Stage2Dies(shows="Kernel panic"),
    ),
    _lost_start(
        "pc-panic",
        "stage 2's process is killed at its start: the old system is back",
        Damaged(how=Damage.KILLED),
        Stage2Dies(shows=LAST_LINE),
    ),
    _lost_start(
        "pc-no-drivers",
        "no driver is loaded, so that the disk does not appear: stage 2 reboots into the old system",
        Damaged(how=Damage.NO_DRIVERS),
        Stage2Dies(shows=f"going back to the old system: no file system has the UUID {ROOT_UUID}"),
    ),
    _lost_start(
        "pc-no-root",
        "stage 2 finds no old root: it reboots into the old system",
        Damaged(how=Damage.NO_ROOT),
        Stage2Dies(shows=f"going back to the old system: no file system has the UUID {OTHER_UUID}"),
    ),
    _lost_start(
        "pc-no-python",
        "Python cannot start: init reboots into the old system",
        Damaged(how=Damage.NO_PYTHON),
        Stage2Dies(shows="No module named 'encodings'"),
    ),
    _lost_start(
        "pc-no-library",
        "a library of the kit is missing: init reboots into the old system",
        Damaged(how=Damage.NO_LIBRARY),
        Stage2Dies(shows=r"libc\.so\.6: cannot open shared object file"),
    ),
    replace(
        PC_BIOS,
        name="pc-bios-gpt",
        description="a GPT with a bios_grub partition; /boot and swap on partitions of their own, and a swap file",
        device=replace(PC, guest=DEBIAN_12_GPT),
        acts=(Shows(command="cat /proc/swaps", pattern=r"(?s)/dev/sda3.*/swapfile|/swapfile.*/dev/sda3"), *MIGRATION),
    ),
    replace(
        PC_BIOS,
        name="pc-two-disks",
        description="two disks of the same size and model, which the kernel names in any order",
        device=replace(PC, other_disk=True),
        acts=(
            Shows(command="lsblk -d -n -b -o SIZE,MODEL", pattern=r"(\d+ +QEMU HARDDISK)\s+\1"),
            *MIGRATION,
            OtherDisk(),
        ),
    ),
    replace(
        PC_BIOS,
        name="pc-second-disk",
        description="two disks that are alike on virtio, and the system is on the second one",
        device=replace(PC, other_disk=True, bus=Bus.VIRTIO),
        acts=(Shows(command="findmnt -n -o SOURCE /", pattern="/dev/vdb1"), *MIGRATION, OtherDisk()),
    ),
    replace(
        PC_BIOS,
        name="pc-i386",
        description="a PC with a 32-bit processor, Debian 12 i386, image for intel-core2-32; its disk is full of 0xA5 "
        "as that of pc-used-disk",
        device=replace(PC, guest=DEBIAN_12_I386, image=_SMALL_32, waste=True),
    ),
    replace(PC_BIOS, name="pc-nvme", description="the disk is an NVMe", device=replace(PC, bus=Bus.NVME)),
    replace(PC_BIOS, name="pc-virtio", description="the disk hangs on virtio", device=replace(PC, bus=Bus.VIRTIO)),
    replace(PC_BIOS, name="pc-usb", description="the disk hangs on USB", device=replace(PC, bus=Bus.USB)),
    replace(PC_BIOS, name="pc-mmc", description="the disk is a memory card", device=replace(PC, bus=Bus.MMC)),
    Scenario(
        name="pc-wrong-image",
        description="an image for a Raspberry Pi: stage 1 refuses",
        device=replace(PC, image=find_spec("raspberrypi3")),
        acts=(Refused(finding="image-device-type"), OldSystem(at_once=True)),
    ),
)
