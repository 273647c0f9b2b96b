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
from balena_migrate.core.values import from_json, parse_json, to_json


class Stage2Ending(StrEnum):
    """Why the old system is running again."""

    NO_FLASH = "no-flash"
    """Everything succeeded up to the flash, which NO_FLASH ruled out."""
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Stage2Result:
    """How stage 2 ended; `step` is the one in which it failed, None if nothing failed."""

    ending: Stage2Ending
    step: Step | None = None
    reason: str = ""


def write_stage2_result(old: System, result: Stage2Result, log: str) -> None:
    """Write the result and the log to the old root file system, which must be writable."""
    if not old.is_dir(STATE_DIR):
        old.make_dir(STATE_DIR, mode=0o700)
    old.write_file(STAGE2_RESULT, json.dumps(to_json(result)).encode() + b"\n", mode=0o600)
    old.write_file(STAGE2_LOG, log.encode("utf-8", "surrogateescape"), mode=0o600)


def find_stage2_result(system: System) -> Stage2Result | None:
    """The result of the last stage 2; None if none ran. Raises FileError if it is damaged."""
    text = system.find_text(STAGE2_RESULT)
    if text is None:
        return None
    try:
        return from_json(Stage2Result, parse_json(text))
    except ValueError as error:
        raise FileError(STAGE2_RESULT, str(error)) from None
