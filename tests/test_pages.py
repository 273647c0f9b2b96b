# SPDX-License-Identifier: Apache-2.0
"""The pages that are made of the source are as the source has them."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click

from balena_migrate.cli import cli, verbs
from balena_migrate.core.plugins import module_names
from balena_migrate.settings import SETTINGS
from balena_migrate.workstation.lab.scenarios.table import SCENARIOS

TOP = Path(__file__).parent.parent


@pytest.mark.processes
def test_every_page_is_up_to_date() -> None:
    argv = [sys.executable, str(TOP / "tools/generate.py"), "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def prints_json(verb: str) -> bool:
    command = cli.get_command(click.Context(cli), verb)
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    return any(parameter.name == "as_json" for each in commands if each for parameter in each.params)


@pytest.mark.parametrize("verb", [verb for verb in module_names(verbs.__path__) if prints_json(verb)])
def test_every_verb_that_prints_json_has_a_document_with_a_format_number(verb: str) -> None:
    document = importlib.import_module(f"{verbs.__name__}.{verb}").DOCUMENT
    assert {field.name: field.default for field in dataclasses.fields(document)}["format"] == 1
    assert "`balena-migrate " + verb in (TOP / "docs/json.md").read_text()


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
@pytest.mark.processes
def test_the_manual_page_is_good_roff_and_has_every_setting() -> None:
    page = TOP / "docs/man/balena-migrate.1"
    done = subprocess.run(["groff", "-man", "-ww", "-Tascii", str(page)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert all(setting.key in page.read_text() for setting in SETTINGS)


def test_every_ending_in_the_table_of_logs_is_shown_by_a_test_or_scenario_that_exists() -> None:
    table = (TOP / "docs/files.md").read_text().partition("| ending |")[2]
    shown = [line.split(" | ")[-1] for line in table.splitlines()[2:] if line.startswith("| ")]
    tests = {name for path in (TOP / "tests").rglob("test_*.py") for name in re.findall(r"def (\w+)", path.read_text())}
    assert len(shown) > 10
    for cell in shown:
        names = re.findall(r"`([\w.-]+)`", cell)
        assert names and set(names) <= tests | set(SCENARIOS)


def test_every_entry_of_the_page_on_recovery_was_produced_by_rehearsals_that_exist() -> None:
    _, *entries = (TOP / "docs/recovery.md").read_text().split("\n## ")
    assert len(entries) > 5
    for entry in entries:
        assert all(f"**{what}:**" in entry for what in ("From afar", "The disk", "What to do")), entry
        produced = " ".join(entry.partition("*Produced by*")[2].split())
        commands = re.findall(r"`\./rehearse ([^`]+)`", produced)
        names = [word for command in commands for word in command.split() if not re.match(r"--|[0-9]", word)]
        assert names or "every rehearsal" in produced, entry
        assert set(names) <= SCENARIOS.keys()
