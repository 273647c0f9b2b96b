# SPDX-License-Identifier: Apache-2.0
"""How stage 2 ended, kept on the old root file system for `balena-migrate status`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.errors import FileError
from balena_migrate.core.paths import STAGE2_LOG, STAGE2_RESULT, STATE_DIR
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.core.values import from_json, to_json


class Stage2Ending(StrEnum):
    """Why the old system is there again."""

    NO_FLASH = "no-flash"
    """All went well up to the flash, which NO_FLASH forbade."""
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Stage2Result:
    """What stage 2 left behind; `step` is the one in which it failed, None where nothing failed."""

    ending: Stage2Ending
    step: Step | None = None
    reason: str = ""


def write_stage2_result(old: System, result: Stage2Result, log: str) -> None:
    """The result and the log are on the old root file system, which has to be writable now."""
    if not old.is_dir(STATE_DIR):
        old.make_dir(STATE_DIR, mode=0o700)
    old.write_file(STAGE2_RESULT, json.dumps(to_json(result)).encode() + b"\n", mode=0o600)
    old.write_file(STAGE2_LOG, log.encode("utf-8", "surrogateescape"), mode=0o600)


def find_stage2_result(system: System) -> Stage2Result | None:
    """What the last stage 2 left behind; None where none ran. Raises FileError where it is damaged."""
    text = system.find_text(STAGE2_RESULT)
    if text is None:
        return None
    try:
        return from_json(Stage2Result, json.loads(text))
    except ValueError as error:
        raise FileError(STAGE2_RESULT, str(error)) from None
