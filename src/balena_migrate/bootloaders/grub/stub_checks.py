# SPDX-License-Identifier: Apache-2.0
"""Does GRUB, as the firmware starts it, read the /boot/grub that is changed?"""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.bootloaders.grub.files import FOLDER, GRUB_CFG, esp_mounts
from balena_migrate.bootloaders.grub.stub import Leads, find_goal, other_configurations, stubs, where_it_leads
from balena_migrate.facts import Facts, Firmware
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning

_ROOM = "give the EFI system partition room (df /boot/efi), so that the firmware starts stage 2 without GRUB"

CODES = (
    Code(
        "grub-elsewhere",
        BLOCKS,
        "GRUB's configuration is not /boot/grub/grub.cfg, as Debian and Ubuntu have it, but on the EFI system partition"
        " or in /boot/grub2.",
        "Under UEFI, give the EFI system partition room, so that the firmware starts stage 2 without GRUB.",
    ),
    Code(
        "grub-other-system",
        BLOCKS,
        "The grub.cfg on the EFI system partition leads GRUB to another file system than the one with this system's"
        " /boot/grub, as where two systems are on one disk: it would not see the entry of stage 2.",
        "Run grub-install and update-grub in the system that is migrated.",
    ),
    Code("grub-leads-here", PASSES, "The grub.cfg on the EFI system partition leads GRUB to /boot/grub."),
    Code(
        "grub-uncertain",
        WARNS,
        "Whether GRUB reads this /boot/grub cannot be seen: no EFI system partition is mounted, or its grub.cfg leads"
        " nowhere, or only one of several leads here. If GRUB does not read it, the old system just starts.",
        "Mount the EFI system partition (mount /boot/efi), or run grub-install and update-grub.",
    ),
)


def check_configuration(facts: Facts) -> Iterator[Finding]:
    """Whether there is a /boot/grub/grub.cfg."""
    if GRUB_CFG in facts.boot.files:
        return
    names = " and ".join(other_configurations(facts))
    cause = f"GRUB's configuration is {names}, and not {GRUB_CFG} as on Debian and Ubuntu: its entries are not known"
    yield blocker("grub-elsewhere", cause, _ROOM if facts.boot.firmware is Firmware.UEFI else "")


def check_stubs(facts: Facts) -> Iterator[Finding]:
    """Whether the firmware's GRUB is led to /boot/grub. Under BIOS, core.img knows, which grub-install wrote."""
    if facts.boot.firmware is not Firmware.UEFI:
        return
    found = {path: where_it_leads(facts, text) for path, text in _read_stubs(facts).items()}
    here = [path for path, leads in found.items() if leads is Leads.HERE]
    others = [path for path, leads in found.items() if leads is Leads.ELSEWHERE]
    if others and not here:
        yield from (_other_system(facts, path) for path in others)
    elif others:
        cause = (
            f"{here[0]} leads GRUB to {FOLDER}, and {others[0]} leads elsewhere: if the firmware starts that one, the"
            " old system just starts, and stage 2 does not"
        )
        yield warning("grub-uncertain", cause, "run grub-install, which makes this system's GRUB the first one")
    elif here:
        yield passed("grub-leads-here", f"{here[0]} leads GRUB to {FOLDER}")
    elif reason := _why_unknown(facts, tuple(found)):
        cause = f"{reason}, so it is not certain that GRUB reads {FOLDER}: if not, the old system just starts"
        yield warning("grub-uncertain", cause, "mount /boot/efi, or run grub-install and update-grub")


def _read_stubs(facts: Facts) -> dict[str, str]:
    """Those that GRUB may read: beside the program by which the firmware started this system, where it says so."""
    efi, found = facts.boot.efi, stubs(facts)
    entry = efi.find_entry(efi.current) if efi else None
    folder = entry.file.replace("\\", "/").rpartition("/")[0].strip("/").lower() if entry else ""
    beside = {path: text for path, text in found.items() if folder and f"/{folder}/grub.cfg" in path.lower()}
    return beside or found


def _other_system(facts: Facts, path: str) -> Finding:
    goal = find_goal(facts.boot.files[path])
    where = f"leads GRUB to {goal}" if goal else "is a whole configuration"
    cause = f"{path} {where}, and the entry of stage 2 would be in {FOLDER} of this system, where GRUB does not look"
    return blocker("grub-other-system", cause, "run grub-install and update-grub in this system")


def _why_unknown(facts: Facts, paths: tuple[str, ...]) -> str:
    """Why it is not known what GRUB reads; "" on a mounted ESP without a stub: its GRUB has the place built in."""
    if paths:
        return f"{paths[0]} leads to no file system of this device"
    if esp_mounts(facts.disks):
        return ""
    return "no EFI system partition is mounted"
