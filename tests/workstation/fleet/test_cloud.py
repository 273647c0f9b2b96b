# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate config`, with the real sdk against a stand-in of the cloud on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError, FleetError, UsageError
from balena_migrate.core.system import System
from balena_migrate.workstation.fleet.cloud import fetch_config, read_token
from tests.support.cloud import ANSWER, SECRET, TOKEN, Cloud, host

__all__ = ["host"]


@pytest.mark.processes
def test_the_answer_is_kept_whole(host: str) -> None:
    content = fetch_config("acme/gates", "6.0.10", "raspberrypi4-64", TOKEN, host)
    assert json.loads(content) == ANSWER
    (asked,) = Cloud.asked
    assert asked == (
        "/download-config",
        {"version": "6.0.10", "deviceType": "raspberrypi4-64", "network": "ethernet", "appId": 17},
    )


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "token", "reason"),
    [("acme/gates", "wrong", "no config.json"), ("acme/none", TOKEN, "Application not found: acme/none")],
)
def test_what_the_cloud_refuses_is_told(host: str, name: str, token: str, reason: str) -> None:
    with pytest.raises(FleetError, match=reason) as caught:
        fetch_config(name, "6.0.10", "", token, host)
    assert token not in str(caught.value)


@pytest.mark.processes
@pytest.mark.parametrize("answer", [[], {}, "no", {**ANSWER, "apiKey": None}, {**ANSWER, "os": SECRET}])
def test_an_answer_that_is_no_config_json_is_refused(
    host: str, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(Cloud, "answer", answer)
    with pytest.raises(FleetError) as caught:
        fetch_config("17", "6.0.10", "", TOKEN, host)
    assert SECRET not in str(caught.value)


@pytest.mark.processes
def test_a_cloud_that_is_not_there_is_told(host: str) -> None:
    for name in ("17", "acme/gates"):
        with pytest.raises(FleetError, match="cannot be reached"):
            fetch_config(name, "6.0.10", "", TOKEN, "balena.test:1")


def test_without_the_sdk_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "balena", None)
    with pytest.raises(FleetError, match=r"pip install 'balena-migrate\[fleet\]'"):
        fetch_config("x", "1", "", TOKEN)


@pytest.mark.processes
def test_the_sdk_is_not_loaded_without_need() -> None:
    program = "import sys, balena_migrate.cli.verbs.config; sys.exit('balena' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = System("/")
    monkeypatch.setenv("BALENA_API_KEY", f" {TOKEN}\n")
    assert read_token(system, "") == TOKEN
    monkeypatch.delenv("BALENA_API_KEY")
    with pytest.raises(UsageError, match="there is no token"):
        read_token(system, "")
    (tmp_path / "token").write_text("two\nlines")
    with pytest.raises(UsageError, match="is malformed") as caught:
        read_token(system, str(tmp_path / "token"))
    assert "lines" not in str(caught.value).split(":")[0]
    with pytest.raises(FileError):
        read_token(system, str(tmp_path / "missing"))
