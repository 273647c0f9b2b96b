# SPDX-License-Identifier: Apache-2.0
"""Serial consoles of a virtual device: output is read at once, logged with its time, and can be waited for.

Each has a thread that reads it: QEMU blocks a device if nobody reads one of its serial ports.
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

PROMPT = r"root@[\w-]+:.*# "
LineHook = Callable[[float, str], None]


class Console:
    """A serial console behind a socket. `clock` returns the seconds since power-on.

    Every complete line goes to the log file, with its time, and to `on_line`.
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
        """All output so far, without terminal control sequences."""
        with self._news:
            return self._text

    def send(self, text: str) -> None:
        """Send the text to the device; return without waiting for it to arrive."""
        self._socket.sendall(text.encode())

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """Wait for the first match after the previous one.

        Raises LabError, with the last output, on a timeout or if the device goes off first.
        """
        found = self.find(pattern, timeout_s)
        if found is None:
            until = "until the device went off" if self._ended else f"within {timeout_s:.0f} s"
            raise LabError(
                f"no {pattern!r} on the serial console {self.name} {until}",
                hint="last output: " + self.text[-LAST_CHARACTERS:],
            )
        return found

    def find(self, pattern: str, timeout_s: float) -> re.Match[str] | None:
        """As wait_for, but returns None if there is no match."""
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
            # A block may end within an escape sequence, which is held back until the rest arrives.
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
    """A root shell on a serial console: markers tell a command's output from echo and kernel messages."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def log_in(self, timeout_s: float) -> None:
        """Wait until the shell answers. The device starts it without asking for a password."""
        self._console.wait_for(PROMPT, timeout_s)
        self._console.send("stty -echo; PS1=; PS2=; unset PROMPT_COMMAND\n")
        self.run("true", timeout_s=60)

    def run(self, command: str, *, timeout_s: float, ok: tuple[int, ...] = (0,)) -> str:
        """Run the command and return its output.

        Raises LabError if its exit status is not in `ok`, or if it does not finish in time.
        """
        mark = secrets.token_hex(4)
        # The shell joins the marker's parts, so that the echo of this line cannot be mistaken for its output.
        self._console.send(f"echo '<<{mark}''>>'; {command}; echo '<<'\"$?\"'-{mark}''>>'\n")
        self._console.wait_for(f"<<{mark}>>\n", timeout_s)
        found = self._console.wait_for(rf"(?s)(.*?)<<(\d+)-{mark}>>\n", timeout_s)
        if int(found[2]) not in ok:
            raise LabError(
                f"on the virtual device, {command!r} ended with status {found[2]}", hint=found[1][-LAST_CHARACTERS:]
            )
        return found[1]
