# SPDX-License-Identifier: Apache-2.0
"""Runs a pipeline of programs and measures it: time, processor time, memory.

As a program of its own, it takes the pipeline as JSON and prints the result as JSON. It needs no other file of ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.02

Pipeline = Sequence[Sequence[str | Path]]
"""Programs, each with the former's output as its input."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a pipeline took; `peak_bytes` is the sum of its processes' peaks."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: str
    """Of the last program."""


Runner = Callable[[Pipeline], Usage]
"""run() below, or what does the same on another machine."""


def run(pipeline: Pipeline) -> Usage:
    """Runs it to its end, after all that was to be written before is on the disk.

    Raises CalledProcessError if one of the programs fails; then, and after any other error, all of them are ended.
    """
    os.sync()
    begin_s = time.monotonic()
    with _started(pipeline) as children:
        peak_bytes, cpu_s = _watch(children)
        wall_s = time.monotonic() - begin_s
        stdout = children[-1].stdout
        assert stdout is not None
        return Usage(wall_s=wall_s, cpu_s=cpu_s, peak_bytes=peak_bytes, output=stdout.read().decode())


@contextlib.contextmanager
def _started(pipeline: Pipeline) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes, each in a group of its own, so that what it starts is known by that."""
    children: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        for argv in pipeline:
            feed = children[-1].stdout if children else subprocess.DEVNULL
            child = subprocess.Popen(argv, stdin=feed, stdout=subprocess.PIPE, process_group=0)
            stack.callback(_end, child)
            if children:
                _close(children[-1])
            children.append(child)
        yield children


def _end(child: subprocess.Popen[bytes]) -> None:
    _close(child)
    if child.returncode is None:
        os.killpg(child.pid, 9)
        child.wait()


def _close(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    child.stdout.close()


def _watch(children: Sequence[subprocess.Popen[bytes]]) -> tuple[int, float]:
    """Waits for the end of all; gives the sum of the peaks of all processes of their groups, and their CPU time.

    The peak is sampled, since what wait4(2) gives begins with the memory of the process that forked.
    """
    groups = {child.pid for child in children}
    peaks: dict[int, int] = {}
    cpu_s = 0.0
    left = list(children)
    while left:
        _sample(groups, peaks)
        time.sleep(SAMPLE_S)
        for child in list(left):
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                cpu_s += usage.ru_utime + usage.ru_stime
                left.remove(child)
                if child.returncode:
                    raise subprocess.CalledProcessError(child.returncode, child.args)
    return sum(peaks.values()), cpu_s


def _sample(groups: set[int], peaks: dict[int, int]) -> None:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) >= min(groups):
            with contextlib.suppress(OSError):
                if os.getpgid(int(entry)) in groups:
                    peaks[int(entry)] = max(peaks.get(int(entry), 0), _peak_of(int(entry)))


def _peak_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    try:
        print(json.dumps(dataclasses.asdict(run(json.loads(sys.argv[1])))))
    except subprocess.CalledProcessError as error:
        sys.exit(str(error))
