# SPDX-License-Identifier: Apache-2.0
"""How stage 2 migrates: one file a strategy, which holds a `STRATEGY`. The folder is the registry.

balena_migrate.strategies holds what stage 1 has to know of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from balena_migrate.core.errors import MigrateError
from balena_migrate.core.plugins import load_all
from balena_migrate.stage2.frame import Stage2
from balena_migrate.stage2.line import Crossed


@dataclass(frozen=True, kw_only=True)
class Stage2Strategy:
    """`migrate` raises CameBackError where it ends before the line, with the reason on the old system.

    `go_on` does what is left of it, where its process died behind the line.
    """

    name: str
    """As the setting STRATEGY has it, and the hand-over."""
    migrate: Callable[[Stage2], None]
    go_on: Callable[[Stage2, Crossed], None]


@cache
def strategies() -> tuple[Stage2Strategy, ...]:
    """All strategies, by file name."""
    return load_all(__name__, __path__, "STRATEGY")


def strategy_named(name: str) -> Stage2Strategy:
    """The strategy with this name. Raises MigrateError if there is none."""
    for strategy in strategies():
        if strategy.name == name:
            return strategy
    raise MigrateError(f"the hand-over asks for the unknown strategy {name}")
