# SPDX-License-Identifier: Apache-2.0
"""How much memory is in use at most while stage 2 runs: what tells whether its estimate was right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from balena_migrate.core.errors import FileError
from balena_migrate.core.memory import read_memory
from balena_migrate.core.system import System
from balena_migrate.stage2.periodic import every

PAUSE_S = 1.0


class MemoryPeak:
    """`peak_bytes` is the most that was in use at any sample, the first of which is taken when it is made."""

    def __init__(self, machine: System) -> None:
        self._machine = machine
        self.peak_bytes = 0
        self.sample()

    @contextlib.contextmanager
    def sampled(self) -> Iterator[None]:
        """It is sampled while this is entered."""
        with every(PAUSE_S, self.sample):
            yield

    def sample(self) -> None:
        """Nothing depends on a sample, so one that fails is left out."""
        with contextlib.suppress(FileError, OSError, ValueError):
            memory = read_memory(self._machine)
            self.peak_bytes = max(self.peak_bytes, memory.total_bytes - memory.available_bytes)
