# SPDX-License-Identifier: Apache-2.0
"""Whether a device would start what it started before stage 1."""

from __future__ import annotations

from typing import Any

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.cuts import oldstart
from balena_migrate.workstation.lab.cuts.oldstart import OldStart


@pytest.mark.parametrize(("now", "is_next"), [("the old kernel", True), ("stage 2", False), (None, False)])
def test_something_else_or_nothing_is_not_the_old_start(
    now: str | None, is_next: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starts(*_: object) -> str:
        if now is None:
            raise LabError("the boot code is not the old system's")
        return now

    monkeypatch.setattr(oldstart, "_starts", starts)
    nothing: Any = None
    old: Any = "the old kernel"
    assert OldStart(chain=nothing, starts=old).is_next(nothing) is is_next
