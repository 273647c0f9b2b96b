# SPDX-License-Identifier: Apache-2.0
"""The proxy for all traffic."""

from __future__ import annotations

import pytest

from balena_migrate.network.model import Proxy
from balena_migrate.network.proxy import parse_environment, parse_redsocks, proxy_files, read_proxy
from tests.support.network import Device

REDSOCKS = """
base { log_debug = off; /* redsocks { */ }
// redsocks { type = socks4; }
redsocks {
    # a comment
    local_ip = 127.0.0.1;
    local_port = 31338;
    ip = proxy.example.org;
    port = 1080;
    type = socks5;
    login = "me";
    password = "a//b#c";
}
redsocks { type = http-relay; ip = 192.0.2.9; port = 1; }
"""
PROXY = Proxy(source="/f", kind="socks5", host="proxy.example.org", port=1080, login="me", password="a//b#c")


def test_redsocks() -> None:
    assert parse_redsocks(REDSOCKS, "/f") == PROXY
    assert parse_redsocks("base { }\n", "/f") is None


def test_what_is_written_is_read_back_the_same() -> None:
    (file,) = proxy_files(PROXY)
    assert file.path == "system-proxy/redsocks.conf"
    text = file.content.decode()
    assert parse_redsocks(text, "/f") == PROXY
    assert "local_ip = 127.0.0.1;" in text and "local_port = 12345;" in text and "redirector = iptables;" in text


def test_environment() -> None:
    text = 'PATH="/bin"\nexport https_proxy="http://me:p%40ss@proxy.example.org:3128/"\nno_proxy=localhost,10.0.0.0/8,x.org\n'
    proxy = parse_environment(text, "/f")
    assert proxy and (proxy.kind, proxy.host, proxy.port) == ("http-connect", "proxy.example.org", 3128)
    assert (proxy.login, proxy.password) == ("me", "p@ss")
    assert [file.path for file in proxy_files(proxy)] == ["system-proxy/redsocks.conf", "system-proxy/no_proxy"]
    assert proxy_files(proxy)[1].content == b"10.0.0.0/8\n"
    assert parse_environment("PATH=/bin\n", "/f") is None


def test_exceptions_that_are_names_are_told(device: Device) -> None:
    device.put("/etc/environment", "http_proxy=192.0.2.1:3128\nno_proxy=localhost,x.org\n")
    proxy, problems = read_proxy(device.system)
    assert proxy and proxy.port == 3128
    assert ["x.org" in problem.reason for problem in problems] == [True]


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        ("/etc/environment", "http_proxy=ftp://x:21\n", "ftp"),
        ("/etc/environment", "http_proxy=http://x:99999\n", "is malformed"),
        ("/etc/environment", "http_proxy=http://a%22b:c@x:1\n", "login"),
        ("/etc/redsocks.conf", "redsocks { type = socks5; }\n", "address"),
        ("/etc/redsocks.conf", "redsocks {\ntype = autoproxy;\n}\n", "autoproxy"),
    ],
)
def test_what_cannot_be_carried_says_why(device: Device, place: str, text: str, words: str) -> None:
    device.put(place, text)
    proxy, problems = read_proxy(device.system)
    assert proxy is None and words in problems[0].reason


def test_the_login_stays_out_of_repr() -> None:
    assert "a//b" not in repr(PROXY)
