# SPDX-License-Identifier: Apache-2.0
"""The proxy for all traffic: that of redsocks, or the one in /etc/environment.

Source: meta-balena, balena-proxy-config, and balena's documentation of system-proxy; redsocks.conf of redsocks.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from balena_migrate.core.balena import PROXY_FOLDER, REDSOCKS_CONF
from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.images.boot_file import BootFile
from balena_migrate.network.files.number import find_number
from balena_migrate.network.model import Problem, Proxy
from balena_migrate.network.reading import Collector, read_config

REDSOCKS_FILES = ("/etc/redsocks.conf", f"/mnt/boot/{REDSOCKS_CONF}")
ENVIRONMENT_FILE = "/etc/environment"

_KINDS = ("socks4", "socks5", "http-connect", "http-relay")
_SCHEMES = {
    "http": "http-connect",
    "https": "http-connect",
    "socks5": "socks5",
    "socks5h": "socks5",
    "socks4": "socks4",
}
# A quoted text that is not closed ends with its line; else each of its quotes would begin another search to the end.
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.?)*(?:"|(?=\n)|\Z))|//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
_SETTING = re.compile(r'^[ \t]*(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]+)\s*;', re.MULTILINE)
_SAFE = re.compile(r"[!#-\[\]-~]*")
"""Characters that a quoted value in redsocks.conf can contain: printable, no space, quote or backslash."""


def read_proxy(system: System) -> tuple[Proxy | None, tuple[Problem, ...]]:
    """The proxy, and what is not carried over. redsocks takes precedence over the environment. Raises nothing."""
    found = Collector()
    for path, parse in (*((path, parse_redsocks) for path in REDSOCKS_FILES), (ENVIRONMENT_FILE, parse_environment)):
        if not system.exists(path):
            continue
        with found.guard(path, "proxy"):
            proxy = parse(read_config(system, path), path)
            if proxy is not None:
                found.lose(path, "proxy", _lost_exceptions(proxy))
                return proxy, tuple(found.problems)
    return None, tuple(found.problems)


def parse_redsocks(text: str, source: str) -> Proxy | None:
    """The first redsocks section, or None. Raises NetworkConfigError."""
    plain = _COMMENT.sub(lambda match: match[1] or " ", text)
    section = re.search(r"^[ \t]*redsocks\s*\{(.*?)(?:\}|\Z)", plain, re.DOTALL | re.MULTILINE)
    if section is None:
        return None
    values = {key: _unquoted(value) for key, value in _SETTING.findall(section[1])}
    return _proxy(source, values.get("type", ""), values.get("ip", ""), values.get("port", ""), values)


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def parse_environment(text: str, source: str) -> Proxy | None:
    """The proxy in https_proxy, all_proxy or http_proxy; None if none is set. Raises NetworkConfigError."""
    pairs = re.findall(r"^[ \t]*(?:export[ \t]+)?(\w+)=(.*)$", text, re.MULTILINE)
    found = ((key, re.fullmatch(r"[\"']?([^\"']*)[\"']?", value.rstrip(" \t\r"))) for key, value in pairs)
    values = {key.lower(): match[1].strip() for key, match in found if match}
    url = values.get("https_proxy") or values.get("all_proxy") or values.get("http_proxy") or ""
    if not url:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = str(parts.port or 80)
    except ValueError:
        raise NetworkConfigError("the proxy's address is malformed") from None
    login = {"login": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    exceptions = tuple(word for word in re.split(r"[,\s]+", values.get("no_proxy", "")) if word)
    return _proxy(source, _SCHEMES.get(parts.scheme, parts.scheme), parts.hostname or "", port, login, exceptions)


def _proxy(
    source: str, kind: str, host: str, port: str, values: dict[str, str], no_proxy: tuple[str, ...] = ()
) -> Proxy:
    if kind not in _KINDS:
        raise NetworkConfigError(f"a proxy of the type {kind or 'nothing'} cannot be carried over")
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise NetworkConfigError("the proxy has no address")
    number = find_number(port) or 0
    if not 0 < number < 65536:
        raise NetworkConfigError("the proxy has no port")
    login, password = values.get("login", ""), values.get("password", "")
    if not (_SAFE.fullmatch(login) and _SAFE.fullmatch(password)):
        raise NetworkConfigError("the proxy's login or password contains characters that redsocks.conf cannot hold")
    return Proxy(source=source, kind=kind, host=host, port=number, login=login, password=password, no_proxy=no_proxy)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _lost_exceptions(proxy: Proxy) -> Iterator[str]:
    """The exceptions: the new system supports addresses only, and exempts local ones by itself."""
    for word in proxy.no_proxy:
        if not _is_network(word) and word not in ("localhost", "localhost.localdomain"):
            yield f"the exception {word} is a name, but only addresses are carried over"


def proxy_files(proxy: Proxy | None) -> tuple[BootFile, ...]:
    """The files for system-proxy in resin-boot; empty if there is no proxy."""
    if proxy is None:
        return ()
    files = [BootFile(path=REDSOCKS_CONF, content=_redsocks_conf(proxy).encode())]
    networks = [word for word in proxy.no_proxy if _is_network(word)]
    if networks:
        files.append(BootFile(path=f"{PROXY_FOLDER}/no_proxy", content="".join(f"{n}\n" for n in networks).encode()))
    return tuple(files)


def _redsocks_conf(proxy: Proxy) -> str:
    """redsocks.conf, with the port and redirector that balenaOS expects."""
    lines = [f"type = {proxy.kind};", f"ip = {proxy.host};", f"port = {proxy.port};"]
    if proxy.login:
        lines += [f'login = "{proxy.login}";', f'password = "{proxy.password}";']
    lines += ["local_ip = 127.0.0.1;", "local_port = 12345;"]
    base = ["log_debug = off;", "log_info = on;", "log = stderr;", "daemon = off;", "redirector = iptables;"]
    return _block("base", base) + "\n" + _block("redsocks", lines)


def _block(name: str, lines: list[str]) -> str:
    return f"{name} {{\n" + "".join(f"\t{line}\n" for line in lines) + "}\n"
