# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate rehearse`: what it takes, and what it refuses before anything is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from balena_migrate.cli.rehearsal import figures, parse_setting, write_json
from balena_migrate.cli.verbs.rehearse import rehearse
from balena_migrate.core.errors import MigrateError
from balena_migrate.workstation.lab.result import Check, Rehearsal
from balena_migrate.workstation.lab.scenarios.table import DEFAULT_SCENARIO, SCENARIOS


def result(name: str) -> Rehearsal:
    check = Check(name="boots", passed=True, expected="yes", found="yes")
    return Rehearsal(
        scenario=name,
        description="",
        passed=True,
        checks=(check,),
        timeline=(),
        serial_logs=(),
        window_s=12.34,
        initramfs_bytes=20 << 20,
    )


def test_lists_every_scenario() -> None:
    shown = CliRunner().invoke(rehearse, ["--list"])
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.output.splitlines()] == [*SCENARIOS]
    assert DEFAULT_SCENARIO in SCENARIOS


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["pc-bois"], "one of pc-bios"),
        (["--set", "NO_FLASH"], "must be KEY=VALUE"),
        (["--set", "NO_FLSH=TRUE"], "did you mean NO_FLASH"),
        (["--set", "NO_FLASH=perhaps"], "NO_FLASH must be TRUE or FALSE"),
        (["--set", 'HOME_DIR=a"b'], "must not contain a quot"),
    ],
)
def test_refuses_what_it_cannot_do(arguments: list[str], reason: str) -> None:
    with pytest.raises(MigrateError, match=reason):
        rehearse.main(arguments, standalone_mode=False)


def test_a_setting_may_hold_an_equals_sign() -> None:
    assert parse_setting("BACKUP_SCRIPT=/a=b") == ("BACKUP_SCRIPT", "/a=b")


def test_json_of_one_scenario_is_an_object_and_of_several_a_list(tmp_path: Path) -> None:
    write_json([result("one")], tmp_path / "one.json")
    write_json([result("one"), result("two")], tmp_path / "two.json")
    one = json.loads((tmp_path / "one.json").read_text())
    keys = {"scenario", "passed", "checks", "timeline", "window_s", "stage1_s", "stage2_s"}
    assert one["scenario"] == "one" and keys | {"initramfs_bytes", "peak_memory_bytes"} <= set(one)
    assert one["checks"] == [{"name": "boots", "passed": True, "expected": "yes", "found": "yes"}]
    assert [item["scenario"] for item in json.loads((tmp_path / "two.json").read_text())] == ["one", "two"]


def test_figures_name_what_was_measured_and_nothing_else() -> None:
    assert figures(result("one")) == "window 12.3 s, initramfs 20.0 MiB"
