# SPDX-License-Identifier: Apache-2.0
"""UEFI firmware: can it start balenaOS, and can it be given the new system's boot entry?"""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.core.balena import EFI_LOADER
from balena_migrate.core.efi_variables import EFIVARS, FULL_HINT
from balena_migrate.facts import EfiFacts
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.survey import Survey

ENTRY_BYTES = 512
"""What the new system's boot entry and an order with it take."""
_MOUNT = f"mount -t efivarfs efivarfs {EFIVARS}"
CODES = (
    Code(
        "efi-32-bit", BLOCKS, "The firmware is a 32-bit UEFI, or does not say, and balenaOS has a 64-bit loader only."
    ),
    Code(
        "efi-variables-hidden",
        BLOCKS,
        "The firmware's variables cannot be read, and with them whether Secure Boot is on.",
        f"Mount them ({_MOUNT}); a real-time kernel needs the argument efi=runtime for that.",
    ),
    Code("efi-boot-entry", PASSES, "The firmware gets a boot entry for the new system after the flash."),
    Code(
        "efi-no-boot-entry",
        WARNS,
        "The firmware's variables cannot be written, or have no room: the new system starts by the fallback path,"
        " EFI/BOOT/bootx64.efi, which firmware tries when no entry of its own leads anywhere.",
        f"Mount them for writing (mount -o remount,rw {EFIVARS}); remove what nobody reads any more.",
    ),
    Code("efi-entry-damaged", WARNS, "A boot entry of the firmware makes no sense; it is left alone."),
)


def check(survey: Survey) -> Iterator[Finding]:
    efi = survey.facts.boot.efi
    if efi is None:
        return
    yield from _check_bits(efi)
    yield from _check_variables(efi)
    if efi.damaged:
        cause = f"these boot entries of the firmware make no sense, and are left alone: {', '.join(efi.damaged)}"
        yield warning("efi-entry-damaged", cause)


def _check_bits(efi: EfiFacts) -> Iterator[Finding]:
    if efi.bits == 32:
        yield blocker("efi-32-bit", "the firmware is a 32-bit UEFI; balenaOS has a loader for 64-bit firmware only")
    elif not efi.bits:
        cause = "the kernel does not say whether the UEFI firmware is a 64-bit one, which balenaOS needs"
        yield blocker("efi-32-bit", cause, "start a kernel of version 4.0 or later")


def _check_variables(efi: EfiFacts) -> Iterator[Finding]:
    if not efi.readable:
        cause = f"{efi.unwritable}: whether Secure Boot is on cannot be read"
        remedy = f"run {_MOUNT}; a real-time kernel needs the argument efi=runtime for that"
        yield blocker("efi-variables-hidden", cause, remedy)
    elif efi.unwritable:
        yield _no_entry(efi.unwritable, f"mount -o remount,rw {EFIVARS}")
    elif efi.free_bytes is not None and efi.free_bytes < ENTRY_BYTES:
        yield _no_entry(f"its store of variables has {efi.free_bytes} bytes free", FULL_HINT)
    else:
        yield passed("efi-boot-entry", "the firmware gets a boot entry for the new system after the flash")


def _no_entry(reason: str, remedy: str) -> Finding:
    cause = (
        f"the firmware takes no boot entry for the new system ({reason}), which then starts by the fallback path,"
        f" {EFI_LOADER}"
    )
    return warning("efi-no-boot-entry", cause, remedy)
