# SPDX-License-Identifier: Apache-2.0
"""For which machine an EFI program is: the field of its header that UEFI firmware looks at, too.

Source: Microsoft's PE format, "MS-DOS Stub" and "COFF File Header"; the machines are the UEFI specification's (2.10,
3.5.1.1).
"""

from __future__ import annotations

import struct

HEAD_BYTES = 4096
"""All of a program that is looked at."""

X86_64 = 0x8664
NO_PROGRAM = 0
MACHINES = {X86_64: "x86-64", 0x014C: "32-bit x86", 0xAA64: "64-bit ARM", 0x01C2: "32-bit ARM"}

_SIGNATURE = b"PE\0\0"
_SIGNATURE_PLACE = 0x3C
_MACHINE = struct.Struct("<4sH")


def parse_machine(head: bytes) -> int:
    """The machine of a program whose first HEAD_BYTES these are; NO_PROGRAM for anything else."""
    if head[:2] != b"MZ" or len(head) < _SIGNATURE_PLACE + 4:
        return NO_PROGRAM
    (place,) = struct.unpack_from("<I", head, _SIGNATURE_PLACE)
    if place + _MACHINE.size > len(head):
        return NO_PROGRAM
    signature, machine = _MACHINE.unpack_from(head, place)
    return int(machine) if signature == _SIGNATURE else NO_PROGRAM


def machine_name(machine: int) -> str:
    """For people."""
    if machine == NO_PROGRAM:
        return "no program"
    return f"a program for {MACHINES.get(machine, f'the machine {machine:#06x}')}"
