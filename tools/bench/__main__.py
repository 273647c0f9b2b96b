# SPDX-License-Identifier: Apache-2.0
"""Compare the flash engine with gzip | dd, bmaptool and a full read-back: the same image on the same disk in memory.

The image has balenaOS's layout, real files of this machine, and is made once, which takes some minutes. Needs root for
a loop device and control groups, and 2 GiB of memory. All is gone at the end, even after a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from balena_migrate.core.errors import MigrateError
from balena_migrate.core.system import System
from balena_migrate.core.units import in_mib
from balena_migrate.core.values import to_json
from balena_migrate.workstation.cache import cache_folder
from bench.image import FULL, BenchImage, bench_image
from bench.methods import Method, Trial, all_methods, check
from bench.table import Comparison, compare, show
from bench.target import SD_CARD, Target, open_target
from bench.throttle import Rates

PROGRAMS = {
    "bmaptool": "bmap-tools",
    "e2fsck": "e2fsprogs",
    "gzip": "gzip",
    "losetup": "mount",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.fat": "dosfstools",
    "zstd": "zstd",
}
"""What is needed, and which of Debian's packages has it."""
TARGETS: Mapping[str, Rates | None] = {"unthrottled": None, "throttled": SD_CARD}


def main() -> int:
    options = parse_options()
    if reason := refusal():
        print(f"bench: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stop)
    try:
        image = bench_image(cache_folder(), FULL)
        found = {name: bench(image, TARGETS[name], options.runs) for name in options.target or TARGETS}
    except MigrateError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    lines = [
        *describe(image, options.runs),
        *(line for comparison in found.values() for line in ("", *show(comparison))),
    ]
    print("\n".join(lines))
    if options.json:
        options.json.write_text(
            json.dumps(to_json({"about": describe(image, options.runs), "targets": found}), indent=1)
        )
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each method, whose medians count (default 3)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this one (default: both)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same to a file, for a machine")
    return parser.parse_args()


def refusal() -> str:
    """Why nothing can be measured here, and what to do; empty where it can."""
    if os.geteuid() != 0:
        return "must run as root: it makes loop devices"
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    return f"programs are missing: apt-get install {' '.join(missing)}" if missing else ""


def stop(signum: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def bench(image: BenchImage, limits: Rates | None, runs: int) -> Comparison:
    """All methods on one target."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(open_target(image.size_bytes, limits))
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trials, rates = measure(list(all_methods(image, work)), image, target, runs)
        return compare(trials, rates, image.used_bytes, target.limit)


def measure(
    methods: Sequence[Method], image: BenchImage, target: Target, runs: int
) -> tuple[dict[str, list[Trial]], list[Rates]]:
    """The methods in turn, so that what disturbs the machine meets all of them.

    Raises SystemExit if one of them did not write what it should.
    """
    trials: dict[str, list[Trial]] = {method.name: [] for method in methods}
    rates = []
    for number in range(1, runs + 1):
        rates.append(target.measure())
        for method in methods:
            print(f"run {number} of {runs}: {method.name}", file=sys.stderr, flush=True)
            target.spoil()
            trials[method.name].append(method.write(target))
            check(method, image, target)
    return trials, rates


def describe(image: BenchImage, runs: int) -> list[str]:
    """What was measured with, in lines."""
    forms = {".img.gz": image.packed, ".img.zst": image.prepared}
    sizes = ", ".join(f"{in_mib(path.stat().st_size)} as {name}" for name, path in forms.items())
    return [
        f"image of {in_mib(image.size_bytes)}, {in_mib(image.used_bytes)} in use, {sizes}; medians of {runs} runs",
        f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}",
        f"Python {platform.python_version()} with {', '.join(decoders())}; {version_of('bmaptool')}",
    ]


def version_of(program: str) -> str:
    return System().run([program, "--version"]).stdout.decode().strip()


def decoders() -> list[str]:
    """The libraries that unpack an image for us, where they are there."""
    found = []
    for name in ("zlib-ng", "zstandard"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found or ["its own decoders"]


if __name__ == "__main__":
    sys.exit(main())
