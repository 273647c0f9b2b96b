# SPDX-License-Identifier: Apache-2.0
"""Stage 2 without a hand-over that it can read gives the machine back to the old system, and reboots nothing."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.handover import dump_handover
from balena_migrate.core.system import System
from balena_migrate.stage2 import boot, kernel, main
from tests.support.handover import HANDOVER


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file or directory"),
        ("", "Expecting value"),
        ('{"format": 99}', "format 99 is unknown"),
        ('{"format": 2}', "target"),
        (dump_handover(replace(HANDOVER, strategy="OTHER")).decode(), "unknown strategy OTHER"),
    ],
)
def test_a_hand_over_that_is_missing_or_damaged_leads_back(
    tmp_path: Path,
    text: str | None,
    reason: str,
    mounted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With it the record of the old config.txt is gone: the old system boots, and its `undo` has a record too.

    Where init leaves mounting to us, it reboots: nothing says where the old root is.
    """
    if text is not None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/balena-migrate-stage2.conf").write_text(text)
    monkeypatch.setattr(main, "System", lambda *_, **__: System(tmp_path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(kernel, "reboot", lambda: pytest.fail("rebooted"))
    monkeypatch.setattr(sys, "argv", ["stage2", *([str(tmp_path)] if mounted else [])])
    if mounted:
        main.main()
    else:
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code == boot.FAILED
    said = capsys.readouterr().out
    assert "going back to the old system" in said
    assert reason in said
