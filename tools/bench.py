# SPDX-License-Identifier: Apache-2.0
"""Compare the flash engine with `gzip -dc | dd` and bmaptool: same image, same loop device, side by side.

Needs root for the loop device, and disk space for two copies of the image and a compressed one. Writes only to a
temporary folder of its own; the folder and the loop device are removed at the end, even after a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from balena_migrate.core.units import MIB, in_mib

FLASH = Path(__file__).with_name("bench_flash.py")
SAMPLE_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one run took; `write_s` is the time to the last byte on the disk, without verification."""

    wall_s: float
    write_s: float
    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Setup:
    packed: Path
    size_bytes: int
    sha256: str
    loop: Path


def main() -> int:
    options = parse_options()
    if os.geteuid() != 0:
        print("bench: has to be root, for the loop device", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stop)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir)))
        setup = prepare(folder, options.size * MIB, stack)
        methods: dict[str, Callable[[Setup], Trial]] = {"flash": run_flash, "gzip | dd": run_dd}
        if shutil.which("bmaptool"):
            methods["bmaptool"] = run_bmaptool
        trials = measure(methods, setup, options.runs)
    show(trials, options.size, options.runs)
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, metavar="MIB", help="size of the image (default 512)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each method (default 3)")
    parser.add_argument("--dir", help="where to create the files (default: the system's temporary folder)")
    return parser.parse_args()


def stop(signum: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


# What is measured on ------------------------------------------------------------------------------------------------


def prepare(folder: Path, size_bytes: int, stack: contextlib.ExitStack) -> Setup:
    raw, packed, disk = folder / "image", folder / "image.gz", folder / "disk"
    print(f"making an image of {in_mib(size_bytes)} in {folder} ...", flush=True)
    sha256 = hashlib.sha256()
    with raw.open("wb") as file:
        for chunk in image_content(size_bytes):
            sha256.update(chunk)
            file.write(chunk)
    with packed.open("wb") as file:
        subprocess.run(["gzip", "-6", "-c", raw], stdout=file, check=True)
    raw.unlink()
    with disk.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size_bytes)
    return Setup(
        packed=packed, size_bytes=size_bytes, sha256=sha256.hexdigest(), loop=stack.enter_context(loop_device(disk))
    )


