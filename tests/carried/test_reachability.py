# SPDX-License-Identifier: Apache-2.0
"""What is reached, tried against servers on loopback."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import socketserver
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.carried import reachability as endpoints
from balena_migrate.carried.config_json import parse_config_json
from balena_migrate.carried.reachability import Endpoint, Endpoints, clock_behind_s, read_endpoints
from balena_migrate.checks.reachability import check
from balena_migrate.core.errors import ConfigError
from balena_migrate.facts import ClockFacts
from balena_migrate.findings import Finding, Severity
from balena_migrate.settings import Config, Probe, parse_settings
from tests.support.facts import pc_facts
from tests.support.server import serving
from tests.support.surveys import carrying


@pytest.fixture(autouse=True)
def no_proxy_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Api(http.server.BaseHTTPRequestHandler):
    """/ping as the API answers it, and worse."""

    def do_GET(self) -> None:
        path = self.path.removeprefix("http://api.invalid")
        answers = {
            "/ping": (200, b"OK"),
            "/portal/ping": (200, b"<html>please log in"),
            "/broken/ping": (503, b"OK"),
            "/moved/ping": (302, b""),
        }
        status, body = answers.get(path, (404, b""))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/ping")
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        given = self.headers.get("Proxy-Authorization", "")
        allowed = not given or base64.b64decode(given.split()[1]) == b"me:secretword"
        self.send_response(200 if allowed and self.path == "vpn.invalid:443" else 403)
        self.end_headers()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((time.time() if timestamp is None else timestamp) + self.server.ahead_s)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve(ahead_s: int = 0, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of an API on loopback whose clock is ahead of ours."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.ahead_s = ahead_s  # type: ignore[attr-defined]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        with serving(server) as port:
            yield port


@contextmanager
def serve_raw(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        with serving(server) as port:
            yield port


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def reach(config: Config | None = None, **values: object) -> Endpoints:
    config_json = parse_config_json(json.dumps(values).encode(), "f")
    return read_endpoints(config_json, config or Config(check_timeout=2))


def api_of(url: str, config: Config | None = None, **values: object) -> Endpoint:
    found = reach(config, apiEndpoint=url, **values).api
    assert found is not None
    return found


@pytest.mark.parametrize("path", ["", "/", "/moved"])
def test_the_api_is_reached(path: str) -> None:
    with serve() as port:
        found = api_of(f"http://127.0.0.1:{port}{path}")
    assert (found.name, found.problem) == ("127.0.0.1", "")
    assert found.clock_behind_s is not None and abs(found.clock_behind_s) < 3


def test_a_wrong_clock_is_measured() -> None:
    with serve(ahead_s=7200) as port:
        found = api_of(f"http://127.0.0.1:{port}")
    assert found.clock_behind_s is not None and abs(found.clock_behind_s - 7200) < 3


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/portal", "something other than the API answers there"),
        ("/broken", "it answers with status 503"),
        ("/nowhere", "it answers with status 404"),
    ],
)
def test_what_is_not_the_api_is_not_taken_for_it(path: str, problem: str) -> None:
    with serve() as port:
        assert api_of(f"http://127.0.0.1:{port}{path}").problem == problem


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://127.0.0.1:{closed}", "Connection refused"),
        ("file:///etc", "not the address of a web server"),
        ("http://[", "ValueError"),
        ("http://127.0.0.1:port", "InvalidURL"),
        ("http://a b/", "InvalidURL"),
        ("http://name.invalid", "Name or service not known"),
    ],
)
def test_what_cannot_be_reached_says_why(url: str, problem: str) -> None:
    found = api_of(url.replace("{closed}", str(closed_port())))
    # Without a network a name cannot be looked up at all, and the resolver says so in its own words.
    assert found.problem == problem or ("name.invalid" in url and found.problem)


class Drip(socketserver.BaseRequestHandler):
    """Sends a byte of a header now and then, without end."""

    def handle(self) -> None:
        try:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(200):
                self.request.sendall(b"x")
                time.sleep(0.1)
        except OSError:
            pass


class Garbage(socketserver.BaseRequestHandler):
    """Talks, but not HTTP."""

    def handle(self) -> None:
        self.request.recv(10)
        self.request.sendall(b"\x00\xff" * 50_000)


def test_a_server_that_drips_does_not_hold_us_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "PATIENCE", 1)
    start = time.monotonic()
    with serve_raw(Drip) as port:
        found = api_of(f"http://127.0.0.1:{port}", Config(check_timeout=1))
    assert found.problem == "no answer within 1 s"
    assert time.monotonic() - start < 3


def test_a_server_of_another_kind() -> None:
    with serve_raw(Garbage) as port:
        assert api_of(f"http://127.0.0.1:{port}").problem in (
            "BadStatusLine",
            "LineTooLong",
            "Connection reset by peer",
        )


def test_the_vpn_is_reached() -> None:
    with serve() as port:
        assert reach(vpnEndpoint="127.0.0.1", vpnPort=str(port)).vpn == Endpoint(name=f"127.0.0.1:{port}")


def test_a_closed_vpn_is_told() -> None:
    port = closed_port()
    found = reach(vpnEndpoint="127.0.0.1", vpnPort=port).vpn
    assert found == Endpoint(name=f"127.0.0.1:{port}", problem="Connection refused")


def test_what_is_not_named_or_skipped_is_not_tried() -> None:
    assert reach() == Endpoints()
    skip = Config(skip_checks=tuple(Probe))
    assert reach(skip, apiEndpoint="http://127.0.0.1:1", vpnEndpoint="127.0.0.1") == Endpoints()


def test_a_proxy_is_asked_and_its_password_kept() -> None:
    with serve() as port:
        proxy = Config(proxy=f"http://me:secretword@127.0.0.1:{port}", check_timeout=2)
        found = reach(proxy, apiEndpoint="http://api.invalid", vpnEndpoint="vpn.invalid")
        wrong = reach(Config(proxy=f"http://me:no@127.0.0.1:{port}"), vpnEndpoint="vpn.invalid")
    assert found.api is not None and (found.api.problem, found.api.proxy) == ("", "127.0.0.1")
    assert found.vpn == Endpoint(name="vpn.invalid:443", proxy="127.0.0.1")
    assert wrong.vpn is not None and wrong.vpn.problem == "the proxy refuses the connection"
    assert "secretword" not in repr((proxy, found))


def test_the_environments_proxy_is_asked_but_for_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as port:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        assert api_of("http://api.invalid").problem == ""
        monkeypatch.setenv("no_proxy", "api.invalid")
        assert api_of("http://api.invalid").problem != ""


@pytest.mark.processes
def test_certificates(tmp_path: Path) -> None:
    """Of an unknown maker: reached, and told; with the maker in balenaRootCA: trusted."""
    argv = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=api -addext"
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    command = ["openssl", *argv.split(), "subjectAltName=IP:127.0.0.1", *files]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with serve(context=context) as port:
        url = f"https://127.0.0.1:{port}"
        unknown = api_of(url)
        known = api_of(url, balenaRootCA=base64.b64encode((tmp_path / "cert").read_bytes()).decode())
        nonsense = api_of(url, balenaRootCA="%%%")
    assert (unknown.problem, unknown.tls_problem) == ("", "self-signed certificate")
    assert unknown.clock_behind_s is not None
    assert (known.problem, known.tls_problem) == ("", "")
    assert nonsense.tls_problem


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 2026 20:00:00 GMT", "Sun, 22 Nov 99999 20:00:00 GMT"])
def test_dates_that_are_none(date: str) -> None:
    assert clock_behind_s(date, 0.0) is None


def test_a_date() -> None:
    assert clock_behind_s("Thu, 01 Jan 1970 00:01:00 GMT", 10.0) == 50.0


REACHED = Endpoint(name="api.example.com", clock_behind_s=2.0)


def findings(api: Endpoint | None = None, vpn: Endpoint | None = None, skip: tuple[Probe, ...] = ()) -> list[Finding]:
    return list(check(carrying(config=Config(skip_checks=skip), endpoints=Endpoints(api=api, vpn=vpn))))


@pytest.mark.parametrize(
    ("api", "codes"),
    [
        ({}, {"api-reached": Severity.OK}),
        ({"problem": "Connection refused"}, {"api-unreachable": Severity.BLOCKER}),
        ({"tls_problem": "expired"}, {"api-reached": Severity.OK, "api-certificate": Severity.WARNING}),
        ({"proxy": "proxy"}, {"api-reached": Severity.OK, "api-proxy": Severity.WARNING}),
        ({"clock_behind_s": -86400.0}, {"api-reached": Severity.OK, "clock-wrong": Severity.WARNING}),
        ({"clock_behind_s": None}, {"api-reached": Severity.OK}),
    ],
)
def test_findings(api: dict[str, object], codes: dict[str, Severity]) -> None:
    endpoint = Endpoint(**{"name": "api.example.com", "clock_behind_s": 2.0, **api})  # type: ignore[arg-type]
    assert {finding.code: finding.severity for finding in findings(endpoint)} == codes


def test_what_is_skipped_is_not_judged() -> None:
    bad = Endpoint(name="api", problem="gone", clock_behind_s=9999.0)
    assert [f.code for f in findings(bad, skip=(Probe.API,))] == ["clock-wrong"]
    assert [f.code for f in findings(bad, skip=(Probe.TIME,))] == ["api-unreachable"]


def test_an_unreached_vpn_blocks_and_names_the_way_out() -> None:
    (found,) = findings(vpn=Endpoint(name="vpn:443", problem="no answer in time"))
    assert (found.code, found.severity) == ("vpn-unreachable", Severity.BLOCKER)
    assert "SKIP_CHECKS=vpn" in found.remedy


def test_settings() -> None:
    text = 'SKIP_CHECKS="api time"\nCHECK_TIMEOUT=30\nPROXY=http://me:pw@proxy:3128\n'
    assert parse_settings(text, "f") == {
        "skip_checks": (Probe.API, Probe.TIME),
        "check_timeout": 30,
        "proxy": "http://me:pw@proxy:3128",
    }


@pytest.mark.parametrize(
    "line", ["CHECK_TIMEOUT=0", "CHECK_TIMEOUT=1s", "SKIP_CHECKS=all", "PROXY=socks5://x:1", "PROXY=pw"]
)
def test_bad_settings(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(line, "f")
    assert "pw" not in str(caught.value)


def dated_certificate(folder: Path, start: str, end: str) -> tuple[ssl.SSLContext, str]:
    """A server's context with a certificate of these dates (YYYYMMDD), and the certificate as balenaRootCA has it."""
    (folder / "index.txt").touch()
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index.txt\nrand_serial=yes\nnew_certs_dir={folder}\n"
        "default_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n"
        "[x]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:true\n"
        "subjectKeyIdentifier=hash\nkeyUsage=critical,keyCertSign,digitalSignature\n"
    )
    key, request, cert = (str(folder / name) for name in ("key", "request", "cert"))
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=api"]
    argv = ["openssl", "req", "-new", *kind, "-keyout", key, "-out", request]
    subprocess.run(argv, check=True, capture_output=True)
    argv = ["openssl", "ca", "-batch", "-selfsign", "-config", str(folder / "ca.cnf"), "-notext"]
    dates = ["-startdate", f"{start}000000Z", "-enddate", f"{end}000000Z"]
    subprocess.run([*argv, *dates, "-keyfile", key, "-in", request, "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, base64.b64encode(Path(cert).read_bytes()).decode()


@pytest.mark.processes
@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        ("20010101", "20020101", "certificate has expired"),
        ("20480101", "20490101", "certificate is not yet valid"),
    ],
)
def test_a_certificate_with_which_only_the_dates_are_wrong(tmp_path: Path, start: str, end: str, problem: str) -> None:
    """As a device sees it whose clock was never set, and one without the maker's certificate."""
    context, root = dated_certificate(tmp_path, start, end)
    with serve(context=context, ahead_s=9_000_000) as port:
        url = f"https://127.0.0.1:{port}"
        known, unknown = api_of(url, balenaRootCA=root), api_of(url)
    assert (known.problem, known.tls_problem, known.tls_dates_only) == ("", problem, True)
    assert known.clock_behind_s is not None and known.clock_behind_s > 8_000_000
    assert (unknown.problem, unknown.tls_dates_only) == ("", False)
    assert unknown.tls_problem


