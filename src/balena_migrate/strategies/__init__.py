# SPDX-License-Identifier: Apache-2.0
"""Migration strategies, as stage 1 knows them: one file each, which holds a `STRATEGY`. The folder is the registry.

balena_migrate.stage2.strategies holds what stage 2 does for the strategy of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from balena_migrate.core.plugins import load_all
from balena_migrate.core.units import MIB, in_mib
from balena_migrate.findings import Code, Finding
from balena_migrate.images import Image
from balena_migrate.initramfs import InitramfsSize
from balena_migrate.settings import StrategyName
from balena_migrate.survey import Accepted, Survey

EXPECTED_PATCHES_BYTES = MIB
"""What the boot partition's changes take at most: about 30 KiB, or some 500 with a boot loader that the image lacks."""


@dataclass(frozen=True, kw_only=True)
class Stage2Sizes:
    """How large that is which stage 2 gets: as expected, or as it is once stage 1 has made it."""

    initramfs: InitramfsSize
    image_bytes: int
    patches_bytes: int
    backup_bytes: int
    """Of all backups together."""


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """What stage 2 needs memory for at the moment when it needs most, and what the device has."""

    parts: tuple[tuple[str, int], ...]
    """Each with its name and its bytes."""
    device_bytes: int
    """MemTotal of /proc/meminfo, which the same kernel has in stage 2 as well."""

    @property
    def mib(self) -> int:
        """Each part in whole MiB, rounded up: so the sum is that of the numbers in `text`."""
        return sum(_mib(size) for _, size in self.parts)

    @property
    def is_met(self) -> bool:
        return self.mib * MIB <= self.device_bytes

    @property
    def text(self) -> str:
        """The arithmetic in one line."""
        sums = " + ".join(f"{_mib(size)} ({name})" for name, size in self.parts)
        return f"stage 2 needs {sums} = {self.mib} MiB of memory; this device has {in_mib(self.device_bytes)}"


def _mib(size_bytes: int) -> int:
    return -(-size_bytes // MIB)


@dataclass(frozen=True, kw_only=True)
class Stage1Strategy:
    """What the strategy needs, and what stage 2 does for it."""

    name: StrategyName
    check: Callable[[Survey, Stage2Sizes], Iterator[Finding]]
    """Whether a device has what the strategy needs, with these sizes."""
    codes: tuple[Code, ...]
    """The codes of its findings."""
    memory_need: Callable[[Image, int, Stage2Sizes], MemoryNeed]
    """The same in numbers, for this image and MemTotal."""
    memory_reserve_bytes: int
    """What stage 2 works with, besides the files that it needs and what unpacking the image takes."""
    before_the_line: str
    """What stage 2 does before it lets go of the old system, for the plan."""
    after_the_line: Callable[[Accepted], tuple[str, ...]]
    """What stage 2 does after the line, step by step, for the plan."""
    power_cut: str
    """What a power cut after the line leaves, for the plan. docs/reliability.md has what was tried."""


@cache
def strategies() -> tuple[Stage1Strategy, ...]:
    """All strategies, by file name."""
    return load_all(__name__, __path__, "STRATEGY")


def strategy_named(name: StrategyName) -> Stage1Strategy:
    """The strategy that the setting STRATEGY names."""
    return next(strategy for strategy in strategies() if strategy.name is name)
