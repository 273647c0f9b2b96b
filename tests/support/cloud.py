# SPDX-License-Identifier: Apache-2.0
"""A stand-in of balenaCloud on loopback, which knows one fleet and one token."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import serving

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
        with serving(server) as port:
            yield f"balena.test:{port}"
