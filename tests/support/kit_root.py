# SPDX-License-Identifier: Apache-2.0
"""Runs programs in a root file system that holds a kit and nothing else, emulated where it is another processor's."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.architectures import Architecture
from balena_migrate.core.kit import Kit

# The mounts are gone with the last process of the namespace. That of binfmt_misc, in a user namespace of its own,
# changes nothing for the rest of the machine (Linux 6.7).
ENTER = """
set -e
if [ -n "$1" ] && [ ! -e "/proc/sys/fs/binfmt_misc/qemu-$1" ]; then
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    cat "/usr/lib/binfmt.d/qemu-$1.conf" > /proc/sys/fs/binfmt_misc/register
fi
shift
root=$1
eval "$PREPARE"
for name in dev proc sys; do
    if [ -d "$1/$name" ] && [ "$1" != / ]; then
        mount --rbind "/$name" "$1/$name"
    fi
done
exec chroot "$@"
"""

EMULATORS = {
    Architecture.AMD64: ("", ""),
    Architecture.I386: ("", ""),
    Architecture.ARM64: ("aarch64", "cortex-a53"),
    Architecture.ARMHF: ("arm", "cortex-a7"),
    Architecture.ARMEL: ("arm", "arm1176"),
}
"""For what this machine does not run itself: QEMU's name of the architecture, and the processor of the oldest board."""


@dataclass(frozen=True, kw_only=True)
class Root:
    """A root file system with a kit in /kit, and nothing else but what the kernel gives."""

    path: Path
    kit: Kit

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of the root in it, as a device would that has no other file at all."""
        return enter(self.path, self.kit.architecture, *argv)

    def run_python(self, source: str) -> subprocess.CompletedProcess[str]:
        """Runs source in the kit's Python with both parts on the path."""
        loader = ("/kit/base/ld.so", "--inhibit-cache", "--argv0", "/kit/base/bin/python3")
        python = ("--library-path", "/kit/base/lib:/kit/more/lib", "/kit/base/bin/python3", "-I", "-S", "-X", "utf8")
        path = "import sys; sys.path.insert(0, '/kit/more/python')\n"
        return self.run(*loader, *python, "-c", path + source)


def enter(root: Path, architecture: Architecture, *argv: str, prepare: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program in the root, after the shell commands `prepare`, which find its path in $root."""
    emulator, processor = EMULATORS[architecture]
    environment = {"PATH": os.environ["PATH"], "PREPARE": prepare} | ({"QEMU_CPU": processor} if processor else {})
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ENTER, "enter", emulator, str(root)]
    # A shell quotes the line that it does not understand, and a damaged file's may be no text.
    return subprocess.run(
        [*namespace, *argv], capture_output=True, text=True, errors="replace", env=environment, timeout=300
    )
