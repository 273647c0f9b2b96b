# SPDX-License-Identifier: Apache-2.0
"""A disk file that can be changed without changing it: QEMU's storage daemon shows it as another file (FUSE), and keeps
what is written there in a third one."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System, command_environment
from balena_migrate.workstation.lab.disks import require_file
from balena_migrate.workstation.lab.qemu import TIED_TO_US

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 60.0
ANSWER_S = 1.0
POLL_S = 0.01


@contextlib.contextmanager
def overlaid(disk: Path, folder: Path | None = None) -> Iterator[Path]:
    """A file with the disk's content, which can be read and written within the context; the disk stays as it is.

    What is written is kept in the folder meanwhile, by default the disk's own. Raises LabError if the file does not
    come up, as where the kernel has no FUSE.
    """
    with tempfile.TemporaryDirectory(prefix=".overlay-", dir=folder or disk.parent) as name:
        folder = Path(name)
        changes, shown = folder / "changes", folder / "disk"
        System().run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-b", require_file(disk).absolute(), "-F", "raw", changes]
        )
        shown.touch()
        with _daemon(changes, shown):
            yield shown


@contextlib.contextmanager
def _daemon(changes: Path, shown: Path) -> Iterator[None]:
    argv = [
        *(*TIED_TO_US, "qemu-storage-daemon"),
        *("--blockdev", f"driver=qcow2,node-name=disk,file.driver=file,file.filename={changes},cache.no-flush=on"),
        *("--export", f"type=fuse,id=shown,node-name=disk,mountpoint={shown},writable=on"),
    ]
    errors = changes.with_name("errors")
    with errors.open("wb") as file:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=command_environment())
    try:
        _wait_for(process, shown, errors)
        yield
    finally:
        retry(lambda: _end(process), on=subprocess.TimeoutExpired, limit_s=STOP_TIMEOUT_S, pause_s=0)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The daemon has ended, and its mount with it. It may sleep through a signal, if that comes as it goes to sleep."""
    process.terminate()
    process.wait(ANSWER_S)


def _wait_for(process: subprocess.Popen[bytes], shown: Path, errors: Path) -> None:
    def look() -> None:
        if process.poll() is not None or not shown.stat().st_size:
            raise LabError(f"QEMU's storage daemon does not show the disk: {errors.read_text(errors='replace')}")

    def failed(error: Exception) -> None:
        if process.poll() is not None:
            raise error

    retry(look, on=LabError, limit_s=START_TIMEOUT_S, pause_s=POLL_S, failed=failed)
