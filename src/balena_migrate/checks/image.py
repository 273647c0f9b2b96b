# SPDX-License-Identifier: Apache-2.0
"""Is the image usable, and is it for this device? Judged by its content, not only by its name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from balena_migrate.bootloaders.raspberrypi.board import D0_TREES, LATER_DEVICE_TREES, Board, find_board
from balena_migrate.checks._untested import untested
from balena_migrate.checks.strategy import expected_sizes
from balena_migrate.core.os_version import parse_version
from balena_migrate.core.units import MIB, SECTOR_BYTES, in_mib
from balena_migrate.devices import DeviceType, device_types, device_types_for
from balena_migrate.devices._pc import is_64_bit_pc, is_pc
from balena_migrate.facts import Facts
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.images import Image
from balena_migrate.images.filesystems.ext_features import features_beyond
from balena_migrate.images.formats import format_named
from balena_migrate.strategies import MemoryNeed, strategy_named
from balena_migrate.survey import Survey

HOME_MARGIN_BYTES = 64 * MIB
"""Stays free in HOME_DIR beside the image that stage 1 makes: it is often on the root file system."""

_FITTING = "Use the image of a device type that this device can run."
CODES = (
    Code(
        "image-flasher",
        BLOCKS + PASSES,
        "The image is a flasher image, which installs balenaOS from a USB stick: stage 1 takes the system image out of"
        " it, into HOME_DIR; or there is no room for that.",
        "Take it out where there is room, with `balena-migrate image extract`, and use the result.",
    ),
    Code(
        "image-prepared",
        PASSES,
        "Stage 1 prepares the image on the device, since its format is slow to unpack, or memory is too small for the"
        " file as it is.",
    ),
    Code(
        "image-slow-format",
        WARNS,
        "The image is packed in a format, xz or bzip2, that takes ten times as long to unpack as gzip and zstd, or"
        " more, and HOME_DIR has no room for stage 1 to prepare it: for that much longer the device is without a"
        " system.",
        "Prepare it where there is room, with `balena-migrate image prepare`, and use the result.",
    ),
    Code("image-device-type", BLOCKS, "The image is for a device type that does not run on this device.", _FITTING),
    Code("image-name", WARNS, "The image's file name mentions another device type than its content."),
    Code(
        "image-older-than-board",
        BLOCKS,
        "The board, or this revision of it, came later than the image, which has no device tree or no firmware for it:"
        " it would not start.",
        "Use a newer image of this device type.",
    ),
    Code(
        "image-boot-sectors",
        BLOCKS,
        "The image is for disks with other sectors than 512 bytes, by its GPT or its boot partition's file system.",
        "Use the image as balenaCloud offers it for download.",
    ),
    Code("image-boot-room", PASSES, "The room in the image's boot partition for what is put there."),
    Code(
        "image-boot-full",
        BLOCKS,
        "The image's boot partition has no room for the network files, certificates and config.json.",
        "Name only the Wi-Fi networks that are needed, with MIGRATE_WIFI_CFG.",
    ),
    Code(
        "image-newer-than-kernel",
        BLOCKS + WARNS,
        "The image's resin-data has ext4 features that the running kernel, which stage 2 uses as well, cannot write: a"
        " blocker where a backup or the machine id must be put on the new system, else a warning, as only the log is"
        " lost.",
        "Start a newer kernel, use an older image, or carry nothing over to resin-data.",
    ),
    Code(
        "device-untested",
        BLOCKS + WARNS,
        "This device type is known, but was never migrated with this tool.",
        "Try it on a device within reach, with UNTESTED.",
    ),
)


def check(survey: Survey) -> Iterator[Finding]:
    image = survey.image
    if image is None:
        return
    yield from _check_flasher(survey, image)
    yield from _check_form(survey, image)
    yield from _check_device_type(survey, image)
    yield from _check_name(survey, image)
    yield from _check_data_features(survey, image)
    yield from _check_board(survey, image)
    yield from _check_boot_sectors(image)
    yield from _check_boot_room(survey)


def _check_flasher(survey: Survey, image: Image) -> Iterator[Finding]:
    inside, home = image.inside, survey.home
    if inside is None or home is None:
        return
    need = image.file_bytes + HOME_MARGIN_BYTES
    text = (
        f"{inside.flasher.name} is a flasher image; stage 1 takes the system image out of it, into {image.path}, which"
        f" needs {in_mib(need)}; HOME_DIR has {in_mib(home.free_bytes)} free"
    )
    if need <= home.free_bytes:
        yield passed("image-flasher", text)
        return
    command = shlex.join(["balena-migrate", "image", "extract", str(inside.flasher), image.path.name])
    remedy = f"take it out where there is room ({command}), copy that here instead, and set IMAGE_NAME to it"
    yield blocker("image-flasher", text, remedy)


def _check_form(survey: Survey, image: Image) -> Iterator[Finding]:
    packed = format_named(image.format)
    if text := prepared_text(survey):
        yield passed("image-prepared", text)
    elif packed.is_slow:
        cause = (
            f"{image.path.name} is {packed.what}: unpacking it takes ten times as long as with gzip or zstd, or more,"
            " and for that much longer the device is without a system; HOME_DIR has no room for its prepared form, of"
            f" about {in_mib(image.prepared_bytes)}"
        )
        command = shlex.join(["balena-migrate", "image", "prepare", str(image.path)])
        yield warning("image-slow-format", cause, f"prepare it where there is room, and use the result: {command}")


def prepared_text(survey: Survey) -> str:
    """Why stage 1 prepares the image, and the arithmetic; empty where it does not."""
    image, home = survey.image, survey.home
    if image is None or image.original is None or home is None:
        return ""
    original = image.original
    why = f"{original.format} is slow to unpack"
    if not format_named(original.format).is_slow:
        as_it_is, so = (_memory_need(survey, form) for form in (original, image))
        why = (
            f"memory is too small for the file as it is (stage 2 would need {as_it_is.mib} MiB, and needs"
            f" {so.mib} with what is prepared; this device has {in_mib(so.device_bytes)})"
        )
    return (
        f"stage 1 prepares the image, as {why}: {in_mib(original.file_bytes)} of {original.format} become about"
        f" {in_mib(image.file_bytes)} of {image.format} in {image.path}; HOME_DIR has {in_mib(home.free_bytes)} free"
    )


def _memory_need(survey: Survey, image: Image) -> MemoryNeed:
    """What stage 2 needs with this form of the image."""
    sizes = expected_sizes(replace(survey, image=image))
    return strategy_named(survey.config.strategy).memory_need(image, survey.facts.memory.total_bytes, sizes)


def _check_device_type(survey: Survey, image: Image) -> Iterator[Finding]:
    wanted = device_types_for(survey.facts)
    device = survey.device_type
    slugs = ", ".join(d.slug for d in wanted) or "no known device type"
    if device is None or device not in wanted:
        slug = image.identity.slug or "an unknown device type"
        cause = f"the image is for {slug}; {_device(survey.facts)} can run {slugs}"
        yield blocker("image-device-type", cause, "use an image for one of these")
        return
    version = image.identity.os_version or "of unknown version"
    file = image.original or image
    read = f", and as {file.bmap} says" if file.bmap else ""
    cause = (
        f"balenaOS {version} for {device.slug} ({device.name}), readable to its last byte{read};"
        f" {in_mib(image.write_bytes)} of {in_mib(image.size_bytes)} are in use"
    )
    yield passed("image", cause)
    if not device.tested:
        yield untested(
            survey.config, "device-untested", f"{device.slug} is known, but was never migrated with this tool"
        )


def _device(facts: Facts) -> str:
    """For people, with why a PC runs no 64-bit image."""
    only_32_bit = is_pc(facts) and not is_64_bit_pc(facts)
    return "this device, whose processor has no 64-bit mode," if only_32_bit else "this device"


def _check_name(survey: Survey, image: Image) -> Iterator[Finding]:
    """In the first description, the file name determines the platform. Here the content does; the name may warn."""
    name = PurePosixPath(image.path).name
    named = [device for device in device_types() if any(_has_tag(name, tag) for tag in _tags(device))]
    if named and survey.device_type not in named:
        cause = f"the file name {name} mentions {named[0].slug}, but the image is for {image.identity.slug}"
        yield warning("image-name", cause)


def _tags(device: DeviceType) -> tuple[str, ...]:
    return (*device.names, *device.image_tags)


def _has_tag(name: str, tag: str) -> bool:
    """Whether the name contains the tag between dashes: raspberrypi3 is not in raspberrypi3-64-2.0."""
    return f"-{tag}-" in f"-{name}" and not any(
        f"-{other}-" in f"-{name}"
        for device in device_types()
        for other in _tags(device)
        if other.startswith(tag + "-")
    )


def _check_board(survey: Survey, image: Image) -> Iterator[Finding]:
    board = find_board(survey.facts.hardware)
    if board is None:
        return
    if missing := _missing_tree(board, image.identity.files):
        cause = (
            f"this is a {board.full_name}, and the image has device trees for other boards only: it is older than this"
            " board, which would not start"
        )
        remedy = f"use a newer image of {image.identity.slug}; those since March 2025 (6.4.3) have a {missing}"
        yield blocker("image-older-than-board", cause, remedy)
    version, first = parse_version(image.identity.os_version), board.first_version(image.identity.slug)
    if version and first and version < first:  # an ESR release is named after a year, and newer than all of these
        text = ".".join(map(str, first))
        cause = (
            f"this is a {board.full_name}, and the firmware of balenaOS {image.identity.os_version} is older than this"
            " revision of the board, which would not start"
        )
        yield blocker("image-older-than-board", cause, f"use an image of {image.identity.slug} {text} or newer")


def _missing_tree(board: Board, files: tuple[str, ...]) -> str:
    """The device tree that a board needs which came later than its device type, if the image lacks it.

    An image that keeps its device trees elsewhere says nothing.
    """
    if not any(name.startswith("bcm2712") and name.endswith(".dtb") for name in files):
        return ""
    wanted = LATER_DEVICE_TREES.get(board.model)
    if wanted and not any(name.startswith(wanted) for name in files):
        return f"{wanted}*.dtb"
    if board.is_d0 and not any(name.startswith(D0_TREES) for name in files):
        return "bcm2712d0*.dtb"
    return ""


def _check_boot_sectors(image: Image) -> Iterator[Finding]:
    """Disks with other sectors are refused, too (checks/storage.py)."""
    if image.table.sector_bytes != SECTOR_BYTES:
        cause = f"the image's GPT is for disks with sectors of {image.table.sector_bytes} bytes, not {SECTOR_BYTES}"
        yield blocker("image-boot-sectors", cause, "use the image as balenaCloud offers it for download")
    size = image.identity.boot_sector_bytes
    if size != SECTOR_BYTES:
        # U-Boot, fs/fat/fat.c, get_fs_info: "FAT sector size mismatch".
        cause = (
            f"the image's boot partition is a FAT file system with logical sectors of {size} bytes; U-Boot reads one"
            f" only where they are as large as the disk's, which has {SECTOR_BYTES}"
        )
        yield blocker("image-boot-sectors", cause, "use the image as balenaCloud offers it for download")


def _check_boot_room(survey: Survey) -> Iterator[Finding]:
    room = survey.boot_room
    if room is None:
        return
    if room.is_enough:
        yield passed("image-boot-room", room.text)
        return
    remedy = "name only the Wi-Fi networks that are needed: their SSIDs, in the file that MIGRATE_WIFI_CFG names"
    yield blocker("image-boot-full", room.text, remedy)


def _check_data_features(survey: Survey, image: Image) -> Iterator[Finding]:
    """resin-state is made as resin-data is, by the same program, and only resin-data is looked at in the image."""
    release = survey.facts.boot.kernel_release
    version = re.match(r"(\d+)\.(\d+)", release)
    system = image.data_file_system
    if version is None or system is None:
        return
    beyond = features_beyond(system, (int(version[1]), int(version[2])))
    if not beyond:
        return
    carried = _carried(survey)
    features = ", ".join(feature.describe() for feature in beyond)
    cause = f"the image's resin-data has the ext4 features {features}, and this kernel, {release}, cannot write there"
    if carried:
        remedy = f"start a newer kernel, use an older image, or leave out {' and '.join(carried)}"
        yield blocker("image-newer-than-kernel", f"{cause}: {' and '.join(carried)} would be lost", remedy)
    else:
        yield warning("image-newer-than-kernel", f"{cause}: stage 2 cannot leave its log there")


def _carried(survey: Survey) -> tuple[str, ...]:
    """What stage 2 copies to the new system's own file systems after the flash. Growing resin-data is for a backup."""
    parts = (("the backup", survey.payload.backups), ("the machine id (KEEP)", survey.payload.preserved.machine_id))
    return tuple(name for name, value in parts if value)
