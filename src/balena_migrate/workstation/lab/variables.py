# SPDX-License-Identifier: Apache-2.0
"""The variable store of a PC with UEFI: a file beside the disk, read and written while the machine is off."""

from __future__ import annotations

import shutil
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from virt.firmware.efi.bootentry import LOAD_OPTION_ACTIVE, LOAD_OPTION_CATEGORY
from virt.firmware.efi.bootentry import BootEntry as RawEntry
from virt.firmware.efi.devpath import DevicePathElem
from virt.firmware.efi.efivar import EfiVar, EfiVarList
from virt.firmware.varstore.edk2 import Edk2VarStore

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import KIB

STORE_NAME = "variables.fd"
FILLER = "LabFiller"
FILLER_BYTES = 8 * KIB
"""OVMF takes no variable of more than 33 KiB (edk2, OvmfPkgX64.dsc: PcdMaxVariableSize)."""
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_HARD_DRIVE = (4, 1)
_FILE_PATH = (4, 4)


@dataclass(frozen=True, kw_only=True)
class BootEntry:
    """A Boot#### variable. `path` is its device path as text, `optional` what the firmware passes to the program."""

    number: int
    label: str
    path: str
    optional: bytes = b""
    bootable: bool = True
    """Whether the firmware starts it by itself: it is active, and no application such as the setup menu."""

    @property
    def line(self) -> str:
        """All of it as text."""
        mark = "*" if self.bootable else ""
        return f"Boot{self.number:04X}{mark} {self.label} {self.path} {self.arguments}".rstrip()

    @property
    def arguments(self) -> str:
        """What the firmware passes to the program, as text where it is that."""
        text = self.optional.decode("utf-16-le", "replace").rstrip("\0")
        return text if text.isascii() and text.isprintable() else self.optional.hex()


@dataclass(frozen=True, kw_only=True)
class BootVariables:
    """What a firmware with UEFI boots: all entries, by number, and what it starts in which order."""

    entries: tuple[BootEntry, ...]
    order: tuple[int, ...]
    next: int | None
    """BootNext, which the firmware removes before it starts that entry."""

    def find(self, label: str) -> BootEntry | None:
        """The first entry with this label, in the order of the numbers."""
        return next((entry for entry in self.entries if entry.label == label), None)

    @property
    def in_order(self) -> Iterator[BootEntry]:
        """The entries in the order in which the firmware tries them: BootNext's, then those of BootOrder."""
        found = {entry.number: entry for entry in self.entries}
        if self.next in found:
            yield found[self.next]
        yield from (found[number] for number in self.order if number in found and found[number].bootable)

    @property
    def first(self) -> BootEntry | None:
        """What the firmware starts next."""
        return next(self.in_order, None)

    def without(self, path: str) -> BootVariables:
        """The same without the entries that have this in their path."""
        return replace(self, entries=tuple(entry for entry in self.entries if path not in entry.path))

    def lines(self) -> tuple[str, ...]:
        """All of it as text, a line for each variable."""
        order = ",".join(f"{number:04X}" for number in self.order)
        chosen = "none" if self.next is None else f"{self.next:04X}"
        return (*(entry.line for entry in self.entries), f"BootOrder {order}", f"BootNext {chosen}")


def store_of(disk: Path) -> Path:
    """Where the variable store of the machine with this boot disk is, if it has one."""
    return disk.with_name(STORE_NAME)


def copy_store(disk: Path, target: Path) -> None:
    """The store of the machine with one boot disk, if it has one, is also that of the machine with the other one."""
    if store_of(disk).exists():
        shutil.copy(store_of(disk), store_of(target))


def read_boot_variables(disk: Path) -> BootVariables | None:
    """The boot entries of the machine with this boot disk; None if it has no variable store. Raises LabError."""
    if not store_of(disk).exists():
        return None
    variables = {name: bytes(item.data) for name, item in _read(store_of(disk)).get_varlist().items()}
    numbers = {int(name[4:], 16): name for name in variables if _is_entry(name)}
    chosen = _numbers(variables.get("BootNext", b""))
    return BootVariables(
        entries=tuple(parse_entry(number, variables[numbers[number]]) for number in sorted(numbers)),
        order=_numbers(variables.get("BootOrder", b"")),
        next=chosen[0] if chosen else None,
    )


def parse_entry(number: int, data: bytes) -> BootEntry:
    """An EFI_LOAD_OPTION (UEFI specification 2.10, 3.1.3)."""
    raw = RawEntry(data)
    return BootEntry(
        number=number,
        label=str(raw.title),
        path="/".join(_element(part) for part in raw.devicepath),
        optional=raw.optdata or b"",
        bootable=raw.attr & (LOAD_OPTION_ACTIVE | LOAD_OPTION_CATEGORY) == LOAD_OPTION_ACTIVE,
    )


def forget_next(disk: Path) -> None:
    """The store has no BootNext, as after a firmware that removes it and does not look at it. Raises LabError."""
    store = _read(store_of(disk))
    variables = store.get_varlist()
    if variables.pop("BootNext", None) is None:
        raise LabError(f"{store_of(disk)} has no BootNext")
    _write(store, variables, store_of(disk))


def fill_store(disk: Path, left_bytes: int) -> None:
    """The store has variables of no use, and room for about this many bytes more. Raises LabError if it has less."""
    store = _read(store_of(disk))
    variables = store.get_varlist()
    room = store.end - store.start - len(store.bytes_varlist(variables)) - left_bytes
    if room < 0:
        raise LabError(f"the variable store has {room + left_bytes} bytes left, not {left_bytes}")
    for number, size in enumerate(_pieces(room)):
        variables[f"{FILLER}{number}"] = EfiVar(f"{FILLER}{number}", guid=_GLOBAL, data=bytes(size))
    _write(store, variables, store_of(disk))


def _write(store: Edk2VarStore, variables: EfiVarList, path: Path) -> None:
    """The library's own writer takes ten seconds: it appends the free space byte by byte."""
    content = store.bytes_varlist(variables).ljust(store.end - store.start, b"\xff")
    path.write_bytes(store.filedata[: store.start] + content + store.filedata[store.end :])


def _pieces(room: int) -> Iterator[int]:
    """Sizes of variables that take up this room together, with their headers and names."""
    head = 60 + 2 * len(f"{FILLER}000")
    while room > head:
        size = min(FILLER_BYTES, room - head)
        yield size
        room -= size + head


def _read(store: Path) -> Edk2VarStore:
    """The library ends the process where a file is no variable store."""
    try:
        return Edk2VarStore(str(store))
    except (SystemExit, struct.error):
        raise LabError(f"{store} is not a variable store of OVMF") from None


def _is_entry(name: str) -> bool:
    return len(name) == 8 and name.startswith("Boot") and all(digit in "0123456789ABCDEF" for digit in name[4:])


def _numbers(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 2}H", data[: len(data) // 2 * 2])


def _element(part: DevicePathElem) -> str:
    """A part of a device path; partitions as efibootmgr writes them, with what identifies them."""
    if part.is_type(*_HARD_DRIVE):
        number, start, size = struct.unpack_from("<LQQ", part.data)
        signature, kind = part.data[20:36], part.data[37]
        ident = str(uuid.UUID(bytes_le=signature)) if kind == 2 else f"0x{int.from_bytes(signature[:4], 'little'):08x}"
        return f"HD({number},{'GPT' if kind == 2 else 'MBR'},{ident},0x{start:x},0x{size:x})"
    if part.is_type(*_FILE_PATH):
        return str(part.get_filepath())
    return str(part)
