# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate config`."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from balena_migrate.cli.verbs.config import config
from balena_migrate.core.errors import UsageError
from tests.support.cloud import ANSWER, SECRET, TOKEN, host

__all__ = ["host"]


@pytest.mark.processes
def test_the_command(host: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    file = tmp_path / "fleet.json"
    argv = ["--fleet", "acme/gates", "--os-version", "6.0.10", "--token-file", str(tmp_path / "token"), "--host", host]
    done = CliRunner().invoke(config, [*argv, "--output", str(file)], catch_exceptions=False)
    assert done.exit_code == 0
    assert SECRET not in done.output and TOKEN not in done.output
    assert json.loads(file.read_bytes()) == ANSWER
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="already exists"):
        CliRunner().invoke(config, [*argv, "--output", str(file)], catch_exceptions=False)
