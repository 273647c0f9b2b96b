# SPDX-License-Identifier: Apache-2.0
"""Facts and images for a person: sections of aligned plain text, and a partition layout drawn to scale."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from balena_migrate.cli.output import printable
from balena_migrate.core.balena import DATA_LABEL
from balena_migrate.core.units import format_size, in_mib
from balena_migrate.images.efi_program import machine_name
from balena_migrate.images.window import EMMC, SD_CARD, SSD, expected_window

if TYPE_CHECKING:
    from balena_migrate.facts import BlockDevice, ClockFacts, Facts, Mount
    from balena_migrate.facts.network import NetworkFacts
    from balena_migrate.images import Identity, Image
    from balena_migrate.images.partitions import Partition

WIDTH = 78
"""Of a drawn layout, in characters."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A title, and below it rows of cells in columns."""

    title: str
    rows: tuple[tuple[str, ...], ...]

    def lines(self) -> Iterator[str]:
        """The title and the rows, the columns aligned; an empty section has no lines."""
        if not self.rows:
            return
        yield self.title
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        for row in self.rows:
            cells = (printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
            yield f"  {'  '.join(cells)}".rstrip()


def format_sections(sections: Iterable[Section]) -> str:
    """The sections that are not empty, an empty line between two."""
    texts = ("\n".join(section.lines()) for section in sections)
    return "\n\n".join(text for text in texts if text)


# An image ---------------------------------------------------------------------------------------------------------


def image_sections(image: Image) -> Iterator[Section]:
    """What an image is, its partitions, and these drawn to scale."""
    found = image.identity
    known = (
        ("balenaOS", found.os_version or "version unknown"),
        ("device type", found.slug or "unknown"),
        ("architecture", found.arch or "unknown"),
        ("kind", found.kind.value),
        ("firmware", ", ".join(boots_with(found)) or "unknown"),
        ("format", image.format),
        ("file size", format_size(image.file_bytes)),
        ("size on disk", format_size(image.size_bytes)),
        ("in use", f"{format_size(image.write_bytes)}, {100 * image.write_bytes // image.size_bytes} %"),
        ("SHA-256", image.sha256),
        ("compared with", image.bmap or "no bmap beside it"),
        ("partition table", f"{image.table.kind.value}, {image.table.id}"),
    )
    yield Section(title=str(image.path), rows=known)
    yield Section(title="On a device", rows=tuple(_on_a_device(image)))
    heads = ("number", "start", "size", "in use", "type", "name")
    rows = tuple(_partition_row(image, partition) for partition in image.table.partitions)
    yield Section(title="Partitions", rows=(heads, *rows))
    picture = draw_layout(image.size_bytes, image.table.partitions)
    yield Section(title=f"Layout, {format_size(image.size_bytes // WIDTH)} a character", rows=((picture,),))


def _partition_row(image: Image, partition: Partition) -> tuple[str, ...]:
    known = {image.boot.number: image.identity.label, image.data.number: DATA_LABEL}
    name = partition.name or known.get(partition.number, "extended" if partition.is_extended else "")
    used = "" if partition.is_extended else format_size(partition.size_bytes - image.free_bytes(partition))
    sizes = (format_size(partition.start_bytes), format_size(partition.size_bytes), used)
    return str(partition.number), *sizes, partition.type, name


def boots_with(identity: Identity) -> Iterator[str]:
    """The kinds of firmware that can start the image."""
    if identity.has_bios_boot_code:
        yield "BIOS"
    if identity.efi_machine is not None:
        yield f"UEFI ({machine_name(identity.efi_machine)})"
    if "config.txt" in identity.files:
        yield "Raspberry Pi"


def _on_a_device(image: Image) -> Iterator[tuple[str, str]]:
    """What a migration to it would take, as far as that does not depend on the device."""
    from balena_migrate.strategies.default import image_parts

    parts = " + ".join(f"{in_mib(size)} ({name})" for name, size in image_parts(image))
    yield "memory for stage 2", f"{parts} + initramfs + backup + kernel"
    for medium in (SD_CARD, EMMC, SSD):
        yield f"window on {medium.name}", expected_window(medium, image.write_bytes)[1]


def draw_layout(size_bytes: int, partitions: Sequence[Partition], width: int = WIDTH) -> str:
    """One line, to scale: each partition is its number and then dashes, what belongs to none is dots.

    Every partition has at least its number; extended partitions are left out, since the logical ones fill them.
    """
    shown = sorted((p for p in partitions if not p.is_extended), key=lambda partition: partition.start_bytes)
    line = ["."] * width
    free_from, needed = 0, sum(len(str(partition.number)) for partition in shown)
    for partition in shown:
        label = str(partition.number)
        needed -= len(label)
        first = min(max(free_from, partition.start_bytes * width // size_bytes), width - needed - len(label))
        end = min(max(first + len(label), partition.end_bytes * width // size_bytes), width - needed)
        line[first:end] = label.ljust(end - first, "-")
        free_from = end
    return "".join(line)


# A device ---------------------------------------------------------------------------------------------------------


def facts_sections(facts: Facts) -> Iterator[Section]:
    """What a device is."""
    hardware, boot = facts.hardware, facts.boot
    system = (
        ("system", ", ".join(filter(None, (facts.os.name or "unknown", facts.os.rpi_issue)))),
        ("model", hardware.model),
        ("revision", hardware.revision),
        ("machine", f"{hardware.machine}, user space {hardware.userland or 'unknown'}"),
        ("memory", f"{format_size(facts.memory.total_bytes)}, {format_size(facts.memory.available_bytes)} available"),
        ("firmware", boot.firmware.value),
        ("secure boot", {True: "on", False: "off", None: ""}[boot.secure_boot]),
        ("kernel", boot.kernel_release),
        ("command line", boot.kernel_command_line),
        ("boot files", " ".join(boot.files)),
        ("unreadable", " ".join(boot.unreadable)),
        ("programs", " ".join(sorted(facts.programs))),
        ("clock", _clock(facts.clock)),
    )
    yield Section(title="Device", rows=tuple(row for row in system if row[1]))
    yield Section(title="Block devices", rows=_with_heads(_DEVICE_HEADS, map(_device_row, facts.disks.devices)))
    mounts = (mount for mount in facts.disks.mounts if mount.source.startswith("/"))
    yield Section(title="File systems", rows=_with_heads(_MOUNT_HEADS, map(_mount_row, mounts)))
    yield Section(title="Network", rows=_with_heads(_INTERFACE_HEADS, _interface_rows(facts.network)))
    network = (
        *(("default route", f"{route.gateway} {route.interface}".strip()) for route in facts.network.default_routes),
        ("name servers", " ".join(facts.network.name_servers)),
    )
    yield Section(title="Routing", rows=tuple(row for row in network if row[1]))


def _clock(clock: ClockFacts) -> str:
    """What it says, and what shows that it was not set; "" where it was not looked at."""
    if not clock.now_s:
        return ""
    unset = "" if clock.is_set else f", but {clock.written} was written on {_time(clock.written_s)}"
    return f"{_time(clock.now_s)}{unset}"


def _time(time_s: int) -> str:
    return datetime.datetime.fromtimestamp(time_s, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


_DEVICE_HEADS = ("name", "type", "size", "content", "label", "UUID", "below")
_MOUNT_HEADS = ("mounted on", "device", "type", "size", "free")
_INTERFACE_HEADS = ("name", "kind", "driver", "MAC", "state", "addresses")


def _with_heads(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    found = tuple(rows)
    return (heads, *found) if found else ()


def _device_row(device: BlockDevice) -> tuple[str, ...]:
    content = device.fstype or (f"{device.table_type} table" if device.table_type and device.kind == "disk" else "")
    size = format_size(device.size_bytes)
    return device.name, device.kind, size, content, device.label, device.uuid, " ".join(device.parents)


def _mount_row(mount: Mount) -> tuple[str, ...]:
    sizes = (format_size(mount.size_bytes), format_size(mount.free_bytes))
    return mount.mount_point, mount.source, mount.fstype, *sizes


def _interface_rows(network: NetworkFacts) -> Iterator[tuple[str, ...]]:
    for interface in network.interfaces:
        addresses = [found.address for found in network.addresses if found.interface == interface.name]
        state = "up" if interface.up else "down"
        yield interface.name, interface.kind.value, interface.driver, interface.mac, state, " ".join(addresses)
