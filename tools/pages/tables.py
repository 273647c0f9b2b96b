# SPDX-License-Identifier: Apache-2.0
"""docs/settings.md, docs/findings.md, and the platforms of README.md: each a table of the source, printed."""

from __future__ import annotations

from balena_migrate import checks
from balena_migrate.devices import device_types
from balena_migrate.facts import Firmware
from balena_migrate.findings import Severity
from balena_migrate.settings import CONFIG_FILES, SETTINGS, SWITCHES, Group, Setting
from balena_migrate.systems import systems
from pages import NOTICE, code, paragraph, table


def settings_page() -> str:
    """All settings, in their groups."""
    files = " or ".join(map(code, CONFIG_FILES))
    page = f"# Settings\n\n{NOTICE}"
    page += paragraph(
        f"""Settings are `KEY="value"` lines in {files} (the first that exists; `--config` names another file). The file
        is read as a shell would read it, but nothing in it is executed or expanded. Every key is also a flag, which
        wins over the file: `HOME_DIR` is `--home-dir`. A setting that is TRUE or FALSE may be given as a flag without a
        value, which is TRUE. An unknown key and a value that is not allowed are errors that name file and line."""
    )
    for group in Group:
        page += f"## {group.value}\n\n"
        rows = (_setting_row(setting) for setting in SETTINGS if setting.group is group)
        page += table(("setting", "default", "meaning", "example"), rows)
    page += "## Switches\n\n"
    page += paragraph("Plain flags for two of the keys. Together with a key that contradicts them, they are an error.")
    page += table(("switch", "the same as"), ((code(s.flag), code(f"{s.key}={s.value}")) for s in SWITCHES))
    return page.rstrip() + "\n"


def _setting_row(setting: Setting) -> tuple[str, str, str, str]:
    meaning = f"{setting.help} {setting.details}".strip()
    return code(setting.key), code(setting.default), meaning, code(setting.example)


WORDS = {Severity.BLOCKER: "blocks", Severity.WARNING: "warns", Severity.OK: "passes"}


def findings_page() -> str:
    """Every code that a finding can have."""
    page = f"# Findings\n\n{NOTICE}"
    page += paragraph(
        """`balena-migrate check` prints findings. Each has a code, which does not change between versions, a cause and,
        where there is something to do, a remedy. One that blocks prevents the migration: `check`, `plan` and `run` end
        with exit status 1. The cause and the remedy that are printed name files, sizes and devices; this page says what
        the codes mean in general."""
    )
    rows = (
        (code(row.code), ", ".join(WORDS[severity] for severity in row.severities), row.meaning, row.remedy)
        for row in checks.codes()
    )
    return page + table(("code", "effect", "meaning", "what to do"), rows).rstrip() + "\n"


def platforms_table() -> str:
    """What was really run, and what is known but was not."""
    rows = (
        (f"{code(device.slug)}{f', {row.image}' if row.image else ''}", row.machine, row.firmware, row.system, row.what)
        for device in device_types()
        for row in device.tested
    )
    page = table(("device type of the image", "machine", "firmware", "old system", "what was run"), rows)
    known = [d for d in device_types() if not d.tested and set(d.firmware) != {Firmware.UEFI}]
    releases = [(s.name, [release.version_id for release in s.releases if not release.tested]) for s in systems()]
    untested = [f"{name} {', '.join(ids)}" for name, ids in releases if ids]
    return page + paragraph(
        f"""**Known, but never migrated from start to finish**, and therefore refused without `--untested`; only the
        parts are tested: the old systems {"; ".join(untested)}; the device types
        {", ".join(code(device.slug) for device in known)}."""
    )