EXPIRED = Endpoint(name="api.shop.example", tls_problem="certificate is not yet valid", tls_dates_only=True)
UNSET = ClockFacts(now_s=700, written_s=1_790_000_000, written="/var/lib/dpkg/status")


def clock_codes(api: Endpoint, clock: ClockFacts, config: Config | None = None) -> set[str]:
    survey = carrying(replace(pc_facts(), clock=clock), config, endpoints=Endpoints(api=api))
    return {finding.code for finding in check(survey)} - {"api-reached"}


@pytest.mark.parametrize(
    ("behind_s", "clock", "codes"),
    [
        (0.0, ClockFacts(), {"api-certificate"}),
        (None, ClockFacts(), {"api-certificate"}),
        (None, UNSET, {"api-certificate-unjudged", "clock-unset"}),
        (9e8, ClockFacts(), {"api-certificate-unjudged", "clock-wrong"}),
        (9e8, UNSET, {"api-certificate-unjudged", "clock-wrong", "clock-unset"}),
    ],
)
def test_no_certificate_is_judged_by_a_clock_that_was_never_set(
    behind_s: float | None, clock: ClockFacts, codes: set[str]
) -> None:
    assert clock_codes(replace(EXPIRED, clock_behind_s=behind_s), clock) == codes


def test_a_certificate_of_an_unknown_maker_is_told_whatever_the_clock_says() -> None:
    unknown = replace(EXPIRED, tls_problem="self-signed certificate", tls_dates_only=False, clock_behind_s=9e8)
    assert clock_codes(unknown, UNSET) == {"api-certificate", "clock-wrong", "clock-unset"}


def test_where_the_time_is_skipped_the_certificate_is_not_passed_over_in_silence() -> None:
    skipping = Config(skip_checks=(Probe.TIME,))
    assert clock_codes(replace(EXPIRED, clock_behind_s=9e8), ClockFacts(), skipping) == {"api-certificate-unjudged"}


def test_a_clock_that_was_never_set_says_what_it_is_behind() -> None:
    (found,) = check(carrying(replace(pc_facts(), clock=UNSET)))
    assert (found.code, found.severity) == ("clock-unset", Severity.WARNING)
    assert "says 1970-01-01, but /var/lib/dpkg/status was written on 2026-09-21" in found.cause
    assert "date -u -s" in found.remedy


def test_a_clock_may_be_set_back_by_a_day() -> None:
    assert ClockFacts(now_s=UNSET.written_s - 80_000, written_s=UNSET.written_s).is_set
    assert not ClockFacts(now_s=UNSET.written_s - 90_000, written_s=UNSET.written_s).is_set
