# SPDX-License-Identifier: Apache-2.0
"""One file for each place where systems keep network settings, with a `SOURCE`. The folder is the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from balena_migrate.core.plugins import load_all
from balena_migrate.core.system import System
from balena_migrate.network.model import Reading


@dataclass(frozen=True, kw_only=True)
class Source:
    """`read` raises nothing: whatever it cannot read or convert becomes a Problem in its Reading.

    If two sources describe the same network, the one with the lower `precedence` wins.
    """

    name: str
    precedence: int
    read: Callable[[System], Reading]


@cache
def all_sources() -> tuple[Source, ...]:
    """Every source, in the order of precedence."""
    sources: tuple[Source, ...] = load_all(__name__, __path__, "SOURCE")
    return tuple(sorted(sources, key=lambda source: source.precedence))
