# SPDX-License-Identifier: Apache-2.0
"""Serial lines of a virtual device: everything is read at once, kept with its time, and can be waited for.

Each line has a thread that reads it: QEMU blocks a device whose serial line nobody reads, and a device has several.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from balena_migrate.core.errors import LabError

BLOCK_BYTES = 4096
LAST_CHARACTERS = 1500
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9])|\r")

LineHook = Callable[[float, str], None]


class Console:
    """A serial line behind a socket. `clock` gives the seconds since the device was switched on.

    Every complete line goes to the log file with its time, and to `on_line`.
    """

    def __init__(self, path: Path, log: Path, clock: Callable[[], float], on_line: LineHook | None = None) -> None:
        self.name = log.stem
        self._clock = clock
        self._on_line = on_line
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._log = log.open("a", encoding="utf-8")
        self._text = ""
        self._seen = 0
        self._logged = 0
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, name=f"console-{self.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._log.close()

    @property
    def text(self) -> str:
        """All that was printed so far, without terminal controls."""
        with self._news:
            return self._text

    def send(self, text: str) -> None:
        """The text is on its way to the device."""
        self._socket.sendall(text.encode())

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """The first match after the last one waited for.

        Raises LabError, with the last output, where the time runs out or the device goes off before.
        """
        found = self.find(pattern, timeout_s)
        if found is None:
            raise LabError(
                f"no {pattern!r} on the {self.name} line within {timeout_s:.0f} s",
                hint="the last output: " + self.text[-LAST_CHARACTERS:],
            )
        return found

    def find(self, pattern: str, timeout_s: float) -> re.Match[str] | None:
        """As wait_for, but None where it does not come."""
        wanted = re.compile(pattern)
        until = time.monotonic() + timeout_s
        with self._news:
            while True:
                found = wanted.search(self._text, self._seen)
                if found:
                    self._seen = found.end()
                    return found
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._news.wait(left)

    def _read(self) -> None:
        rest = ""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while block := self._receive():
            # An escape sequence may be cut by the border of a block: it is kept back until its end comes.
            raw = rest + decoder.decode(block)
            cut = raw.rfind("\x1b") if "\x1b" in raw[-16:] else len(raw)
            rest, raw = raw[cut:], raw[:cut]
            with self._news:
                self._text += _ESCAPES.sub("", raw)
                self._news.notify_all()
            self._write_lines()
        with self._news:
            self._text += "\n"
            self._ended = True
            self._news.notify_all()
        self._write_lines()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(BLOCK_BYTES)
        except OSError:
            return b""

    def _write_lines(self) -> None:
        while (end := self._text.find("\n", self._logged)) >= 0:
            line = self._text[self._logged : end]
            self._logged = end + 1
            now = self._clock()
            self._log.write(f"[{now:9.3f}] {line}\n")
            if self._on_line:
                self._on_line(now, line)
        self._log.flush()


class Shell:
    """A root shell on a serial line: commands between markers, so that neither echo nor kernel messages confuse it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def log_in(self, timeout_s: float) -> None:
        """The shell answers. The device starts a shell there without asking for a password."""
        self._console.wait_for(r"root@[\w-]+:.*# ", timeout_s)
        self._console.send("stty -echo; PS1=; PS2=; unset PROMPT_COMMAND\n")
        self.run("true", timeout_s=60)

    def run(self, command: str, *, timeout_s: float, ok: tuple[int, ...] = (0,)) -> str:
        """What the command printed; it ended with a status in `ok`.

        Raises LabError otherwise, and where it does not end in time.
        """
        mark = secrets.token_hex(4)
        # The marker's parts are joined by the shell, so that an echo of this line cannot be taken for its output.
        self._console.send(f"echo '<<{mark}''>>'; {command}; echo '<<'\"$?\"'-{mark}''>>'\n")
        self._console.wait_for(f"<<{mark}>>\n", timeout_s)
        found = self._console.wait_for(rf"(?s)(.*?)<<(\d+)-{mark}>>\n", timeout_s)
        if int(found[2]) not in ok:
            raise LabError(f"in the guest: {command!r} ended with status {found[2]}", hint=found[1][-LAST_CHARACTERS:])
        return found[1]
