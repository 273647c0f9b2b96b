# SPDX-License-Identifier: Apache-2.0
"""Do this firmware and this processor start the image? Judged by what is in it, whatever it is called."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.core.balena import EFI_LOADER
from balena_migrate.devices import device_types_for
from balena_migrate.devices._pc import is_64_bit_pc, is_pc
from balena_migrate.facts import Facts, Firmware
from balena_migrate.findings import BLOCKS, Code, Finding, blocker
from balena_migrate.images import Image, ImageKind
from balena_migrate.images.efi_program import X86_64, machine_name
from balena_migrate.images.partitions import TableKind
from balena_migrate.survey import Survey

_FITTING = "Use the image of a device type that this device can run."
_OTHER = "use the image of a device type that this device can run (see `hardware`)"
CODES = (
    Code("image-needs-uefi", BLOCKS, "The image starts through UEFI only, and this PC starts through BIOS.", _FITTING),
    Code("image-needs-bios", BLOCKS, "The image starts through BIOS only, and this PC starts through UEFI.", _FITTING),
    Code(
        "image-efi-loader",
        BLOCKS,
        "The image's loader for UEFI is for another processor, or damaged: this PC's firmware would not start it.",
        _FITTING,
    ),
    Code(
        "image-architecture",
        BLOCKS,
        "The image is for another kind of processor than this device has.",
        _FITTING,
    ),
)


def check(survey: Survey) -> Iterator[Finding]:
    """Nothing is said of an image that is not for this device at all."""
    image = survey.image
    if image is None or image.identity.kind is ImageKind.FLASHER:
        return
    if survey.device_type in device_types_for(survey.facts):
        yield from _check_firmware(survey.facts.boot.firmware, image)
        yield from _check_architecture(survey.facts, image)


def _check_firmware(firmware: Firmware, image: Image) -> Iterator[Finding]:
    """Whether what starts this PC starts the image, by what the image has for it."""
    identity = image.identity
    if firmware is Firmware.BIOS and not _starts_by_bios(image):
        cause = "the image has a GPT and nothing that BIOS could start, and this PC starts through BIOS"
        yield blocker("image-needs-uefi", cause, _OTHER)
    if firmware is Firmware.UEFI and identity.efi_machine is None:
        cause = f"the image has no {EFI_LOADER}, and this PC starts through UEFI: its firmware would find nothing"
        yield blocker("image-needs-bios", cause, _OTHER)
    elif firmware is Firmware.UEFI and identity.efi_machine != X86_64:
        cause = (
            f"the image's {EFI_LOADER} is {machine_name(identity.efi_machine or 0)}, and this PC needs one for x86-64"
        )
        yield blocker("image-efi-loader", cause, _OTHER)


def _starts_by_bios(image: Image) -> bool:
    """Behind a GPT is no room for boot code: the image brings its own, or none. An MBR image can get some."""
    own = image.identity.has_bios_boot_code and "grub/grub.cfg" in image.identity.files
    return own or image.table.kind is TableKind.DOS


def _check_architecture(facts: Facts, image: Image) -> Iterator[Finding]:
    """By what the image says of itself, whatever its device type is."""
    arch, runs = image.identity.arch, _architectures(facts)
    if arch and arch not in runs:
        cause = f"the image is for processors of the architecture {arch}, and this one runs {' and '.join(runs)}"
        yield blocker("image-architecture", cause, _OTHER)


def _architectures(facts: Facts) -> tuple[str, ...]:
    """balena's names of what may run here; of ARM boards, the device type says more."""
    if not is_pc(facts):
        return ("rpi", "armv7hf", "aarch64")
    return ("i386", "amd64") if is_64_bit_pc(facts) else ("i386",)
