# SPDX-License-Identifier: Apache-2.0
"""The rehearsals on PCs with UEFI."""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.core.units import KIB, MIB
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab.acts import (
    Act,
    BootNextForgotten,
    Damaged,
    Fails,
    FallsBack,
    Hangs,
    KernelDamaged,
    OldSystem,
    Refused,
    Stage1,
    Stage2Dies,
    Status,
)
from balena_migrate.workstation.lab.damage import LAST_LINE, OTHER_UUID, Damage
from balena_migrate.workstation.lab.guests.debian_pc import ROOT_UUID
from balena_migrate.workstation.lab.guests.debian_uefi import (
    DEBIAN_12_FULL_ESP,
    DEBIAN_12_SECURE_BOOT,
    DEBIAN_12_UEFI,
    DEBIAN_13_SYSTEMD_BOOT,
    DEBIAN_13_UEFI,
)
from balena_migrate.workstation.lab.lookalike import find_spec
from balena_migrate.workstation.lab.scenarios import BACK, CUT_STAGE2, LOST_START, NO_FLASH, UNDO, UNTIL_UNDO, Scenario
from balena_migrate.workstation.lab.wishes import Device, Expect, Wishes

PC = Device(guest=DEBIAN_12_UEFI, image=replace(find_spec("generic-amd64"), root_bytes=96 * MIB, data_bytes=64 * MIB))
"""The image has smaller root file systems than the real one, which only take time to write."""

PC_UEFI = Scenario(
    name="pc-uefi",
    description="PC with UEFI, Debian 12, image for generic-amd64 with a GPT",
    device=PC,
    in_tests=True,
)


def _lost_start(ending: str, description: str, *acts: Act, in_tests: bool = False) -> Scenario:
    """A start of stage 2 that comes to nothing: the old system comes up by itself, and `status` knows."""
    acts = (Stage1(), *acts, *(LOST_START if in_tests else BACK))
    return replace(PC_UEFI, name=f"pc-uefi-{ending}", description=description, acts=acts, in_tests=in_tests)


