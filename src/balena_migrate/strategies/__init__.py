# SPDX-License-Identifier: Apache-2.0
"""Migration strategies, as stage 1 knows them: one file each, which holds a `STRATEGY`. The folder is the registry.

balena_migrate.stage2.strategies holds what stage 2 does for the strategy of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from balena_migrate.core.plugins import load_all
from balena_migrate.findings import Code, Finding
from balena_migrate.settings import StrategyName
from balena_migrate.survey import Accepted, Survey


@dataclass(frozen=True, kw_only=True)
class Stage1Strategy:
    """What the strategy needs, and what stage 2 does for it.

    `check(survey, initramfs_bytes, backup_bytes)` yields findings on whether a device has what the strategy needs,
    with an initramfs and backups of this size.
    """

    name: StrategyName
    check: Callable[[Survey, int, int], Iterator[Finding]]
    codes: tuple[Code, ...]
    """The codes of its findings."""
    memory_reserve_bytes: int
    """What stage 2 works with, besides the files that it needs."""
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
