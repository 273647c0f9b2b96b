# SPDX-License-Identifier: Apache-2.0
"""The device that the verbs work on, and what was found on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from balena_migrate import checks
from balena_migrate.cli.options import Flags, config_from
from balena_migrate.cli.output import ErrorOutput, print_json, progress, say, show_findings
from balena_migrate.cli.scratch import scratch_folder
from balena_migrate.core.errors import RefusedError
from balena_migrate.core.kit import find_kit
from balena_migrate.core.system import System
from balena_migrate.findings import Finding, is_refused
from balena_migrate.image_form import with_best_form
from balena_migrate.plan import Plan, make_plan
from balena_migrate.stage1 import Stage1
from balena_migrate.survey import Survey, accept, take_survey


@contextmanager
def surveyed(system: System, config_file: str | None, flags: Flags, *, fresh: bool) -> Iterator[Survey]:
    """The survey of this device, with `fresh` as in take_survey(); the temporary folder is removed in the end."""
    config = config_from(system, config_file, flags)
    with scratch_folder() as folder:
        yield with_best_form(take_survey(system, config, find_kit(), folder, progress, fresh=fresh))


def prepare(survey: Survey, *, as_json: bool) -> tuple[Plan, tuple[Finding, ...]]:
    """The plan and the findings. Where one prevents the migration, all are printed, and SystemExit is raised."""
    findings = checks.run(survey)
    if is_refused(findings):
        refuse(findings, as_json=as_json)
    accepted = accept(survey, findings)
    stage1 = Stage1(accepted, progress=progress, say=say)
    return make_plan(accepted, stage1.actions(), stage1.boot_actions()), findings


def refuse(findings: tuple[Finding, ...], *, as_json: bool) -> NoReturn:
    """Print the findings, at least one of which blocks the migration, and exit."""
    error = RefusedError("this device cannot be migrated as it is", hint="see the findings; nothing was changed")
    if as_json:
        status = error.exit_status
        print_json(ErrorOutput(error=error.message, hint=error.hint, exit_status=status, findings=findings))
    else:
        show_findings(findings)
        say(f"error: {error}")
    raise SystemExit(error.exit_status)
