# SPDX-License-Identifier: Apache-2.0
"""The kit's first lines, before the part `more` is on the path."""

from __future__ import annotations

import subprocess
import sys

import pytest

from balena_migrate.cli import start

pytestmark = pytest.mark.processes

PROBE = """
import sys
before = set(sys.modules)
exec(open(sys.argv[1]).read(), {"__name__": "start"})
print([name for name in sorted(set(sys.modules) - before) if hasattr(sys.modules[name], "__path__")])
"""


def test_no_package_is_imported_from_the_base_part() -> None:
    """It would stay the one that counts, and lack the modules of it that only `more` has."""
    argv = [sys.executable, "-I", "-S", "-c", PROBE, start.__file__]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"
