# SPDX-License-Identifier: Apache-2.0
"""Serial lines: played by a thread at the other end of a socket."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.console import Console, Shell

Player = Callable[[socket.socket], None]


@contextmanager
def console(folder: Path, player: Player, lines: list[str] | None = None) -> Iterator[Console]:
    """A console whose other end is played by a function; the line ends when it returns."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(folder / "line"))
    server.listen()

    def play() -> None:
        connection, _ = server.accept()
        with connection:
            player(connection)

    thread = threading.Thread(target=play)
    thread.start()
    keep = lines if lines is not None else []
    with Console(folder / "line", folder / "console.log", lambda: 1.5, lambda _, line: keep.append(line)) as device:
        yield device
    thread.join()
    server.close()


def says(*parts: bytes) -> Player:
    def play(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return play


def test_waits_for_what_comes_after_the_last_match(tmp_path: Path) -> None:
    with console(tmp_path, says(b"login: a\r\n", b"login: b\r\n")) as device:
        assert device.wait_for(r"login: (\w)", 5)[1] == "a"
        assert device.wait_for(r"login: (\w)", 5)[1] == "b"


def test_says_what_came_last_where_the_line_ends_before(tmp_path: Path) -> None:
    with console(tmp_path, says(b"Kernel panic\n")) as device, pytest.raises(LabError, match="Kernel panic") as caught:
        device.wait_for("login:", 60)
    assert "until the device went off" in caught.value.message, "nobody waited for 60 s"


def test_logs_every_line_with_its_time_and_without_terminal_controls(tmp_path: Path) -> None:
    lines: list[str] = []
    with console(tmp_path, says(b"\x1b[32m[  OK  ]\x1b", b"[0m Reached\xe2", b"\x80\xa6\r\nlast"), lines) as device:
        device.find("never", 5)
    assert (tmp_path / "console.log").read_text() == "[    1.500] [  OK  ] Reached…\n[    1.500] last\n"
    assert lines == ["[  OK  ] Reached…", "last"]


def shell_player(answers: dict[str, tuple[str, int]]) -> Player:
    """A shell that knows some commands; it echoes, and the kernel speaks in between."""

    def play(connection: socket.socket) -> None:
        connection.sendall(b"root@depot-gateway:~# ")
        received = b""
        while data := connection.recv(4096):
            received += data
            while b"\n" in received:
                line, _, received = received.partition(b"\n")
                connection.sendall(line + b"\r\n[   12.3] a word from the kernel\r\n" + answer(line.decode()))

    def answer(line: str) -> bytes:
        found = re.fullmatch(r"echo '<<(\w+)''>>'; (.*); echo '<<'\"\$\?\"'-\w+''>>'", line)
        if found is None:
            return b""
        text, status = answers.get(found[2], ("", 0))
        return f"<<{found[1]}>>\r\n{text}<<{status}-{found[1]}>>\r\n".encode()

    return play


def test_a_command_gives_its_output_and_its_status(tmp_path: Path) -> None:
    player = shell_player({"uname": ("Linux\r\n", 0), "false": ("no\r\n", 1)})
    with console(tmp_path, player) as device:
        shell = Shell(device)
        shell.log_in(5)
        assert shell.run("uname", timeout_s=5) == "Linux\n"
        assert shell.run("false", timeout_s=5, ok=(1,)) == "no\n"
        with pytest.raises(LabError, match="'false' ended with status 1"):
            shell.run("false", timeout_s=5)
