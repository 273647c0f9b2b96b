# SPDX-License-Identifier: Apache-2.0
"""iwd: one file for each known network in /var/lib/iwd.

Source: iwd.network(5), iwd.config(5). The file's name is the SSID, or "=" and its bytes in hexadecimal.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.addresses import gateway_route, make_ip, parse_address, parse_cidr
from balena_migrate.network.files.ini import Section, find_section, parse_ini
from balena_migrate.network.files.keyfile import unescape
from balena_migrate.network.model import Certificate, Eap, Ip, Kind, Method, Profile, Reading, Security, Wifi
from balena_migrate.network.reading import Collector, read_config
from balena_migrate.network.sources import Source
from balena_migrate.network.write.certificates import read_certificate

FOLDER = "/var/lib/iwd"
CONFIG = "/etc/iwd/main.conf"

_SECURITY = {".open": Security.OPEN, ".psk": Security.PSK, ".8021x": Security.EAP}
_TUNNELS = ("PEAP", "TTLS")
_EMBEDDED = re.compile(
    r"^\[@pem@([^\]\n]+)\]\n((?:-----BEGIN [^\n]+\n(?:[^-\n][^\n]*\n)+-----END [^\n]+\n)+)", re.MULTILINE
)
"""A certificate or key embedded in the file, with its name."""


def read(system: System) -> Reading:
    """Read the known networks, and the country in iwd's own settings."""
    found = Collector()
    for path in system.glob(f"{FOLDER}/*"):
        if path.suffix in _SECURITY:
            with found.guard(path):
                found.add(_profile(system, path))
    if system.exists(CONFIG):
        with found.guard(CONFIG):
            general = find_section(parse_ini(read_config(system, CONFIG)), "General")
            found.country = general.value("Country").upper()
    return found.reading()


def _profile(system: System, path: PurePosixPath) -> Profile:
    text = read_config(system, path)
    embedded = {name: content.encode() for name, content in _EMBEDDED.findall(text)}
    sections = parse_ini(_EMBEDDED.sub("", text))
    settings = find_section(sections, "Settings")
    security = _SECURITY[path.suffix]
    wifi = Wifi(
        ssid=parse_name(path.stem),
        security=security,
        hidden=settings.flag("Hidden"),
        secret=_secret(find_section(sections, "Security")) if security is Security.PSK else "",
    )
    return Profile(
        kind=Kind.WIFI,
        source=str(path),
        cloned_mac=settings.value("AddressOverride"),
        autoconnect=settings.flag("AutoConnect", default=True),
        wifi=wifi,
        eap=_eap(system, find_section(sections, "Security"), embedded) if security is Security.EAP else None,
        ipv4=_ip(find_section(sections, "IPv4"), 4),
        ipv6=_ip(find_section(sections, "IPv6"), 6),
    )


def parse_name(stem: str) -> bytes:
    """The SSID from a file's name. Raises NetworkConfigError."""
    if not stem.startswith("="):
        return stem.encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(stem[1:])
    except ValueError:
        raise NetworkConfigError("its name is not hexadecimal after the =") from None


def _secret(security: Section) -> str:
    """The passphrase, else the key. Raises NetworkConfigError if neither is there in plain text."""
    if security.value("EncryptedSecurity"):
        raise NetworkConfigError("its secrets are encrypted with a key of this system")
    return unescape(security.value("Passphrase")) or security.value("PreSharedKey")


def _ip(section: Section, version: int) -> Ip | None:
    """The address settings; None if unspecified, so that the interface's own settings apply."""
    if not section.names():
        return None
    address = section.value("Address")
    gateway = section.value("Gateway")
    enabled = section.flag("Enabled", default=True)
    return make_ip(
        version,
        automatic=enabled and not address,
        addresses=[parse_cidr(address, section.value("Netmask"))] if address else [],
        routes=[gateway_route(gateway)] if gateway else [],
        dns=[parse_address(text) for text in section.value("DNS").split()],
        search=section.value("DomainName").split(),
        otherwise=Method.DISABLED if version == 4 else Method.IGNORE,
    )


def _eap(system: System, security: Section, embedded: dict[str, bytes]) -> Eap:
    """[Security] of an .8021x file, whose keys are named by method: EAP-PEAP-CACert, EAP-TTLS-Phase2-Identity."""
    if security.value("EncryptedSecurity"):
        raise NetworkConfigError("its secrets are encrypted with a key of this system")
    method = security.value("EAP-Method").upper()

    def text(key: str) -> str:
        return unescape(security.value(f"EAP-{method}-{key}"))

    def certificate(key: str) -> Certificate | None:
        path = text(key)
        if path.startswith("embed:"):
            content = embedded.get(path.removeprefix("embed:"))
            if content is None:
                raise NetworkConfigError(f"{key}: the file does not contain {path}")
            return Certificate(path=path, content=content)
        return read_certificate(system, path, key) if path else None

    outer = unescape(security.value("EAP-Identity"))
    inner = text("Phase2-Method").lower().removeprefix("tunneled-")
    tunnel = method in _TUNNELS
    return Eap(
        methods=(method.lower(),),
        identity=text("Phase2-Identity") if tunnel else outer,
        anonymous_identity=outer if tunnel else "",
        password=text("Phase2-Password") if tunnel else unescape(security.value("EAP-Password")) or text("Password"),
        ca_cert=certificate("CACert"),
        client_cert=certificate("ClientCert"),
        private_key=certificate("ClientKey") or certificate("ClientKeyBundle"),
        private_key_password=text("ClientKeyPassphrase"),
        inner=inner if tunnel and (method == "PEAP" or inner in ("pap", "chap", "mschap", "mschapv2")) else "",
        inner_eap=inner if method == "TTLS" and inner not in ("", "pap", "chap", "mschap", "mschapv2") else "",
        domain_suffix_match=text("ServerDomainMask").removeprefix("*."),
    )


SOURCE = Source(name="iwd", precedence=80, read=read)
