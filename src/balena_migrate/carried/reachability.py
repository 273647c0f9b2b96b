# SPDX-License-Identifier: Apache-2.0
"""Whether this device reaches today what the new system will need: the API, the VPN, and the right time.

Nothing secret is sent: the API is asked for /ping, and to the VPN a connection is opened and closed again.
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from balena_migrate.carried.config_json import ConfigJson
from balena_migrate.settings import Config, Probe

DEFAULT_VPN_PORT = 443
PATIENCE = 3
"""A probe may take this many timeouts in total: to look up a name, to connect, and to get an answer."""

_BODY_BYTES = 64
_DATE_ERRORS = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (OpenSSL, x509_vfy.h)."""

_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME (OpenSSL 1.1.0 and later, x509_vfy.h)."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server that was tried."""

    name: str
    """Host, or host and port; nothing secret."""
    problem: str = ""
    """Why it is unreachable; empty if it is reachable."""
    tls_problem: str = ""
    """Why its certificate is not trusted here; it was reached nevertheless."""
    tls_dates_only: bool = False
    """Nothing but the certificate's dates, by this device's clock, is wrong with it."""
    proxy: str = ""
    """The host of the proxy that was used; empty for none."""
    clock_behind_s: float | None = None
    """How many seconds our clock is behind the server's, negative where ahead; None if the server did not say."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """None if an endpoint was not tried: config.json does not name it, or SKIP_CHECKS does."""

    api: Endpoint | None = None
    vpn: Endpoint | None = None


def read_endpoints(config_json: ConfigJson, config: Config) -> Endpoints:
    """What is reachable from here. Takes at most PATIENCE times CHECK_TIMEOUT each, whatever the other side does."""
    url, host, port = (config_json.text(key) for key in ("apiEndpoint", "vpnEndpoint", "vpnPort"))
    limit_s = config.check_timeout
    api = vpn = None
    # The API's answer contains the time.
    if url and not {Probe.API, Probe.TIME} <= set(config.skip_checks):
        root = config_json.text("balenaRootCA")
        api = in_time(Endpoint(name=_host(url)), limit_s, lambda: ping(url, root, config.proxy, limit_s))
    if host and Probe.VPN not in config.skip_checks:
        number = int(port) if port.isdecimal() and 0 < int(port) < 65536 else DEFAULT_VPN_PORT
        asked = Endpoint(name=f"{host}:{number}")
        vpn = in_time(asked, limit_s, lambda: connect(host, number, config.proxy, limit_s))
    return Endpoints(api=api, vpn=vpn)


def in_time(asked: Endpoint, limit_s: int, probe: Callable[[], Endpoint]) -> Endpoint:
    """The probe's answer, or `asked` with a problem where it takes too long: neither looking up a name nor a server
    that sends a byte now and then is held to a socket's time-out."""
    answers: list[Endpoint] = []
    thread = threading.Thread(target=lambda: answers.append(probe()), daemon=True)
    thread.start()
    thread.join(PATIENCE * limit_s)
    return answers[0] if answers else replace(asked, problem=f"no answer within {PATIENCE * limit_s} s")


def ping(url: str, root_ca: str, proxy: str, limit_s: float) -> Endpoint:
    """Asks the API for /ping, which answers OK. Where its certificate is not trusted, asks again without trust."""
    found = Endpoint(name=_host(url))
    if not url.startswith(("https://", "http://")):
        return replace(found, problem="not the address of a web server")
    chosen = _proxy_for(url, proxy)
    found = replace(found, proxy=_host(chosen))
    trusting = _trusting(root_ca)
    try:
        try:
            return _ping(found, url, trusting, chosen, limit_s)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ssl.SSLCertVerificationError):
                raise
            found = replace(found, tls_problem=error.reason.verify_message)
            if error.reason.verify_code in _DATE_ERRORS:
                return _ping_at_any_date(found, url, trusting, chosen, limit_s)
        return _ping(found, url, _without_trust(trusting), chosen, limit_s)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return replace(found, problem=_reason(error))


def _ping(found: Endpoint, url: str, context: ssl.SSLContext, proxy: str, limit_s: float) -> Endpoint:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({urlsplit(url).scheme: proxy} if proxy else {}),
        urllib.request.HTTPSHandler(context=context),
    )
    with opener.open(url.rstrip("/") + "/ping", timeout=limit_s) as answer:
        body = answer.read(_BODY_BYTES).strip()
        behind = clock_behind_s(answer.headers.get("Date", ""), time.time())
    found = replace(found, clock_behind_s=behind)
    return found if body == b"OK" else replace(found, problem="something other than the API answers there")


def _ping_at_any_date(found: Endpoint, url: str, trusting: ssl.SSLContext, proxy: str, limit_s: float) -> Endpoint:
    """The same, with a certificate that may be of any date; and without trust, if more than that is wrong with it."""
    trusting.verify_flags |= _NO_CHECK_TIME
    try:
        return _ping(replace(found, tls_dates_only=True), url, trusting, proxy, limit_s)
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLCertVerificationError):
            raise
    return _ping(found, url, _without_trust(trusting), proxy, limit_s)


def _without_trust(context: ssl.SSLContext) -> ssl.SSLContext:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(host: str, port: int, proxy: str, limit_s: float) -> Endpoint:
    """Opens a TCP connection, through the proxy where there is one, and closes it."""
    chosen = _proxy_for(f"https://{host}:{port}", proxy)
    found = Endpoint(name=f"{host}:{port}", proxy=_host(chosen))
    try:
        if chosen:
            parts = urlsplit(chosen)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=limit_s)
            connection.set_tunnel(host, port, _authorization(parts.username, parts.password))
            connection.connect()
            connection.close()
        else:
            socket.create_connection((host, port), timeout=limit_s).close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return replace(found, problem=_reason(error))
    return found


def clock_behind_s(date: str, now_s: float) -> float | None:
    """How far our clock is behind an HTTP Date (RFC 9110, 5.6.7), in seconds; None if there is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - now_s
    except (TypeError, ValueError, OverflowError):
        return None


def _trusting(root_ca: str) -> ssl.SSLContext:
    """The device's own certificates and the one in config.json (balenaRootCA: a PEM file in base64)."""
    context = ssl.create_default_context()
    try:
        pem = base64.b64decode(root_ca, validate=True).decode("ascii")
        if pem:
            context.load_verify_locations(cadata=pem)
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError):
        pass  # its form is checked in checks/config_json.py
    return context


def _proxy_for(url: str, proxy: str) -> str:
    """The proxy for a URL: the setting's, else the environment's, but none where no_proxy names the host."""
    scheme, _, _ = url.partition(":")
    if urllib.request.proxy_bypass(_host(url)):
        return ""
    chosen = proxy or urllib.request.getproxies().get(scheme, "")
    return chosen if "://" in chosen or not chosen else f"http://{chosen}"


def _authorization(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    token = base64.b64encode(f"{user}:{password or ''}".encode()).decode("ascii")
    return {"Proxy-Authorization": f"Basic {token}"}


def _host(url: str) -> str:
    """The host of an address alone: user and password are secret. Empty if there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _reason(error: Exception) -> str:
    """The reason in a few words, without an address in it: a proxy's may hold a password."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers with status {error.code}"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    if str(reason).startswith("Tunnel connection failed"):
        return "the proxy refuses the connection"
    return type(reason).__name__
