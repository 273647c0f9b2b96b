# SPDX-License-Identifier: Apache-2.0
"""What was done before an interruption, such as verdicts, is read again."""

from __future__ import annotations

import json
from pathlib import Path

from balena_migrate.core.values import to_json
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab.cuts.judge import Boots, Verdict
from balena_migrate.workstation.lab.cuts.plan import Cut, Kept
from balena_migrate.workstation.lab.cuts.result import Judged
from balena_migrate.workstation.lab.resumable import add_done, read_done

JUDGED = (
    Judged(
        phase="before the line",
        cut=Cut(after=7, kept=Kept.ALL_BUT_ONE, one=5, seed=3),
        verdict=Verdict(boots=Boots.OLD, repaired=True, status=DeviceState.PARTLY, changed=("~etc/fstab",)),
    ),
    Judged(phase="in the window", cut=Cut(after=9), verdict=Verdict(boots=Boots.DEAD, reason="no boot code")),
)


def test_verdicts_are_read_as_they_were_written_but_for_one_that_was_cut_off(tmp_path: Path) -> None:
    lines = [json.dumps(to_json(item)) for item in JUDGED]
    file = tmp_path / "verdicts.jsonl"
    assert read_done(file, Judged) == []
    file.write_text("\n".join([*lines, lines[0][:40]]))
    assert read_done(file, Judged) == list(JUDGED)


def test_a_call_goes_on_behind_a_line_that_was_torn(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    file.write_text(json.dumps(to_json(JUDGED[0])) + "\n" + json.dumps(to_json(JUDGED[1]))[:40])
    assert read_done(file, Judged) == [JUDGED[0]]
    add_done(file, JUDGED[1])
    assert read_done(file, Judged) == list(JUDGED)
