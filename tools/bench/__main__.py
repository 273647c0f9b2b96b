# SPDX-License-Identifier: Apache-2.0
"""Compare the flash engine with gzip | dd, bmaptool and a full read-back: the same image on the same disk.

The disk is a file in memory or, with --board, the card of an emulated board that writes it by itself. The image has
balenaOS's layout, real files of this machine, and is made once, which takes some minutes. Needs root for a loop device
and control groups, and 2 GiB of memory. All is gone at the end, even after a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from balena_migrate.core.errors import MigrateError
from balena_migrate.core.values import to_json
from balena_migrate.workstation.cache import cache_folder
from bench import board
from bench.about import about_image, about_machine
from bench.image import FULL, SMALL, BenchImage, bench_image
from bench.methods import Method, Trial, all_methods, check
from bench.table import Comparison, compare, show
from bench.target import SD_CARD, Kind, Target, open_target
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
TARGETS: Mapping[str, Rates | None] = {Kind.UNTHROTTLED: None, Kind.THROTTLED: SD_CARD}


def main() -> int:
    options = parse_options()
    if reason := refusal(PROGRAMS | board.PROGRAMS if options.board else PROGRAMS):
        print(f"bench: {reason}", file=sys.stderr)
        return 2
    end_in_order()
    names = [options.board] if options.board else options.target or TARGETS
    try:
        image = bench_image(cache_folder(), SMALL if options.board else FULL)
        found = {name: bench(image, name, options.runs) for name in names}
    except (MigrateError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    about = about_image(image, options.runs)
    tables = (line for machine, comparison in found.values() for line in ("", *machine, *show(comparison)))
    print("\n".join([about, *tables]))
    if options.json:
        targets = {name: {"machine": machine, **to_json(comparison)} for name, (machine, comparison) in found.items()}
        options.json.write_text(json.dumps({"about": about, "targets": targets}, indent=1))
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each method, whose medians count (default 3)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--target", action="append", choices=TARGETS, help="only this one (default: both)")
    where.add_argument("--board", choices=board.BOARDS, help="inside of this emulated board")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same to a file, for a machine")
    return parser.parse_args()


def refusal(programs: Mapping[str, str]) -> str:
    """Why nothing can be measured here, and what to do; empty where it can."""
    if os.geteuid() != 0:
        return "must run as root: it makes loop devices"
    missing = sorted({package for program, package in programs.items() if not shutil.which(program)})
    return f"programs are missing: apt-get install {' '.join(missing)}" if missing else ""


def end_in_order() -> None:
    """From now on a signal ends the bench as an error does, so that all of its own is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def stop(signum: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def bench(image: BenchImage, name: str, runs: int) -> tuple[list[str], Comparison]:
    """All methods on one target; and what they ran with."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        methods = list(all_methods(image, work))
        target = stack.enter_context(open_any(image, name, work))
        machine = about_machine(target)
        trials, rates = measure(methods, image, target, runs)
        return machine, compare(trials, rates, image.used_bytes, target.kind, target.limit)


def open_any(image: BenchImage, name: str, work: Path) -> AbstractContextManager[Target]:
    """The target of that name; a board gets the files in `work`, too."""
    if name in board.BOARDS:
        return board.open_board(board.BOARDS[name], image, work, cache_folder())
    return open_target(image.size_bytes, TARGETS[name])


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


if __name__ == "__main__":
    sys.exit(main())
