# SPDX-License-Identifier: Apache-2.0
"""A boot option of UEFI firmware: a label, the device path of the file that is started, and what that file gets.

Source: the UEFI specification 2.10, 3.1.3 (EFI_LOAD_OPTION), 10.3.1 (nodes of a device path), 10.3.5.1 (Hard Drive)
and 10.3.5.4 (File Path). A path that begins with a partition is short for one that begins with its controller (3.1.2):
the firmware looks for the partition on all of its disks.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

ACTIVE = 1
"""The firmware starts it by itself, where the order comes to it."""

_HEAD = struct.Struct("<IH")
_NODE = struct.Struct("<BBH")
_HARD_DRIVE = struct.Struct("<IQQ16sBB")
_MEDIA, _HARD_DRIVE_TYPE, _FILE_TYPE = 4, 1, 4
_END = b"\x7f\xff\x04\x00"
_MBR, _GPT = 1, 2
"""Both the kind of the table, and the kind of its signature: an MBR's id, or a partition's GUID."""


@dataclass(frozen=True, kw_only=True)
class HardDrive:
    """A partition as firmware knows it. `partuuid` is lsblk's and the kernel's PARTUUID: a GUID in lower case, or of an
    MBR its id and the partition's number (12345678-01)."""

    number: int
    start_lba: int
    sectors: int
    partuuid: str


@dataclass(frozen=True, kw_only=True)
class LoadOption:
    """`file` has backslashes between its parts. `arguments` are the bytes that the file gets: for a kernel its command
    line in UTF-16."""

    label: str
    hard_drive: HardDrive | None
    """None where the option does not begin with a partition: the network, a firmware's own shell."""
    file: str
    arguments: bytes = b""
    attributes: int = ACTIVE


def dump_option(option: LoadOption) -> bytes:
    """The value of its variable. Raises ValueError for a PARTUUID that is none."""
    nodes = b"".join((_dump_hard_drive(option.hard_drive) if option.hard_drive else b"", _dump_file(option.file), _END))
    return _HEAD.pack(option.attributes, len(nodes)) + _text(option.label) + nodes + option.arguments


def parse_option(value: bytes) -> LoadOption:
    """The option in its variable's value. Raises ValueError for what is none, or is cut short."""
    if len(value) < _HEAD.size:
        raise ValueError("it is too short for a boot option")
    attributes, nodes_bytes = _HEAD.unpack_from(value)
    label, start = _read_text(value, _HEAD.size)
    end = start + nodes_bytes
    if end > len(value):
        raise ValueError("its device path is cut short")
    nodes = tuple(_nodes(value[start:end]))
    drives = (_parse_hard_drive(body) for kind, body in nodes if kind == (_MEDIA, _HARD_DRIVE_TYPE))
    files = (_read_text(body + b"\0\0", 0)[0] for kind, body in nodes if kind == (_MEDIA, _FILE_TYPE))
    return LoadOption(
        label=label,
        hard_drive=next(drives, None),
        file="\\".join(part.strip("\\") for part in files),
        arguments=value[end:],
        attributes=attributes,
    )


def command_line(text: str) -> bytes:
    """The arguments of a kernel that the firmware starts itself."""
    return _text(text)


def _dump_hard_drive(drive: HardDrive) -> bytes:
    if len(drive.partuuid) == 36:
        signature, kind = uuid.UUID(drive.partuuid).bytes_le, _GPT
    else:
        signature, kind = struct.pack("<I12x", int(drive.partuuid.split("-")[0], 16)), _MBR
    fields = _HARD_DRIVE.pack(drive.number, drive.start_lba, drive.sectors, signature, kind, kind)
    return _NODE.pack(_MEDIA, _HARD_DRIVE_TYPE, _NODE.size + len(fields)) + fields


def _parse_hard_drive(body: bytes) -> HardDrive | None:
    if len(body) != _HARD_DRIVE.size:
        raise ValueError(f"a partition in its device path takes {len(body)} bytes")
    number, start_lba, sectors, signature, _, kind = _HARD_DRIVE.unpack(body)
    if kind == _GPT:
        partuuid = str(uuid.UUID(bytes_le=signature))
    elif kind == _MBR:
        partuuid = f"{int.from_bytes(signature[:4], 'little'):08x}-{number:02x}"
    else:
        return None
    return HardDrive(number=number, start_lba=start_lba, sectors=sectors, partuuid=partuuid)


def _dump_file(path: str) -> bytes:
    text = _text(path)
    return _NODE.pack(_MEDIA, _FILE_TYPE, _NODE.size + len(text)) + text


def _nodes(data: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Kind and body of each node, up to the one that ends the first path."""
    place = 0
    while place + _NODE.size <= len(data):
        kind, subkind, size = _NODE.unpack_from(data, place)
        if kind == 0x7F:
            return
        if size < _NODE.size or place + size > len(data):
            raise ValueError("its device path is damaged")
        yield (kind, subkind), data[place + _NODE.size : place + size]
        place += size


def _text(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass") + b"\0\0"


def _read_text(data: bytes, start: int) -> tuple[str, int]:
    """The text that begins there, and what follows it. Raises ValueError if it does not end."""
    for place in range(start, len(data) - 1, 2):
        if data[place : place + 2] == b"\0\0":
            return data[start:place].decode("utf-16-le", "replace"), place + 2
    raise ValueError("a text in it does not end")
