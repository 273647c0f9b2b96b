# SPDX-License-Identifier: Apache-2.0
"""Does the strategy find what it needs on this device?"""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.checks.storage import initramfs_estimate
from balena_migrate.findings import Finding
from balena_migrate.strategies import EXPECTED_PATCHES_BYTES, Stage2Sizes, strategies, strategy_named
from balena_migrate.survey import Survey

CODES = tuple(code for strategy in strategies() for code in strategy.codes)


def check(survey: Survey) -> Iterator[Finding]:
    yield from check_strategy(survey, expected_sizes(survey))


def check_strategy(survey: Survey, sizes: Stage2Sizes) -> Iterator[Finding]:
    """The strategy's findings, with these sizes."""
    return strategy_named(survey.config.strategy).check(survey, sizes)


def expected_sizes(survey: Survey) -> Stage2Sizes:
    """Before anything is made."""
    return Stage2Sizes(
        initramfs=initramfs_estimate(survey),
        image_bytes=survey.image.file_bytes if survey.image else 0,
        patches_bytes=EXPECTED_PATCHES_BYTES,
        backup_bytes=survey.backup_bytes,
    )
