# SPDX-License-Identifier: Apache-2.0
"""What GRUB starts from a disk, asked of GRUB itself: Debian's grub-emu and grub-fstest are its shell, its menu and its
file system drivers as programs.

So a file is read as GRUB reads it at a start: without a look at the file system's journal. And what grub.cfg writes
(save_env) is on the disk afterwards.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.cuts.starts import Loaded, Starts

GRUB_FILES = ("boot/grub/custom.cfg", "boot/grub/grubenv")
"""Those of the old system that decide, besides its grub.cfg, what GRUB starts."""
LIMIT_S = 60
"""More than GRUB waits anywhere by itself: 10 s after an error, 20 s in a menu."""
_TERMINAL = {"TERM": "dumb", "LC_ALL": "C", "PATH": "/usr/bin:/bin", "COLUMNS": "4000", "LINES": "50"}
"""A wide one: grub-emu wraps lines."""
_MARK = "@@"
_STARTS = re.compile(rf"{_MARK}(kernel|argument|initramfs)=(.*?){_MARK}")
_DIGEST = r"(?:^|\W)([0-9a-f]{8})\s+"

# grub-emu has no `linux` and no `initrd`: these functions read their files as the real commands do, and say which. A
# disk that was cut does not deceive, so the quickest of GRUB's sums is enough.
_FIRST = f"""\
function serial {{
  true
}}
function linux {{
  if crc "$1"; then
    echo "{_MARK}kernel=$1{_MARK}"
    shift
    for word in "$@"; do
      echo "{_MARK}argument=${{word}}{_MARK}"
    done
    true
  else
    false
  fi
}}
function initrd {{
  if crc "$1"; then
    echo "{_MARK}initramfs=$1{_MARK}"
    exit
  else
    false
  fi
}}
set root='@ROOT@'
set prefix='(@ROOT@)@FOLDER@'
export root
export prefix
configfile '(@ROOT@)@FOLDER@/grub.cfg'
"""


@dataclass(frozen=True, kw_only=True)
class GrubPlace:
    """Where GRUB finds its first grub.cfg: a partition in GRUB's own words, and the folder on it."""

    root: str
    folder: str


def grub_starts(disk: Path, place: GrubPlace) -> Starts:
    """What GRUB starts from the disk. Raises LabError if that is nothing."""
    said = _run(disk, place)
    found: dict[str, list[str]] = {"kernel": [], "argument": [], "initramfs": []}
    for kind, value in _STARTS.findall(said):
        if kind == "kernel":
            found["argument"].clear()
        found[kind].append(value)
    if not found["initramfs"]:
        raise LabError(f"GRUB starts nothing: {last_words(said)}")
    return Starts(
        kernel=_loaded(said, found["kernel"][-1]),
        initramfs=(_loaded(said, found["initramfs"][-1]),),
        arguments=tuple(found["argument"]),
    )


def _run(disk: Path, place: GrubPlace) -> str:
    """What grub-emu prints until it starts something. Raises LabError if it waits."""
    with tempfile.TemporaryDirectory(prefix="balena-migrate-grub-") as name:
        folder = Path(name)
        devices = folder / "devices"
        devices.write_text(f"(hd0) {disk}\n")
        values = {"ROOT": place.root, "FOLDER": place.folder}
        (folder / "grub.cfg").write_text(re.sub("@(ROOT|FOLDER)@", lambda match: values[match[1]], _FIRST))
        argv = ["grub-emu", "--device-map", str(devices), "--root", "host", "--directory", str(folder)]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, env=_TERMINAL, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"GRUB waits: {last_words(_plain(error.stdout or b''))}") from None
        return _plain(done.stdout)


def _plain(output: bytes) -> str:
    """Without a terminal's control sequences, which move the cursor, too."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", output.decode("utf-8", "replace"))


def last_words(text: str) -> str:
    """The end of what a program said."""
    return " ".join(text.split())[-300:]


def _loaded(said: str, path: str) -> Loaded:
    """A file as GRUB read it the last time."""
    return Loaded(path=path, digest=re.findall(_DIGEST + re.escape(path), said)[-1])
