# SPDX-License-Identifier: Apache-2.0
"""The command line as a process of its own, with a /run of its own: others may hold this machine's lock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

OWN_RUN = 'mount -t tmpfs run /run && exec "$@"'
ALONE = ("unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_RUN, "sh")


def balena_migrate(*words: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    argv = [*ALONE, sys.executable, "-m", "balena_migrate", *map(str, words)]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment)
