# SPDX-License-Identifier: Apache-2.0
"""Does the strategy find what it needs on this device?"""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.checks.storage import initramfs_estimate_bytes
from balena_migrate.findings import Finding
from balena_migrate.strategies import strategies, strategy_named
from balena_migrate.survey import Survey

CODES = tuple(code for strategy in strategies() for code in strategy.codes)


def check(survey: Survey) -> Iterator[Finding]:
    yield from check_strategy(survey, survey.backup_bytes)


def check_strategy(survey: Survey, backup_bytes: int) -> Iterator[Finding]:
    """The strategy's findings, with backups of this size."""
    return strategy_named(survey.config.strategy).check(survey, initramfs_estimate_bytes(survey), backup_bytes)