def image_content(size_bytes: int) -> Iterator[bytes]:
    """MiB after MiB of an image like an operating system's: of 8, 4 are zeros, 3 are like text and 1 is random."""
    chance = random.Random(1)
    words = [chance.randbytes(chance.randrange(2, 12)) for _ in range(4000)]
    for index in range(size_bytes // MIB):
        kind = index % 8
        if kind < 4:
            yield bytes(MIB)
        elif kind < 7:
            yield b" ".join(chance.choices(words, k=MIB // 7)).ljust(MIB, b"\n")[:MIB]
        else:
            yield chance.randbytes(MIB)


@contextlib.contextmanager
def loop_device(disk: Path) -> Iterator[Path]:
    done = subprocess.run(["losetup", "--find", "--show", disk], check=True, capture_output=True, text=True)
    device = done.stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


# The methods --------------------------------------------------------------------------------------------------------


def run_flash(setup: Setup) -> Trial:
    argv: list[str | Path] = [sys.executable, FLASH, setup.packed, setup.loop, str(setup.size_bytes)]
    trial, output = run([argv])
    result = json.loads(output)
    if not result["reads_directly"]:
        print("flash: read back through the page cache, O_DIRECT was refused", file=sys.stderr)
    return Trial(wall_s=trial.wall_s, write_s=result["write_s"], cpu_s=trial.cpu_s, peak_bytes=trial.peak_bytes)


def run_dd(setup: Setup) -> Trial:
    return run([["gzip", "-dc", setup.packed], ["dd", f"of={setup.loop}", "bs=4M", "conv=fsync", "status=none"]])[0]


def run_bmaptool(setup: Setup) -> Trial:
    return run([["bmaptool", "--quiet", "copy", "--nobmap", setup.packed, setup.loop]])[0]


def run(pipeline: Sequence[Sequence[str | Path]]) -> tuple[Trial, str]:
    """The programs, each with the former's output as its input, in a session of their own; all have to succeed."""
    os.sync()
    begin_s = time.monotonic()
    children: list[subprocess.Popen[bytes]] = []
    for argv in pipeline:
        feed = children[-1].stdout if children else subprocess.DEVNULL
        children.append(subprocess.Popen(argv, stdin=feed, stdout=subprocess.PIPE, start_new_session=True))
        if len(children) > 1:
            close(children[-2])
    try:
        peak, cpu_s = watch(children)
        wall_s = time.monotonic() - begin_s
        output = read_output(children[-1])
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                child.wait()
    return Trial(wall_s=wall_s, write_s=wall_s, cpu_s=cpu_s, peak_bytes=peak), output


def close(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    child.stdout.close()


def read_output(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout is not None
    with child.stdout:
        return child.stdout.read().decode()


def watch(children: Sequence[subprocess.Popen[bytes]]) -> tuple[int, float]:
    """Waits for the end of all; gives the sum of the peaks of all processes of their sessions, and their CPU time.

    The peak is sampled, since what wait4(2) gives begins with the memory of the process that forked.
    """
    sessions = {child.pid for child in children}
    peaks: dict[int, int] = {}
    cpu_s = 0.0
    left = list(children)
    while left:
        sample(sessions, peaks)
        for child in list(left):
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                cpu_s += usage.ru_utime + usage.ru_stime
                left.remove(child)
                if child.returncode:
                    raise subprocess.CalledProcessError(child.returncode, child.args)
        time.sleep(SAMPLE_S)
    return sum(peaks.values()), cpu_s


def sample(sessions: set[int], peaks: dict[int, int]) -> None:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) >= min(sessions):
            with contextlib.suppress(OSError, ProcessLookupError):
                if os.getsid(int(entry)) in sessions:
                    peaks[int(entry)] = max(peaks.get(int(entry), 0), peak_of(int(entry)))


def peak_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def measure(methods: dict[str, Callable[[Setup], Trial]], setup: Setup, runs: int) -> dict[str, list[Trial]]:
    """The methods in turn, so that what disturbs the machine meets all of them."""
    trials: dict[str, list[Trial]] = {name: [] for name in methods}
    for number in range(1, runs + 1):
        for name, method in methods.items():
            print(f"run {number} of {runs}: {name}", flush=True)
            trials[name].append(method(setup))
            check(setup, name)
    return trials


def check(setup: Setup, name: str) -> None:
    """What a method wrote has to be the image: a fast wrong one is not compared."""
    with setup.loop.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != setup.sha256:
        raise SystemExit(f"bench: {name} did not write the image")


# The result ---------------------------------------------------------------------------------------------------------


def show(trials: dict[str, list[Trial]], size_mib: int, runs: int) -> None:
    print(f"\nimage of {size_mib} MiB, medians of {runs} runs; speed is a multiple of that of gzip | dd")
    print(f"{'':26}{'time s':>8}{'MiB/s':>8}{'speed':>8}{'CPU s':>8}{'peak MiB':>10}")
    base_s = statistics.median(trial.wall_s for trial in trials["gzip | dd"])
    for name, rows in trials.items():
        cpu_s = statistics.median(row.cpu_s for row in rows)
        peak = statistics.median(row.peak_bytes for row in rows) / MIB
        wall_s = statistics.median(row.wall_s for row in rows)
        if name == "flash":
            write_s = statistics.median(row.write_s for row in rows)
            print(f"{'flash, all written':26}{write_s:8.2f}{size_mib / write_s:8.0f}{base_s / write_s:8.2f}")
            name = "flash, and read back"
        line = f"{name:26}{wall_s:8.2f}{size_mib / wall_s:8.0f}{base_s / wall_s:8.2f}"
        print(f"{line}{cpu_s:8.2f}{peak:10.1f}")


if __name__ == "__main__":
    sys.exit(main())