SCENARIOS = (
    PC_UEFI,
    Scenario(
        name="pc-uefi-mbr-image",
        description="the same PC, image for intel-nuc: an MBR, and loaders for BIOS and UEFI",
        device=replace(PC, image=find_spec("intel-nuc")),
    ),
    Scenario(
        name="pc-uefi-debian-13",
        description="PC with UEFI, Debian 13 with GRUB",
        device=replace(PC, guest=DEBIAN_13_UEFI),
    ),
    Scenario(
        name="pc-uefi-systemd-boot",
        description="PC with UEFI, Debian 13 with systemd-boot and no GRUB",
        device=replace(PC, guest=DEBIAN_13_SYSTEMD_BOOT),
    ),
    replace(
        PC_UEFI,
        name="pc-uefi-initramfs-tools",
        description="the device's own mkinitramfs makes the initramfs",
        wishes=Wishes(settings={"INITRAMFS": "initramfs-tools"}),
        in_tests=False,
    ),
    Scenario(
        name="pc-uefi-grub-one-shot",
        description="an EFI partition without room for stage 2: GRUB starts it",
        device=replace(PC, guest=DEBIAN_12_FULL_ESP, boot_folder="boot"),
    ),
    Scenario(
        name="pc-uefi-few-variables",
        description="a firmware with room for the new system's entry, but not for stage 2's as well: GRUB starts that",
        # Linux leaves 5 KiB free. Debian 12's kernel does not say how much room there is; that of Debian 13 does.
        device=replace(PC, guest=DEBIAN_13_UEFI, boot_folder="boot", variables_left_bytes=7 * KIB),
    ),
    Scenario(
        name="pc-uefi-full-variables",
        description="a firmware without any room: GRUB starts stage 2, and the fallback path the new system",
        device=replace(PC, guest=DEBIAN_13_UEFI, boot_folder="boot", variables_left_bytes=2 * KIB),
        expect=Expect(boot_entry=False),
    ),
    Scenario(
        name="pc-uefi-variables-run-out",
        description="no room, and a kernel that does not say so: stage 1 fails, and takes all back",
        device=replace(PC, variables_left_bytes=2 * KIB),
        acts=(
            Fails(shows="Boot00BA.*No space left on device"),
            Status(state=DeviceState.UNDONE),
            OldSystem(at_once=True),
        ),
    ),
    Scenario(
        name="pc-uefi-esp-not-mounted",
        description="the EFI partition is not mounted: GRUB starts stage 2",
        device=replace(PC, boot_folder="boot"),
        wishes=Wishes(files={"etc/fstab": f"UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\n"}),
    ),
    _lost_start(
        "panic",
        "stage 2's process is killed at its start: the firmware starts the old system",
        Damaged(how=Damage.KILLED),
        Stage2Dies(shows=LAST_LINE),
        in_tests=True,
    ),
    _lost_start(
        "lost-kernel",
        "the kernel's copy is gone: the firmware starts the old system at once",
        KernelDamaged(how=Damage.REMOVED),
        FallsBack(shows="failed to load Boot00BA"),
    ),
    _lost_start(
        "torn-kernel",
        "the kernel's copy is torn: it takes the firmware along, but the start after a power cut is the old system's",
        KernelDamaged(how=Damage.TORN),
        Hangs(shows="!!!! Find image based on IP.*\n"),
    ),
    _lost_start(
        "lost-initramfs",
        "the initramfs is gone: the kernel gives up before it starts, and the firmware starts the old system at once",
        Damaged(how=Damage.REMOVED),
        FallsBack(shows=r"(?s)Failed to open file: balena-migrate-initramfs.*failed to start Boot00BA"),
    ),
    _lost_start(
        "torn-initramfs",
        "the initramfs is torn: what the kernel can unpack of it reboots into the old system",
        Damaged(how=Damage.TORN),
        Stage2Dies(shows="stage 2 did not end as it should"),
    ),
    _lost_start(
        "emptied-initramfs",
        "nearly nothing is left of the initramfs: the kernel panics and reboots into the old system",
        Damaged(how=Damage.EMPTIED),
        Stage2Dies(shows="Kernel panic"),
    ),
    _lost_start(
        "no-root",
        "stage 2 finds no old root: it takes its boot entry back, and reboots into the old system",
        Damaged(how=Damage.NO_ROOT),
        Stage2Dies(shows=f"going back to the old system: no file system has the UUID {OTHER_UUID}"),
    ),
    _lost_start(
        "no-python",
        "Python cannot start: init reboots into the old system",
        Damaged(how=Damage.NO_PYTHON),
        Stage2Dies(shows="No module named 'encodings'"),
    ),
    _lost_start(
        "no-library",
        "a library of the kit is missing: init reboots into the old system",
        Damaged(how=Damage.NO_LIBRARY),
        Stage2Dies(shows=r"libc\.so\.6: cannot open shared object file"),
    ),
    replace(
        PC_UEFI,
        name="pc-uefi-no-boot-next",
        description="a firmware that takes no notice of BootNext starts the old system; then undo",
        acts=(Stage1(), BootNextForgotten(), *UNTIL_UNDO),
        in_tests=False,
    ),
    replace(
        PC_UEFI,
        name="pc-uefi-cut-stage2",
        description="power cut in stage 2, before the line: the firmware starts the old system; then undo",
        acts=CUT_STAGE2,
        in_tests=False,
    ),
    Scenario(
        name="pc-uefi-undo",
        description="undo before the reboot takes the boot entry back, too",
        device=PC,
        wishes=Wishes(settings={"DO_REBOOT": "FALSE"}),
        acts=UNDO,
    ),
    Scenario(
        name="pc-uefi-no-flash",
        description="NO_FLASH: stage 2 runs up to the line and returns to the unchanged old system",
        device=PC,
        wishes=Wishes(settings={"NO_FLASH": "TRUE"}),
        acts=NO_FLASH,
    ),
    Scenario(
        name="pc-secure-boot",
        description="Secure Boot, which starts Debian's signed shim but not balenaOS: stage 1 refuses",
        device=replace(PC, guest=DEBIAN_12_SECURE_BOOT),
        acts=(Refused(finding="secure-boot"), OldSystem(at_once=True)),
    ),
)
