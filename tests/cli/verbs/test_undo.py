# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate undo`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from balena_migrate.cli import guarded
from balena_migrate.cli.verbs import undo as verb
from balena_migrate.core import journal
from balena_migrate.core.changes import ActionName, MakeDir
from balena_migrate.core.system import System
from tests.support.command import balena_migrate
from tests.support.system import quiet

pytestmark = pytest.mark.processes


def test_undo_of_nothing_says_so() -> None:
    done = balena_migrate("undo")
    assert (done.returncode, done.stderr.strip()) == (0, "there is nothing to roll back")


def test_json() -> None:
    assert json.loads(balena_migrate("undo", "--json").stdout) == {"changes": 0, "format": 1}


def test_undo_goes_on_where_there_is_no_place_for_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "var/lib").mkdir(parents=True)
    system = System(tmp_path)
    journal.apply(system, (MakeDir(name=ActionName.WORK_DIR, title="a folder", path="/made"),), quiet, arm=True)
    monkeypatch.setattr(verb, "device_system", lambda: system)
    monkeypatch.setattr("sys.argv", ["undo"])
    assert guarded(verb.undo) == 0
    assert "whether a run is in progress cannot be known" in capsys.readouterr().err
    assert not system.exists("/made")
