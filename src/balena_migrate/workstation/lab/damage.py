# SPDX-License-Identifier: Apache-2.0
"""What can happen to an initramfs between stage 1 and the next start."""

from __future__ import annotations

import importlib.resources
import io
from enum import StrEnum

from balena_migrate.core.units import KIB
from balena_migrate.initramfs._cpio import Archive

LAST_LINE, HANGS = "lab: stage 2 is killed", "lab: stage 2 hangs"
_KILLED = f"""\
#!/balena-migrate/base/busybox sh
echo "{LAST_LINE}"
kill -9 $$
"""
_HUNG = f"""\
(
    until "$base/busybox" grep -q ^active /sys/class/watchdog/watchdog0/state; do
        "$base/busybox" sleep 0.1
    done
    echo "{HANGS}"
    kill -STOP $$
) &
"""
"""Stops the shell's process, which is stage 2's by then, once that has started a watchdog."""


STAGE2 = "balena-migrate/base/stage2"
"""What init starts."""


class Damage(StrEnum):
    """The kinds of damage."""

    REMOVED = "removed"
    TORN = "torn"
    """Its second half is zeros, as after a power cut that lost writes."""
    EMPTIED = "emptied"
    """All but its first KiB is zeros."""
    KILLED = "killed"
    """Stage 2's process is killed as it starts."""
    HUNG = "hung"
    """Stage 2's process does nothing any more once it has started a watchdog."""


def damaged(initramfs: bytes, how: Damage) -> bytes | None:
    """The file with this damage; None if there is none any more."""
    if how is Damage.REMOVED:
        return None
    if how in (Damage.TORN, Damage.EMPTIED):
        left = KIB if how is Damage.EMPTIED else len(initramfs) // 2
        return initramfs[:left] + bytes(len(initramfs) - left)
    return with_file(initramfs, STAGE2, _stage2(how), mode=0o755)


def with_file(initramfs: bytes, name: str, text: str, *, mode: int = 0o644) -> bytes:
    """The initramfs with this file, which replaces one of that name: the kernel unpacks one archive after another."""
    file = io.BytesIO()
    archive = Archive(file)
    archive.file(name, text.encode(), mode=mode)
    archive.end()
    return initramfs + bytes(-len(initramfs) % 4) + file.getvalue()


def _stage2(how: Damage) -> str:
    """The script that starts stage 2 in place of the kit's."""
    if how is Damage.KILLED:
        return _KILLED
    return stage2_script().replace("\nexec ", f"\n{_HUNG}exec ")


def stage2_script() -> str:
    """The kit's own."""
    return importlib.resources.files("balena_migrate.workstation.kit").joinpath("stage2.sh").read_text("utf-8")
