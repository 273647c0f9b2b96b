# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate check`."""

from __future__ import annotations

from dataclasses import dataclass

import rich_click as click

from balena_migrate.cli.options import device_system, fresh_option, json_option, settings_options
from balena_migrate.cli.output import print_json, show_findings
from balena_migrate.core.errors import ExitStatus
from balena_migrate.findings import Finding, is_refused


@dataclass(frozen=True, kw_only=True)
class CheckOutput:
    """Whether this device can be migrated."""

    refused: bool
    """Whether a finding prevents the migration; then the exit status is 1."""
    findings: tuple[Finding, ...]
    format: int = 1


DOCUMENT = CheckOutput


@click.command()
@settings_options()
@fresh_option
@json_option
def check(config_file: str | None, fresh: bool, as_json: bool, **flags: str | None) -> None:
    """Check this device and print all findings; change nothing."""
    from balena_migrate import checks
    from balena_migrate.cli.device import surveyed

    with surveyed(device_system(), config_file, flags, fresh=fresh) as survey:
        findings = checks.run(survey)
    refused = is_refused(findings)
    if as_json:
        print_json(CheckOutput(refused=refused, findings=findings))
    else:
        show_findings(findings)
    if refused:
        raise SystemExit(ExitStatus.REFUSED)
