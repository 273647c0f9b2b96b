# SPDX-License-Identifier: Apache-2.0
"""The machine, from the kernel: uname, /proc/device-tree, /proc/cpuinfo."""

from __future__ import annotations

import os
import re

from balena_migrate.core.errors import CommandError, FileError
from balena_migrate.core.system import System
from balena_migrate.facts import HardwareFacts

DEVICE_TREE = "/proc/device-tree"


def parse_cpuinfo_revision(text: str) -> str:
    """The Raspberry Pi's revision code as /proc/cpuinfo shows it; "" if it does not."""
    match = re.search(r"^Revision\s*:\s*([0-9a-fA-F]+)\s*$", text, re.MULTILINE)
    return match[1].lower() if match else ""


def parse_cpuinfo_model(text: str) -> str:
    """The board's name in /proc/cpuinfo, for kernels without a device tree: the line "Model", or that of the Raspberry
    Pi's chip (BCM2708 and BCM2709 were its kernels' own names); "" for other machines.
    """
    model = re.search(r"^Model[ \t]*:[ \t]*(Raspberry Pi .*\S)\s*$", text, re.MULTILINE)
    chip = re.search(r"^Hardware\s*:\s*BCM(2708|2709|2710|2711|2712|2835|2836|2837)\s*$", text, re.MULTILINE)
    return model[1] if model else "Raspberry Pi" if chip else ""


def parse_cpuinfo_long_mode(text: str) -> bool:
    """Whether a PC's processor has a 64-bit mode: the flag lm (Linux, arch/x86/include/asm/cpufeatures.h)."""
    flags = re.search(r"^flags[ \t]*:(.*)$", text, re.MULTILINE)
    return flags is not None and "lm" in flags[1].split()


def parse_device_tree_strings(data: bytes) -> tuple[str, ...]:
    """A device tree property that is a list of strings, each ended by a NUL."""
    return tuple(part.decode("ascii", "replace") for part in data.split(b"\0") if part)


def read_hardware(system: System) -> HardwareFacts:
    """The hardware of the machine that runs us."""
    model = _device_tree_strings(system, "model")
    cpuinfo = system.find_text("/proc/cpuinfo") or ""
    return HardwareFacts(
        machine=os.uname().machine,
        userland=_read_userland(system),
        model=model[0] if model else parse_cpuinfo_model(cpuinfo),
        compatible=_device_tree_strings(system, "compatible"),
        revision=parse_cpuinfo_revision(cpuinfo) or _device_tree_revision(system),
        long_mode=parse_cpuinfo_long_mode(cpuinfo),
    )


def _device_tree_strings(system: System, name: str) -> tuple[str, ...]:
    try:
        return parse_device_tree_strings(system.read_bytes(f"{DEVICE_TREE}/{name}"))
    except FileError:
        return ()


def _device_tree_revision(system: System) -> str:
    """The firmware also puts the code into the device tree, big-endian; 64-bit kernels may have it nowhere else."""
    try:
        data = system.read_bytes(f"{DEVICE_TREE}/system/linux,revision")
    except FileError:
        return ""
    return f"{int.from_bytes(data[:4], 'big'):x}" if len(data) >= 4 else ""


def _read_userland(system: System) -> str:
    if system.find_program("dpkg") is None:
        return ""
    try:
        return system.run(["dpkg", "--print-architecture"]).text.strip()
    except CommandError:
        return ""
