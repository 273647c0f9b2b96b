# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: exit status, one clear error, JSON for machines, nothing changed by a check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes


def balena_migrate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "balena_migrate", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_check_shows_all_findings_and_refuses(tmp_path: Path) -> None:
    done = balena_migrate("check", "--home-dir", tmp_path, "--skip-checks", "api vpn time", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["refused"] is True
    codes = {finding["code"] for finding in found["findings"]}
    assert {"image", "no-kit"} <= codes
    assert all(f["severity"] in ("blocker", "warning", "ok") and f["cause"] for f in found["findings"])
    assert list(tmp_path.iterdir()) == []


def test_check_in_a_pipe_is_one_plain_line_a_finding(tmp_path: Path) -> None:
    done = balena_migrate("check", "--home-dir", tmp_path, "--skip-checks", "api vpn time")
    assert "BLOCKER  image: no image is named -> set IMAGE_NAME" in done.stdout
    assert "\x1b" not in done.stdout


def test_run_refuses_with_the_same_findings_and_changes_nothing(tmp_path: Path) -> None:
    done = balena_migrate("run", "--home-dir", tmp_path, "--skip-checks", "api vpn time")
    assert done.returncode == 1
    assert "BLOCKER  image" in done.stdout
    assert "nothing was changed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("IMAGE_NAM=x", "unknown setting IMAGE_NAM (did you mean IMAGE_NAME?)"),
        ("NO_FLASH=maybe", "NO_FLASH has to be TRUE or FALSE"),
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


def test_facts_are_json_and_hold_no_secret_files() -> None:
    found = json.loads(balena_migrate("facts", "--json").stdout)
    assert found["format"] == 1
    assert found["hardware"]["machine"]


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


def test_image_inspect_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "image.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    done = balena_migrate("image", "inspect", tmp_path / "image.zip")
    assert done.returncode == 3
    assert "is a zip archive" in done.stderr
