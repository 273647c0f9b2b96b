# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate config`, with the real sdk against a stand-in of the cloud on loopback."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import stat
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from balena_migrate.core.errors import FileError, FleetError, UsageError
from balena_migrate.core.system import System
from balena_migrate.workstation.fleet.cloud import config_command, fetch_config, read_token

TOKEN = "token0123456789"
SECRET = "provisioningkey0123"
ANSWER = {
    "applicationId": 17,
    "deviceType": "raspberrypi4-64",
    "apiEndpoint": "https://api.balena.test",
    "apiKey": SECRET,
    "vpnEndpoint": "cloudlink.balena.test",
}


class Cloud(http.server.BaseHTTPRequestHandler):
    """Knows one fleet, acme/gates, and one token; `answers` are what it was asked for and what it says."""

    asked: list[Any] = []  # noqa: RUF012
    answer: object = ANSWER

    def do_GET(self) -> None:
        query = urllib.parse.unquote(self.path)
        if not self.path.startswith("/v7/application"):
            return self.say(404, "what?")
        return self.say(200, {"d": [{"id": 17}] if "'acme/gates'" in query else []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.say(401, "Unauthorized")
        return self.say(200, self.answer)

    def say(self, status: int, body: object) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode() if isinstance(body, str) else json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The stand-in's domain, with a port; its certificate is trusted, and its names lead to loopback."""
    pytest.importorskip("balena", reason="balena-sdk is not installed: pip install -e '.[fleet]'")
    argv = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=balena.test -addext"
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    command = ["openssl", *argv.split(), "subjectAltName=DNS:api.balena.test", *files]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    look_up = socket.getaddrinfo

    def only_loopback(name: str, *args: Any, **kwargs: Any) -> Any:
        assert name == "api.balena.test", f"{name} is no host of this test"
        return look_up("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(Cloud, "asked", [])
    monkeypatch.setattr(Cloud, "answer", ANSWER)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cloud) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"balena.test:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.processes
def test_the_answer_is_kept_whole(host: str) -> None:
    content = fetch_config("acme/gates", "6.0.10", "raspberrypi4-64", TOKEN, host)
    assert json.loads(content) == ANSWER
    (asked,) = Cloud.asked
    assert asked == (
        "/download-config",
        {"version": "6.0.10", "deviceType": "raspberrypi4-64", "network": "ethernet", "appId": 17},
    )


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "token", "reason"),
    [("acme/gates", "wrong", "no config.json"), ("acme/none", TOKEN, "Application not found: acme/none")],
)
def test_what_the_cloud_refuses_is_told(host: str, name: str, token: str, reason: str) -> None:
    with pytest.raises(FleetError, match=reason) as caught:
        fetch_config(name, "6.0.10", "", token, host)
    assert token not in str(caught.value)


@pytest.mark.processes
@pytest.mark.parametrize("answer", [[], {}, "no", {**ANSWER, "apiKey": None}, {**ANSWER, "os": SECRET}])
def test_an_answer_that_is_no_config_json_is_refused(
    host: str, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(Cloud, "answer", answer)
    with pytest.raises(FleetError) as caught:
        fetch_config("17", "6.0.10", "", TOKEN, host)
    assert SECRET not in str(caught.value)


@pytest.mark.processes
def test_a_cloud_that_is_not_there_is_told(host: str) -> None:
    for name in ("17", "acme/gates"):
        with pytest.raises(FleetError, match="cannot be reached"):
            fetch_config(name, "6.0.10", "", TOKEN, "balena.test:1")


@pytest.mark.processes
def test_the_command(host: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    file = tmp_path / "fleet.json"
    argv = ["--fleet", "acme/gates", "--os-version", "6.0.10", "--token-file", str(tmp_path / "token"), "--host", host]
    done = CliRunner().invoke(config_command, [*argv, "--output", str(file)], catch_exceptions=False)
    assert done.exit_code == 0
    assert SECRET not in done.output and TOKEN not in done.output
    assert json.loads(file.read_bytes()) == ANSWER
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="is there already"):
        CliRunner().invoke(config_command, [*argv, "--output", str(file)], catch_exceptions=False)


def test_without_the_sdk_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "balena", None)
    with pytest.raises(FleetError, match=r"pip install 'balena-migrate\[fleet\]'"):
        fetch_config("x", "1", "", TOKEN)


@pytest.mark.processes
def test_the_sdk_is_not_loaded_without_need() -> None:
    program = "import sys, balena_migrate.cli; sys.exit('balena' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = System("/")
    monkeypatch.setenv("BALENA_API_KEY", f" {TOKEN}\n")
    assert read_token(system, "") == TOKEN
    monkeypatch.delenv("BALENA_API_KEY")
    with pytest.raises(UsageError, match="there is no token"):
        read_token(system, "")
    (tmp_path / "token").write_text("two\nlines")
    with pytest.raises(UsageError, match="is none") as caught:
        read_token(system, str(tmp_path / "token"))
    assert "lines" not in str(caught.value).split(":")[0]
    with pytest.raises(FileError):
        read_token(system, str(tmp_path / "missing"))
