# SPDX-License-Identifier: Apache-2.0
"""What the checks of a device and its image find in a survey."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from balena_migrate.checks import image, image_firmware, platform, storage, strategy
from balena_migrate.findings import Finding, Severity
from balena_migrate.survey import Survey

CHECKS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    platform.check,
    storage.check,
    image.check,
    image_firmware.check,
    strategy.check,
)
PI_IMAGE = {"slug": "raspberrypi3-64", "name": "balena-cloud-x-raspberrypi3-64-2.113.18.img.gz", "arch": "aarch64"}


def findings(survey: Survey) -> tuple[Finding, ...]:
    return (*(finding for check in CHECKS for finding in check(survey)), *survey.problems)


def blockers(survey: Survey) -> list[str]:
    return [finding.code for finding in findings(survey) if finding.severity is Severity.BLOCKER]
