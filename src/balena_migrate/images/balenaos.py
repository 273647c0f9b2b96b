# SPDX-License-Identifier: Apache-2.0
"""Which balenaOS an image holds: read out of its boot partition.

Sources: meta-balena's image classes (marker files, labels), the device types' device-type.json, os-release(5).
"""

from __future__ import annotations

from typing import Any

from balena_migrate.core.balena import BOOT_LABEL, EFI_LOADER
from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB
from balena_migrate.core.values import parse_json
from balena_migrate.images import Identity, ImageKind
from balena_migrate.images.efi_program import HEAD_BYTES, parse_machine
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.partitions import Partition, PartitionTable, TableKind

BOOT_LABELS = (BOOT_LABEL, "flash-boot", "balena-boot")
FAT_TYPES = (
    *("04", "06", "0b", "0c", "0e", "ef"),
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",  # EFI system partition
    "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",  # Microsoft basic data
)
BIOS_BOOT_TYPE = "21686148-6449-6E6F-744E-656564454649"
"""GRUB's manual, "BIOS installation"."""
FLASHER_MARKS = ("balena-image-flasher", "resin-image-flasher")
RAW_MARKS = ("balena-image", "resin-image")
FILE_LIMIT_BYTES = MIB

_BOOT_CODE_BYTES = 440


def find_boot_partition(table: PartitionTable) -> Partition:
    """The partition that GPT names so, else the first of a FAT type.

    Raises ImageError if there is none among the primary partitions: then it is not a balenaOS image.
    """
    named = [p for p in table.partitions if p.name in BOOT_LABELS]
    typed = [p for p in table.partitions if p.type in FAT_TYPES]
    for partition in named + typed:
        return partition
    raise ImageError("has no boot partition: it has no FAT partition", hint="is it a balenaOS image?")


def read_identity(fat: Fat, table: PartitionTable, head: bytes) -> Identity:
    """Raises ImageError if device-type.json exists but is malformed."""
    device_type = _parse_device_type(_find_file(fat, "device-type.json") or b"{}")
    yocto = device_type.get("yocto")
    aliases = device_type.get("aliases")
    return Identity(
        kind=_find_kind(fat),
        label=fat.label,
        slug=_text(device_type, "slug"),
        aliases=tuple(str(alias) for alias in aliases) if isinstance(aliases, list) else (),
        arch=_text(device_type, "arch"),
        machine=_text(yocto, "machine") if isinstance(yocto, dict) else "",
        os_version=parse_os_version((_find_file(fat, "os-release") or b"").decode("utf-8", "replace")),
        files=fat.files,
        has_bios_boot_code=has_grub_boot_code(head, table),
        efi_machine=_find_efi_machine(fat),
        boot_sector_bytes=fat.geometry.sector_bytes,
    )


def has_grub_boot_code(head: bytes, table: PartitionTable) -> bool:
    """Whether GRUB's boot.img is in sector 0 (it holds its name, for its messages), and core.img in sector 1 of an MBR
    disk; on a GPT disk core.img has a partition of its own."""
    if table.kind is TableKind.GPT:
        core = any(partition.type == BIOS_BOOT_TYPE for partition in table.partitions)
    else:
        core = any(head[512:1024])
    return b"GRUB" in head[:_BOOT_CODE_BYTES] and core


def parse_os_version(text: str) -> str:
    """VERSION, else VERSION_ID of an os-release file."""
    values = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        values[key.strip()] = value.strip().strip("\"'")
    return values.get("VERSION") or values.get("VERSION_ID", "")


def _find_kind(fat: Fat) -> ImageKind:
    if any(fat.find(mark) for mark in FLASHER_MARKS) or fat.label == "flash-boot":
        return ImageKind.FLASHER
    if any(fat.find(mark) for mark in RAW_MARKS) or fat.label in BOOT_LABELS:
        return ImageKind.RAW
    return ImageKind.UNKNOWN


def _find_file(fat: Fat, path: str) -> bytes | None:
    entry = fat.find(path)
    if entry is None or entry.is_folder or entry.size_bytes > FILE_LIMIT_BYTES:
        return None
    return fat.read_file(path)


def _find_efi_machine(fat: Fat) -> int | None:
    entry = fat.find(EFI_LOADER)
    if entry is None or entry.is_folder:
        return None
    return parse_machine(fat.read_start(EFI_LOADER, HEAD_BYTES))


def _parse_device_type(content: bytes) -> dict[str, Any]:
    try:
        value = parse_json(content)
    except ValueError as error:
        raise ImageError(f"device-type.json in its boot partition is damaged: {error}") from None
    if not isinstance(value, dict):
        raise ImageError("device-type.json in its boot partition is not a JSON object")
    return value


def _text(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""
