# SPDX-License-Identifier: Apache-2.0
"""How long work reports its progress, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Report = Callable[[int, int], None]
"""report(done_bytes, total_bytes), called as often as the work likes."""

Progress = Callable[[str], AbstractContextManager[Report]]
"""progress(title) shows one piece of work while its context is open."""

Say = Callable[[str], None]
"""say(text) shows one line about what is going on."""
