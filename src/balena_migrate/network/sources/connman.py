# SPDX-License-Identifier: Apache-2.0
"""ConnMan: the services stored in /var/lib/connman, and provisioning files (*.config) next to them.

Source: ConnMan's doc/config-format.txt and doc/service-api.txt; the stored format is that of src/storage.c.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.addresses import gateway_route, make_ip, parse_address, parse_cidr, servers_left_out
from balena_migrate.network.files.ini import Section, parse_ini
from balena_migrate.network.files.keyfile import unescape
from balena_migrate.network.model import (
    Certificate,
    Eap,
    Ip,
    Kind,
    Method,
    Modem,
    Profile,
    Reading,
    Security,
    Wep,
    Wifi,
)
from balena_migrate.network.reading import Collector, read_config
from balena_migrate.network.sources import Source
from balena_migrate.network.write.certificates import read_certificate

FOLDER = "/var/lib/connman"

_SECURITY = {
    "none": Security.OPEN,
    "wep": Security.WEP,
    "psk": Security.PSK,
    "wpa": Security.PSK,
    "rsn": Security.PSK,
    "sae": Security.SAE,
    "ieee8021x": Security.EAP,
}
_SERVICE = re.compile(r"(wifi|ethernet|cellular)_([0-9a-f]+)(?:_([0-9a-f]+|hidden)_managed_([a-z0-9]+))?.*")


def read(system: System) -> Reading:
    """Read the stored services, and those in provisioning files."""
    found = Collector()
    for path in (*system.glob(f"{FOLDER}/*_*/settings"), *system.glob(f"{FOLDER}/*.config")):
        sections: tuple[Section, ...] = ()
        with found.guard(path):
            sections = parse_ini(read_config(system, path))
        for section in sections:
            with found.guard(path, section.value("Name"), _login(path, section)):
                profile = _stored(path, section) if path.name == "settings" else _provisioned(system, section)
                if profile is not None:
                    left_out = servers_left_out(
                        _items(section.value("Nameservers")), profile.ipv4 or Ip(), profile.ipv6 or Ip()
                    )
                    found.add(replace(profile, source=str(path)), [*_lost(section), *left_out])
    return found.reading()


def _login(path: PurePosixPath, section: Section) -> Profile | None:
    """What is lost with a provisioned login for a wired port that cannot be carried over."""
    if section.value("Type") != "ethernet" or not section.value("EAP"):
        return None
    interface, mac = section.value("DeviceName"), section.value("MAC").lower()
    return Profile(kind=Kind.ETHERNET, source=str(path), interface=interface, mac=mac, eap=Eap())


def _lost(section: Section) -> list[str]:
    proxied = section.value("Proxy.Method") in ("manual", "auto")
    return ["the proxy for this network alone is not carried over"] if proxied else []


def _stored(path: PurePosixPath, section: Section) -> Profile | None:
    """A service that has been used; None for one that was only detected. Raises NetworkConfigError."""
    match = _SERVICE.fullmatch(path.parent.name)
    if not match:
        raise NetworkConfigError("is of a type that cannot be carried over")
    if match[1] == "wifi" and not section.flag("Favorite"):
        return None
    if section.value("Config.file"):
        return None  # comes from a provisioning file
    profile = Profile(
        kind=Kind.ETHERNET,
        source="",
        mac=":".join(re.findall("..", match[2])) if match[1] == "ethernet" and len(match[2]) == 12 else "",
        autoconnect=section.flag("AutoConnect", default=True),
        ipv4=_stored_ip(section, 4),
        ipv6=_stored_ip(section, 6),
    )
    if match[1] == "cellular":
        return replace(profile, kind=Kind.GSM, modem=_modem(section))
    if match[1] == "ethernet":
        return profile
    ssid = section.value("SSID") or match[3] or ""
    return replace(profile, kind=Kind.WIFI, wifi=_wifi(section, ssid, match[4] or "none"))


def _modem(section: Section) -> Modem:
    """The stored part of a modem's settings; without an APN, the provider's default is used."""
    apn = section.value("Cellular.APN") or section.value("AccessPointName")
    return Modem(apn=apn, auto_config=not apn)


def _stored_ip(section: Section, version: int) -> Ip:
    name = f"IPv{version}"
    method = section.value(f"{name}.method") or ("dhcp" if version == 4 else "auto")
    address = section.value(f"{name}.local_address")
    gateway = section.value(f"{name}.gateway")
    manual = method == "manual"
    ip = make_ip(
        version,
        automatic=method in ("dhcp", "auto", "fixed"),
        addresses=[parse_cidr(address, section.value(f"{name}.netmask_prefixlen"))] if manual and address else [],
        routes=[gateway_route(gateway)] if manual and gateway else [],
        dns=[parse_address(text) for text in _items(section.value("Nameservers"))],
        search=_items(section.value("Domains")),
        otherwise=Method.DISABLED if version == 4 or method == "off" else Method.IGNORE,
    )
    return _with_privacy(ip, section.value("IPv6.privacy")) if version == 6 else ip


def _with_privacy(ip: Ip, word: str) -> Ip:
    """The last of the words disabled, enabled and preferred is spelled otherwise in older versions (ipconfig.c)."""
    value = "2" if word.startswith("prefer") else "1" if word == "enabled" else ""
    return replace(ip, options=(("ip6-privacy", value),)) if value and ip.method is Method.AUTO else ip


def _items(text: str) -> list[str]:
    return [part for part in re.split(r"[;,\s]+", text) if part]


def _wifi(section: Section, ssid_hex: str, security: str) -> Wifi:
    try:
        ssid = bytes.fromhex(ssid_hex) if ssid_hex != "hidden" else section.value("Name").encode()
    except ValueError:
        raise NetworkConfigError("its SSID is not hexadecimal") from None
    if security not in _SECURITY:
        raise NetworkConfigError("its security is unknown")
    kind = _SECURITY[security]
    secret = unescape(section.value("Passphrase"))
    return Wifi(
        ssid=ssid,
        security=kind,
        hidden=section.flag("Hidden"),
        secret=secret if kind in (Security.PSK, Security.SAE) else "",
        wep=Wep(keys=(secret, "", "", "")) if kind is Security.WEP else None,
    )


def _provisioned(system: System, section: Section) -> Profile | None:
    """A [service_...] of a provisioning file. Raises NetworkConfigError."""
    if not section.name.startswith("service_"):
        return None
    kind = section.value("Type")
    if kind not in ("wifi", "ethernet"):
        raise NetworkConfigError("its type is neither wifi nor ethernet")
    profile = Profile(
        kind=Kind(kind),
        source="",
        interface=section.value("DeviceName"),
        mac=section.value("MAC").lower(),
        ipv4=_provisioned_ip(section, 4),
        ipv6=_provisioned_ip(section, 6),
        eap=_eap(system, section) if section.value("EAP") else None,
    )
    if kind == "ethernet":
        return profile
    security = section.value("Security") or (
        "ieee8021x" if profile.eap else "psk" if section.value("Passphrase") else "none"
    )
    ssid = section.value("SSID") or section.value("Name").encode("utf-8", "surrogateescape").hex()
    return replace(profile, wifi=_wifi(section, ssid, security))


def _provisioned_ip(section: Section, version: int) -> Ip:
    """ "off", "dhcp", "auto", or address/netmask/gateway."""
    text = section.value(f"IPv{version}") or ("dhcp" if version == 4 else "auto")
    automatic = text in ("dhcp", "auto")
    parts = [] if automatic or text == "off" else text.split("/")
    ip = make_ip(
        version,
        automatic=automatic,
        addresses=[parse_cidr(parts[0], parts[1] if len(parts) > 1 else "")] if parts else [],
        routes=[gateway_route(parts[2])] if len(parts) > 2 else [],
        dns=[parse_address(text) for text in _items(section.value("Nameservers"))],
        search=_items(section.value("SearchDomains")),
        otherwise=Method.DISABLED if version == 4 or text == "off" else Method.IGNORE,
    )
    return _with_privacy(ip, section.value("IPv6.Privacy")) if version == 6 else ip


def _eap(system: System, section: Section) -> Eap:
    def certificate(key: str) -> Certificate | None:
        path = section.value(key)
        return read_certificate(system, path, key) if path else None

    inner = section.value("Phase2").lower()
    return Eap(
        methods=(section.value("EAP").lower(),),
        identity=section.value("Identity"),
        anonymous_identity=section.value("AnonymousIdentity"),
        password=unescape(section.value("Passphrase")),
        ca_cert=certificate("CACertFile"),
        client_cert=certificate("ClientCertFile"),
        private_key=certificate("PrivateKeyFile"),
        private_key_password=section.value("PrivateKeyPassphrase"),
        inner="" if inner.startswith("eap-") else inner,
        inner_eap=inner.removeprefix("eap-") if inner.startswith("eap-") else "",
        subject_match=section.value("SubjectMatch"),
        domain_match=section.value("DomainMatch"),
        domain_suffix_match=section.value("DomainSuffixMatch"),
    )


SOURCE = Source(name="ConnMan", precedence=70, read=read)
