# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate run`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from balena_migrate.cli import guarded
from balena_migrate.cli.options import Flags, config_from
from balena_migrate.cli.verbs.run import run
from balena_migrate.core.changes import ActionName, WriteFile
from balena_migrate.core.errors import CommandError
from balena_migrate.core.journal import JournalState, read_journal
from balena_migrate.core.paths import JOURNAL
from balena_migrate.core.system import System
from balena_migrate.findings import warning
from balena_migrate.plan import Plan
from tests.support.command import balena_migrate

FINDINGS = (warning("x", "a cause"),)

pytestmark = pytest.mark.processes


def test_run_refuses_with_the_same_findings_and_changes_nothing(tmp_path: Path) -> None:
    done = balena_migrate("run", "--home-dir", tmp_path, "--skip-checks", "api vpn time")
    assert done.returncode == 1
    assert "BLOCKER  image" in done.stdout
    assert "nothing was changed" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_setting_is_a_flag_of_run() -> None:
    text = balena_migrate("run", "--help").stdout
    for flag in (
        "--image-name",
        "--no-flash",
        "--grub-boot-dev",
        "--migrate-all-wifis",
        "--config-json",
        "--log-drive",
    ):
        assert flag in text


# Stage 1 with actions of this test ----------------------------------------------------------------------------------


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A device on which nothing forbids the migration, and whose plan writes two files."""
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("first\n")
    for folder in ("etc", "run", "var/lib"):
        (tmp_path / folder).mkdir(parents=True)
    system = System(tmp_path)
    plan = Plan(
        actions=(WriteFile(name=ActionName.BACKUP, title="write a file", path="/etc/a", content=b"a"),),
        boot_actions=(
            WriteFile(name=ActionName.BOOT_NEXT, title="change what boots next", path="/etc/b", content=b"b"),
        ),
        target="/dev/sda",
        one_shot=True,
        reboot_argument="",
        if_not_loaded="",
        no_flash=True,
        window_s=1,
        window_text="",
        image="",
        initramfs="",
        memory="",
        before="",
        after=(),
        power_cut="nothing boots",
    )

    @contextmanager
    def surveyed(system: System, config_file: str | None, flags: Flags, *, fresh: bool) -> Iterator[Any]:
        yield SimpleNamespace(config=config_from(system, config_file, flags))

    monkeypatch.setattr("balena_migrate.cli.verbs.run.device_system", lambda: system)
    monkeypatch.setattr("balena_migrate.cli.device.surveyed", surveyed)
    monkeypatch.setattr("balena_migrate.cli.device.prepare", lambda survey, as_json: (plan, FINDINGS))
    monkeypatch.setattr("balena_migrate.cli.verbs.run.REBOOT_DELAY_S", 0)
    monkeypatch.setattr("balena_migrate.cli.verbs.run.log_to_file", lambda system: None)
    return system


def run_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """The exit status and the one object on standard output."""
    monkeypatch.setattr("sys.argv", ["balena-stage1", "--json", *arguments])
    status = guarded(run)
    return status, json.loads(capsys.readouterr().out)


def test_json_says_what_was_done(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = run_json(monkeypatch, capsys)
    assert status == 0
    assert (found["armed"], found["reboots"], found["format"]) == (True, False, 1)
    assert found["changes"] == [
        {"name": "backup", "title": "write a file", "path": "/etc/a"},
        {"name": "boot-next", "title": "change what boots next", "path": "/etc/b"},
    ]
    assert found["findings"] == [{"code": "x", "severity": "warning", "cause": "a cause", "remedy": ""}]
    assert read_journal(system).state is JournalState.ARMED


def test_json_of_a_second_run_is_a_refusal(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json(monkeypatch, capsys)
    status, found = run_json(monkeypatch, capsys)
    assert (status, found["exit_status"]) == (1, 1)
    assert found["error"] == "changes of an earlier run are still in place"
    assert found["hint"] == "balena-migrate undo rolls them back"


def test_json_of_a_reboot(system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(System, "run", lambda self, argv: calls.append(argv))
    status, found = run_json(monkeypatch, capsys, "--reboot")
    assert (status, found["armed"], found["reboots"]) == (0, True, True)
    assert calls == [["reboot"]]


def test_systemctl_reboots_where_systemd_runs_and_not_where_it_is_only_installed(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with Ubuntu 14.04's upstart, whose package systemd brings a systemctl that reaches nobody."""
    calls: list[list[str]] = []
    monkeypatch.setattr(System, "run", lambda self, argv: calls.append(argv))
    (system.root / "bin").mkdir()
    (system.root / "bin/systemctl").touch(mode=0o755)
    run_json(monkeypatch, capsys, "--reboot")
    (system.root / "run/systemd/system").mkdir(parents=True)
    system.remove_file(JOURNAL)
    run_json(monkeypatch, capsys, "--reboot")
    assert calls == [["reboot"], ["systemctl", "reboot"]]


def test_json_of_a_reboot_that_is_refused_is_one_error_and_all_is_rolled_back(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: System, argv: list[str]) -> None:
        raise CommandError(argv, 1, "no")

    monkeypatch.setattr(System, "run", refuse)
    status, found = run_json(monkeypatch, capsys, "--reboot")
    assert (status, found["exit_status"]) == (3, 3)
    assert "ended with status 1" in found["error"]
    assert not system.exists("/etc/a")
