# SPDX-License-Identifier: Apache-2.0
"""The checks: one file a topic, each with `check(survey)`, which yields findings and changes nothing.

The folder is the registry. Each file declares the codes of its findings in `CODES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from balena_migrate import survey as survey_module
from balena_migrate.bootloaders import boot_loaders
from balena_migrate.core.plugins import load_all
from balena_migrate.findings import Code, Finding
from balena_migrate.initramfs import builders
from balena_migrate.survey import Survey

Check = Callable[[Survey], Iterator[Finding]]


@cache
def checks() -> tuple[Check, ...]:
    """All checks, by file name."""
    return load_all(__name__, __path__, "check")


def run(survey: Survey) -> tuple[Finding, ...]:
    """All findings: those of the checks, and what the survey itself could not find."""
    return (*(finding for check in checks() for finding in check(survey)), *survey.problems)


def codes() -> tuple[Code, ...]:
    """The code of every finding that there can be, in alphabetical order."""
    tables: tuple[tuple[Code, ...], ...] = (
        survey_module.CODES,
        *load_all(__name__, __path__, "CODES"),
        *(loader.codes for loader in boot_loaders()),
        *(builder.codes for builder in builders()),
    )
    return tuple(sorted((code for table in tables for code in table), key=lambda code: code.code))
