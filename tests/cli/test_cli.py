# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: exit status, one clear error, a quick start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from balena_migrate.cli import STATUSES, WORKSTATION_VERBS, cli, verbs
from balena_migrate.core.errors import ExitStatus, UsageError
from balena_migrate.core.plugins import module_names
from balena_migrate.workstation.kit.recipe import LEFT_OUT
from tests.support.command import balena_migrate

pytestmark = pytest.mark.processes

VERBS = module_names(verbs.__path__)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("IMAGE_NAM=x", "unknown setting IMAGE_NAM (did you mean IMAGE_NAME?)"),
        ("NO_FLASH=maybe", "NO_FLASH must be TRUE or FALSE"),
    ],
)
def test_a_wrong_setting_is_wrong_use_and_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    settings = tmp_path / "settings.conf"
    settings.write_text(f"# a comment\n{line}\n")
    done = balena_migrate("check", "--config", settings)
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: {settings}:2: {message}"
    assert done.stdout == ""


def test_a_wrong_flag_is_wrong_use() -> None:
    assert balena_migrate("check", "--term-exit", "halt").returncode == 2
    assert balena_migrate("check", "--no-such-flag").returncode == 2
    assert balena_migrate("no-such-verb").returncode == 2


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_short_summary_and_a_test_file(verb: str) -> None:
    command = cli.commands.get(verb) or cli.get_command(click.Context(cli), verb)
    assert command is not None and command.help
    summary = command.help.split("\n\n")[0]
    assert summary.endswith(".") and len(summary) <= 60
    assert (Path(__file__).parent / f"verbs/test_{verb}.py").is_file()


def test_help_lists_every_verb_with_its_summary_on_one_line() -> None:
    listed = balena_migrate("--help").stdout.partition("Commands:")[2].partition("Exit status:")[0]
    lines = listed.splitlines()
    assert [line.split()[0] for line in lines if line.strip()] == VERBS


def test_a_device_is_told_where_the_verbs_of_a_workstation_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kit leaves these files out."""
    assert {f"balena_migrate.cli.verbs.{verb}" for verb in WORKSTATION_VERBS} <= LEFT_OUT
    monkeypatch.setattr("balena_migrate.cli.module_names", lambda path: ["check"])
    for verb in WORKSTATION_VERBS:
        with pytest.raises(UsageError, match=f"{verb} runs on a workstation"):
            cli.main([verb], standalone_mode=False)


@pytest.mark.parametrize(("argument", "loaded"), [("--version", ""), ("--help", "rich.console"), ("status", "")])
def test_what_takes_long_is_loaded_only_where_it_is_needed(argument: str, loaded: str) -> None:
    program = f"""import sys
from balena_migrate.cli import cli
cli.main([{argument!r}], standalone_mode=False)
print("loaded:", *sorted({{"rich.console", "yaml", "ssl", "jinja2", "balena_migrate.survey"}} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split()[1:] == loaded.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--json", "--no-such-flag"], "No such option"),
        (["check", "--json", "--term-exit", "halt"], "TERM_EXIT must be"),
        (["plan", "--json", "--flash", "--no-flash", "TRUE"], "--flash and --no-flash contradict each other"),
        (["run", "--config", "/no/such/file", "--json"], "there is no such file"),
    ],
)
def test_an_error_in_json_is_one_object(arguments: list[str], message: str) -> None:
    done = balena_migrate(*arguments)
    found = json.loads(done.stdout)
    assert (done.returncode, found["exit_status"], found["format"]) == (2, 2, 1)
    assert message in found["error"]
    assert set(found) == {"error", "hint", "exit_status", "findings", "format"}


def test_the_shell_completes_options() -> None:
    words = {
        "_BALENA_MIGRATE_COMPLETE": "bash_complete",
        "COMP_WORDS": "balena-migrate run --migrate",
        "COMP_CWORD": "2",
    }
    done = balena_migrate(env=words)
    assert done.stdout.split() == ["plain,--migrate-all-wifis", "plain,--migrate-wifi-cfg"]


def test_help_names_the_exit_statuses() -> None:
    shown = balena_migrate("--help").stdout
    assert all(f"\n{status:d}  {text.split()[0]}" in shown for status, text in STATUSES.items())
    assert list(STATUSES) == list(ExitStatus)
