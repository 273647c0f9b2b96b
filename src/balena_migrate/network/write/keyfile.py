# SPDX-License-Identifier: Apache-2.0
"""Writes NetworkManager keyfiles.

Source of keys and values: nm-settings-keyfile(5) and nm-settings-nmcli(5). Every version of NetworkManager in
balenaOS (1.4 and later) must be able to read them, so newer keys are written only if the profile needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

from balena_migrate.network.files.keyfile import Keyfile, dump_ssid, escape, join_list
from balena_migrate.network.model import (
    Certificate,
    Eap,
    Ip,
    Kind,
    Method,
    Mode,
    Modem,
    Pmf,
    Profile,
    Route,
    Security,
    Wep,
    Wifi,
)

CONNECTIONS_DIR = "/etc/NetworkManager/system-connections"
"""The folder to which balenaOS copies resin-boot/system-connections on every boot (meta-balena, balena-net-config)."""

PRIORITY_LIMIT = 999
Value = tuple[str, str, str]
"""A group, a key and a raw value."""

_OLD_NAMES = {"controller": "master", "port-type": "slave-type", "autoconnect-ports": "autoconnect-slaves"}
_WEP_KEY = "1"
"""NM_WEP_KEY_TYPE_KEY: hexadecimal digits or characters, not a passphrase to be hashed."""


def certificate_files(profile: Profile, name: str) -> dict[str, tuple[str, bytes]]:
    """Key in [802-1x] -> file name and content of each certificate; the files are next to the keyfile `name`.

    Two references to one file on the old system share one file here, too: for PKCS#12, NetworkManager requires the
    certificate and the key to have the same path. The suffix is always .pem: NetworkManager never takes such a file for
    a connection, and detects formats by content.
    """
    names: dict[bytes, str] = {}
    files = {}
    for key, certificate in named_certificates(profile.eap).items():
        files[key] = (names.setdefault(certificate.content, f"{name}-{key}.pem"), certificate.content)
    return files


def named_certificates(eap: Eap | None) -> dict[str, Certificate]:
    """Key in [802-1x] -> each certificate."""
    if eap is None:
        return {}
    named = {
        "ca-cert": eap.ca_cert,
        "client-cert": eap.client_cert or (eap.private_key if "tls" in eap.methods else None),
        "private-key": eap.private_key,
        "phase2-ca-cert": eap.inner_ca_cert,
        "phase2-client-cert": eap.inner_client_cert,
        "phase2-private-key": eap.inner_private_key,
        "pac-file": eap.pac_file,
    }
    return {key: certificate for key, certificate in named.items() if certificate is not None}


def write_keyfile(profile: Profile, name: str) -> Keyfile:
    """The keyfile of a profile, with the id `name`; its certificates are next to it."""
    file = profile.keyfile or Keyfile()
    for group, key, value in _values(profile, name):
        file = file.with_raw(group, key, value)
    return _with_old_names(file)


def _with_old_names(file: Keyfile) -> Keyfile:
    """The file with both names of what makes it a port: the one since 1.46, and the one that all versions read.

    1.46 and later take both for one property (NetworkManager, NEWS of 1.46 and nm-setting-connection.c).
    """
    for new, old in _OLD_NAMES.items():
        value = file.raw("connection", new)
        if value is not None:
            file = file.with_raw("connection", old, value)
    return file


def _values(profile: Profile, name: str) -> Iterator[Value]:
    yield "connection", "id", escape(name)
    if profile.keyfile is None:
        yield from _connection(profile)
        yield from _device(profile)
        if profile.wifi:
            yield from _wifi(profile.wifi)
        if profile.eap:
            yield from _eap(profile.eap)
        if profile.modem:
            yield from _modem(profile.modem, str(profile.kind))
        yield from _ip("ipv4", profile.ipv4 or Ip())
        yield from _ip("ipv6", profile.ipv6 or Ip())
    for key, (file, _) in certificate_files(profile, name).items():
        yield "802-1x", key, f"{CONNECTIONS_DIR}/{file}"


def _connection(profile: Profile) -> Iterator[Value]:
    yield "connection", "type", str(profile.kind)
    if profile.interface:
        yield "connection", "interface-name", escape(profile.interface)
    if not profile.autoconnect:
        yield "connection", "autoconnect", "false"
    if profile.priority:
        priority = max(-PRIORITY_LIMIT, min(PRIORITY_LIMIT, profile.priority))
        yield "connection", "autoconnect-priority", str(priority)


def _device(profile: Profile) -> Iterator[Value]:
    if profile.modem:
        if profile.mtu:
            yield str(profile.kind), "mtu", str(profile.mtu)
        return
    group = "wifi" if profile.kind is Kind.WIFI else "ethernet"
    if profile.mac:
        yield group, "mac-address", profile.mac
    if profile.cloned_mac:
        yield group, "cloned-mac-address", profile.cloned_mac
    if profile.mtu:
        yield group, "mtu", str(profile.mtu)
    if profile.vlan:
        yield "vlan", "id", str(profile.vlan.id)
        if profile.vlan.parent:
            yield "vlan", "parent", escape(profile.vlan.parent)


def _wifi(wifi: Wifi) -> Iterator[Value]:
    yield "wifi", "ssid", dump_ssid(wifi.ssid)
    yield "wifi", "mode", str(wifi.mode)
    if wifi.hidden:
        yield "wifi", "hidden", "true"
    if wifi.bssid:
        yield "wifi", "bssid", wifi.bssid
    if wifi.band:
        yield "wifi", "band", wifi.band
        if wifi.channel:
            yield "wifi", "channel", str(wifi.channel)
    if wifi.security is not Security.OPEN:
        yield from _wifi_security(wifi)


def _wifi_security(wifi: Wifi) -> Iterator[Value]:
    management = "none" if wifi.security is Security.WEP else str(wifi.security)
    yield "wifi-security", "key-mgmt", management
    if wifi.pmf is not Pmf.DEFAULT:
        yield "wifi-security", "pmf", str(wifi.pmf)
    if wifi.secret:
        yield "wifi-security", "psk", escape(wifi.secret)
    if wifi.mode is Mode.ADHOC and wifi.security is Security.PSK:
        yield "wifi-security", "proto", "rsn;"
    if wifi.wep:
        yield from _wep(wifi.wep)


def _wep(wep: Wep) -> Iterator[Value]:
    for number, key in enumerate(wep.keys):
        if key:
            yield "wifi-security", f"wep-key{number}", escape(key)
    yield "wifi-security", "wep-key-type", _WEP_KEY
    yield "wifi-security", "wep-tx-keyidx", str(wep.index)
    yield "wifi-security", "auth-alg", "shared" if wep.shared else "open"


def _eap(eap: Eap) -> Iterator[Value]:
    group = "802-1x"
    yield group, "eap", join_list(eap.methods)
    texts = {
        "identity": eap.identity,
        "anonymous-identity": eap.anonymous_identity,
        "password": eap.password,
        "ca-path": eap.ca_path,
        "private-key-password": eap.private_key_password,
        "phase2-auth": eap.inner,
        "phase2-autheap": eap.inner_eap,
        "phase2-private-key-password": eap.inner_private_key_password,
        "subject-match": eap.subject_match,
        "domain-match": eap.domain_match,
        "domain-suffix-match": eap.domain_suffix_match,
    }
    for key, text in texts.items():
        if text:
            yield group, key, escape(text)
    if eap.optional:
        yield group, "optional", "true"
    if eap.password_raw:
        yield group, "password-raw", "".join(f"{byte};" for byte in eap.password_raw)
    if eap.altsubject_matches:
        yield group, "altsubject-matches", join_list(eap.altsubject_matches)
    for key, value in eap.phase1:
        yield group, key, escape(value)


def _modem(modem: Modem, group: str) -> Iterator[Value]:
    texts = {
        "apn": modem.apn,
        "number": modem.number,
        "username": modem.username,
        "password": modem.password,
        "pin": modem.pin,
        "network-id": modem.network_id,
        "device-id": modem.device_id,
        "sim-id": modem.sim_id,
        "sim-operator-id": modem.sim_operator_id,
    }
    for key, text in texts.items():
        if text:
            yield group, key, escape(text)
    if modem.auto_config:
        yield group, "auto-config", "true"


def _ip(group: str, ip: Ip) -> Iterator[Value]:
    yield group, "method", str(ip.method)
    for number, address in enumerate(ip.addresses, start=1):
        yield group, f"address{number}", address
    if ip.gateway:
        yield group, "gateway", ip.gateway
    if ip.dns:
        yield group, "dns", join_list(ip.dns)
    if ip.search:
        yield group, "dns-search", join_list(ip.search)
    for number, route in enumerate((*_gateway_routes(ip), *ip.routes), start=1):
        yield from _route(group, number, route)
    if ip.metric is not None:
        yield group, "route-metric", str(ip.metric)
    flags = {
        "ignore-auto-dns": ip.ignore_auto_dns,
        "ignore-auto-routes": ip.ignore_auto_routes,
        "never-default": ip.never_default,
    }
    for key, flag in flags.items():
        if flag:
            yield group, key, "true"
    for key, value in ip.options:
        yield group, key, value


def _gateway_routes(ip: Ip) -> Iterator[Route]:
    """A route to a gateway outside all subnets (as with a /32 address), needed by older kernels and NetworkManagers."""
    if not ip.gateway or ip.method is not Method.MANUAL:
        return
    gateway = ip_address(ip.gateway)
    if gateway.is_link_local or any(gateway in ip_interface(address).network for address in ip.addresses):
        return
    destination = f"{gateway}/{gateway.max_prefixlen}"
    if all(route.destination != destination for route in ip.routes):
        yield Route(destination=destination)


def _route(group: str, number: int, route: Route) -> Iterator[Value]:
    parts = [route.destination, route.gateway, "" if route.metric is None else str(route.metric)]
    yield group, f"route{number}", ",".join(parts).rstrip(",")
    options = {
        "mtu": "" if route.mtu is None else str(route.mtu),
        "onlink": "true" if route.on_link else "",
        "src": route.source,
        "table": "" if route.table is None else str(route.table),
        "type": "" if route.kind == "unicast" else route.kind,
    }
    text = ",".join(f"{key}={value}" for key, value in options.items() if value)
    if text:
        yield group, f"route{number}_options", text
