# SPDX-License-Identifier: Apache-2.0
"""Can the initramfs of stage 2 be made, with all that stage 2 needs of the kernel?"""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.findings import PASSES, Code, Finding, is_refused, passed
from balena_migrate.survey import Survey

CODES = (Code("initramfs", PASSES, "What the initramfs of stage 2 gets, and how it is made."),)


def check(survey: Survey) -> Iterator[Finding]:
    yield from survey.initramfs.findings
    if survey.initramfs.text and not is_refused(survey.initramfs.findings):
        yield passed("initramfs", f"the initramfs of stage 2: {survey.initramfs.text}")
