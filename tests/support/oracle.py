# SPDX-License-Identifier: Apache-2.0
"""NetworkManager's own reader as an oracle: what does libnm understand of a keyfile that we wrote?"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
Connection = dict[str, dict[str, Any]]


class Oracle:
    """One process that reads many keyfiles."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("oracle_process.py")
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)

    def ask(self, text: str) -> dict[str, Any]:
        """{"connection": ...} or {"error": ...}."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def read(self, text: str) -> Connection:
        """The connection of a keyfile that libnm has to take, without a word of doubt."""
        answer = self.ask(text)
        assert "error" not in answer, f"libnm refuses the keyfile: {answer['error']}"
        assert not answer["warnings"], f"libnm has doubts: {answer['warnings']}"
        connection: Connection = answer["connection"]
        return connection


def has_libnm() -> bool:
    probe = [SYSTEM_PYTHON, "-c", "import gi; gi.require_version('NM', '1.0')"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def open_oracle() -> Oracle:
    """The oracle; skips the test where libnm is not installed (python3-gi and gir1.2-nm-1.0)."""
    if not has_libnm():
        pytest.skip("libnm with its Python binding is not installed")
    return Oracle()
