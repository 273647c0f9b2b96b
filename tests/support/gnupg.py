# SPDX-License-Identifier: Apache-2.0
"""Keys of GnuPG's, made for a test, and gone after it with the agent that holds them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


class Gnupg:
    """A folder of GnuPG's own, in place of the user's."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *words: str | Path) -> bytes:
        argv = ["gpg", "--homedir", self.home, "--batch", "--quiet", "--passphrase", "", *words]
        return subprocess.run(argv, capture_output=True, check=True, timeout=120).stdout

    def make_key(self, name: str) -> Path:
        """A key with this name; returns a file beside the folder with the public one."""
        self.run("--quick-generate-key", name, "ed25519", "sign", "never")
        path = self.home.parent / f"{name}.gpg"
        path.write_bytes(self.run("--export", name))
        return path


@contextlib.contextmanager
def gnupg_in(home: Path) -> Iterator[Gnupg]:
    """The folder, which is made. Its path is short: it holds the agent's socket."""
    home.mkdir(mode=0o700)
    try:
        yield Gnupg(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True, timeout=60)
