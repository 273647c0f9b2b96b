# SPDX-License-Identifier: Apache-2.0
"""A rehearsal's result: the format of report.json and of `--json`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 1500
"""The characters of a text that a check shows."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must hold: what was expected, and what was found."""

    name: str
    passed: bool
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True)
class TimelineStep:
    """A span of the timeline; `start_s` counts from power-on."""

    step: str
    start_s: float
    seconds: float
    after_line: bool = False
    """Whether the old system was gone by then."""


@dataclass(frozen=True, kw_only=True)
class DiskPart:
    """A partition; `used_bytes` is the used space of its file system, where known."""

    start_bytes: int
    size_bytes: int
    label: str = ""
    fstype: str = ""
    used_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class DiskState:
    """The disk at one moment; an extended partition is not among the parts."""

    size_bytes: int
    parts: tuple[DiskPart, ...]


@dataclass(frozen=True, kw_only=True)
class Flash:
    """What stage 2 said of its flash. Where it reads back while it writes, both times are that of both together."""

    written_bytes: int
    write_s: float
    read_back_s: float


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A property of the emulated machine, in words."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """The result of one scenario. What was not reached or cannot be measured is None."""

    scenario: str
    description: str
    passed: bool
    checks: tuple[Check, ...]
    timeline: tuple[TimelineStep, ...]
    serial_logs: tuple[str, ...]
    """Names of the logs, which are next to report.json."""
    window_s: float | None = None
    """From the first destructive write to the reboot."""
    stage1_s: float | None = None
    stage2_s: float | None = None
    initramfs_bytes: int | None = None
    peak_memory_bytes: int | None = None
    image_used_bytes: int | None = None
    """What the image's file systems use, of their sizes."""
    flash: Flash | None = None
    """By stage 2's own words."""
    disk_before: DiskState | None = None
    disk_after: DiskState | None = None
    changes: tuple[str, ...] = ()
    """What stage 1 changed on the old system, in order."""
    machine: tuple[Fact, ...] = ()
    accelerator: str = ""
    format: int = 1

    @classmethod
    def failed(cls, scenario: str, description: str, reason: str) -> Rehearsal:
        """A rehearsal that failed before anything could be checked."""
        checks = (ran_to_its_end(reason),)
        return cls(scenario=scenario, description=description, passed=False, checks=checks, timeline=(), serial_logs=())


def ran_to_its_end(reason: str) -> Check:
    """The check that fails if a device got stuck."""
    return Check(name="the rehearsal ran to completion", passed=False, expected="yes", found=reason)


def same(name: str, expected: object, found: object) -> Check:
    """A check that passes if both are equal."""
    return Check(name=name, passed=expected == found, expected=str(expected), found=str(found))


def matches(name: str, pattern: str, text: str) -> Check:
    """A check that passes if the pattern is found in the text; else it shows the text's end."""
    found = re.search(pattern, text)
    return Check(name=name, passed=found is not None, expected=pattern, found=found[0] if found else text[-SHOWN:])


def not_compared(name: str, things: Iterable[str]) -> Check:
    """A check that passes and names what was not compared."""
    return Check(name=name, passed=True, expected="not compared", found="; ".join(things))
