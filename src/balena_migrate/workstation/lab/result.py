# SPDX-License-Identifier: Apache-2.0
"""What a rehearsal found: the form of report.json and of `--json`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that had to hold, what was expected, and what was found."""

    name: str
    passed: bool
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A span of the time line; `start_s` counts from the moment the device was switched on."""

    step: str
    start_s: float
    seconds: float
    after_line: bool = False
    """Whether the old system was gone by then."""


@dataclass(frozen=True, kw_only=True)
class DiskPart:
    """A partition; `used_bytes` is what its file system holds, where that is known."""

    start_bytes: int
    size_bytes: int
    label: str = ""
    fstype: str = ""
    used_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class DiskState:
    """What is on the disk at a moment; an extended partition is not among the parts."""

    size_bytes: int
    parts: tuple[DiskPart, ...]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that is true of the emulated machine, in words."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """One scenario, run to its end. What was not reached or cannot be measured is None."""

    scenario: str
    description: str
    passed: bool
    checks: tuple[Check, ...]
    timeline: tuple[Step, ...]
    serial_logs: tuple[str, ...]
    """Names of the logs, beside report.json."""
    window_s: float | None = None
    """From the first destructive write to the reboot."""
    stage1_s: float | None = None
    stage2_s: float | None = None
    initramfs_bytes: int | None = None
    peak_memory_bytes: int | None = None
    disk_before: DiskState | None = None
    disk_after: DiskState | None = None
    changes: tuple[str, ...] = ()
    """What stage 1 changed on the old system, in its order."""
    machine: tuple[Fact, ...] = ()
    accelerator: str = ""
    format: int = 1

    @classmethod
    def failed(cls, scenario: str, description: str, reason: str) -> Rehearsal:
        """A rehearsal that did not get so far that anything could be judged."""
        checks = (ran_to_its_end(reason),)
        return cls(scenario=scenario, description=description, passed=False, checks=checks, timeline=(), serial_logs=())


def ran_to_its_end(reason: str) -> Check:
    """The check that fails where a device got stuck."""
    return Check(name="the rehearsal ran to its end", passed=False, expected="yes", found=reason)


def same(name: str, expected: object, found: object) -> Check:
    """A check that passes where both are equal."""
    return Check(name=name, passed=expected == found, expected=str(expected), found=str(found))


def not_compared(name: str, things: Iterable[str]) -> Check:
    """Names what nothing is known about; it is no failure."""
    return Check(name=name, passed=True, expected="not compared", found="; ".join(things))
