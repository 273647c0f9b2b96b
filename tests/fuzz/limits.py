# SPDX-License-Identifier: Apache-2.0
"""A bound on the processor's time and on the memory that a call takes."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

from balena_migrate.core.units import MIB

CPU_S = 5.0
MEMORY_BYTES = 512 * MIB
"""More than any reader needs: the window of a zstd file may have 128 MiB, and each thread of its decoder reserves 64
MiB of addresses."""


@contextlib.contextmanager
def bounded(cpu_s: float = CPU_S) -> Iterator[None]:
    """What is in the block fails if it takes more than this of the processor's time, or more memory than there is."""
    with _less_memory(), _less_time(cpu_s):
        yield


@contextlib.contextmanager
def _less_time(cpu_s: float) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"took more than {cpu_s} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _less_memory() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
