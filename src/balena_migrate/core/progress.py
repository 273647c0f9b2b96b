# SPDX-License-Identifier: Apache-2.0
"""How long-running work reports its progress, independently of how that is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Report = Callable[[int, int], None]
"""report(done_bytes, total_bytes), called at any interval."""

Progress = Callable[[str], AbstractContextManager[Report]]
"""progress(title) shows one piece of work while its context is open."""

Say = Callable[[str], None]
"""say(text) shows one line about the current activity."""
