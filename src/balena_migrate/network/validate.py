# SPDX-License-Identifier: Apache-2.0
"""Finds what NetworkManager would refuse or never bring up, for all sources.

Source: NetworkManager's verify functions of each setting (libnm-core-impl), IEEE 802.11 for the SSID's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface

from balena_migrate.network.files.keyfile import Keyfile, join_list
from balena_migrate.network.model import Eap, Ip, Kind, Method, Modem, Profile, Security, Vlan, Wep, Wifi

EAP_METHODS = frozenset({"leap", "md5", "tls", "peap", "ttls", "fast", "pwd"})
"""EAP methods that need nothing but a profile (SIM and AKA need a card reader)."""

INNER_METHODS = frozenset({"pap", "chap", "mschap", "mschapv2", "gtc", "otp", "md5", "tls"})
INNER_EAP_METHODS = frozenset({"md5", "mschapv2", "otp", "gtc", "tls"})
"""The values of phase2-auth and phase2-autheap (nm-settings(5))."""

SYSTEM_CERTIFICATES = "/etc/ssl/certs"
"""The only folder of certificates that also exists on the new system."""

TUNNELS = frozenset({"peap", "ttls", "fast"})
INNER_DEFAULT = "mschapv2"
"""The usual inner method of PEAP and TTLS."""

SSID_BYTES = 32
PSK_LENGTHS = range(8, 64)
_INTERFACE = re.compile(r"(?!(?:\.\.?|all|default|bonding_masters)\Z)[^\s/:%\x00-\x1f\x7f-\uffff]{1,15}")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{40}")
"""What every NetworkManager takes for one; the second form is a hash (nm-uuid.c)."""
_NAMED = ("bridge", "bond", "dummy", "wireguard")
_WITHOUT_ADDRESSES = {
    "ipv4": ("disabled", "link-local", "shared"),
    "ipv6": ("disabled", "link-local", "ignore"),
}
"""Methods with which NetworkManager takes no servers, and but for "shared" no addresses (nm-setting-ip4-config.c)."""
_UNMANAGED = re.compile(r"(balena|resin|br|veth).*")
"""Interfaces that balenaOS excludes from NetworkManager (meta-balena, NetworkManager.conf)."""


def is_unmanaged(interface: str) -> bool:
    """Whether balenaOS excludes an interface of this name from NetworkManager."""
    return _UNMANAGED.fullmatch(interface) is not None


def find_fault(profile: Profile) -> str:
    """Why the profile cannot work on the new system; "" if it can."""
    return next(_faults(profile), "")


def _faults(profile: Profile) -> Iterator[str]:
    if profile.kind in (Kind.OTHER, Kind.VLAN) and is_unmanaged(profile.interface):
        yield f"balenaOS keeps NetworkManager away from interfaces with a name such as {profile.interface}"
    if profile.wifi:
        yield from _wifi(profile.wifi, profile.eap)
    if profile.eap:
        yield from _eap(profile.eap)
    if profile.modem:
        yield from _modem(profile.modem, profile.kind)
    if profile.keyfile is None:
        yield from _own(profile)
    else:
        yield from _carried(profile, profile.keyfile)
    for ip in (profile.ipv4, profile.ipv6):
        if ip and ip.method is Method.MANUAL and not any(map(_is_address, ip.addresses)):
            yield "it has a static configuration, but no address"
        if ip and ip.gateway and not _is_address(ip.gateway):
            yield f"its gateway {ip.gateway!r} is not an address"


def _own(profile: Profile) -> Iterator[str]:
    """Faults of a profile that we write."""
    for mac in (profile.mac, profile.wifi.bssid if profile.wifi else ""):
        if mac and not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", mac):
            yield f"{mac!r} is not a hardware address"
    if profile.interface and not _INTERFACE.fullmatch(profile.interface):
        yield f"{profile.interface!r} is not the name of an interface"
    texts = {"passphrase": profile.wifi.secret if profile.wifi else ""}
    if profile.eap:
        eap = profile.eap
        texts |= {"identity": eap.identity, "anonymous identity": eap.anonymous_identity, "password": eap.password}
    for what, text in texts.items():
        if text.startswith("\f"):  # GLib skips it before a value, and knows no escape for it
            yield f"its {what} starts with a form feed, which a keyfile cannot represent"
    if profile.vlan:
        yield from _vlan(profile.vlan, profile.mac)
    for ip, version in ((profile.ipv4, 4), (profile.ipv6, 6)):
        if ip is not None:
            yield from _ip(ip, version)


def _carried(profile: Profile, file: Keyfile) -> Iterator[str]:
    """Faults of a keyfile, which lies there also if the NetworkManager of the old system refuses it."""
    uuid = file.raw("connection", "uuid")
    if uuid is not None and not _UUID.fullmatch(uuid):
        yield "its uuid is not a UUID, so NetworkManager does not read it"
    if profile.interface and not _INTERFACE.fullmatch(profile.interface):
        yield f"{profile.interface!r} is not the name of an interface"
    kind = file.text("connection", "type")
    if kind in _NAMED and not profile.interface:
        yield f"a connection of the type {kind} needs an interface-name"
    if any(file.text("connection", key) for key in ("slave-type", "port-type")) and not profile.master:
        yield "it is a port, but does not say of what"
    if profile.vlan and not file.raw("ethernet", "mac-address"):
        parent = profile.vlan.parent
        if not (_INTERFACE.fullmatch(parent) or _UUID.fullmatch(parent)):
            yield "the VLAN's parent is neither an interface nor a UUID"
    yield from _carried_ip(file)


def _carried_ip(file: Keyfile) -> Iterator[str]:
    if file.text("ipv4", "method") in ("dhcp", "ignore"):
        yield f"ipv4.method={file.text('ipv4', 'method')} is unknown"
    for group, methods in _WITHOUT_ADDRESSES.items():
        method = file.text(group, "method")
        keys = ("dns", "dns-search") if method == "shared" else ("dns", "dns-search", "address")
        given = [key for key in file.keys(group) if file.text(group, key) and _plain(key) in keys]
        if method in methods and given:
            yield f"{group}.{given[0]} is not allowed with {group}.method={method}"
        gateway = file.text(group, "gateway")
        if gateway and not _is_address(gateway):
            yield f"{group}.gateway is not an address"


def _plain(key: str) -> str:
    """The name of a key for addresses without the number, and the same for both of its forms."""
    return re.sub(r"^address(es)?[0-9]*$", "address", key)


def _modem(modem: Modem, kind: Kind) -> Iterator[str]:
    if kind is Kind.CDMA and not modem.number:
        yield "a CDMA modem needs a number to call"
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", modem.apn):
        yield "an APN has up to 64 letters, digits, dots, hyphens and underscores, but this one has others"
    for what, text in (("network-id", modem.network_id), ("sim-operator-id", modem.sim_operator_id)):
        if text and not re.fullmatch(r"[0-9]{5,6}", text):
            yield f"{what} has 5 or 6 digits, but this one does not"


def _vlan(vlan: Vlan, mac: str) -> Iterator[str]:
    if not 0 <= vlan.id <= 4094:
        yield f"{vlan.id} is not a VLAN id"
    if not (mac or _INTERFACE.fullmatch(vlan.parent)):
        yield "the VLAN's interface is not named"


def _wifi(wifi: Wifi, eap: Eap | None) -> Iterator[str]:
    if not 1 <= len(wifi.ssid) <= SSID_BYTES:
        yield f"an SSID has 1 to {SSID_BYTES} bytes, but this one has {len(wifi.ssid)}"
    if wifi.security is Security.PSK and not is_psk(wifi.secret):
        yield "the passphrase must be 8 to 63 characters or 64 hexadecimal digits"
    if wifi.security is Security.SAE and not wifi.secret:
        yield "there is no passphrase"
    if wifi.security in (Security.EAP, Security.EAP_192, Security.DYNAMIC_WEP) and eap is None:
        yield "there are no settings for 802.1X"
    if wifi.security is Security.WEP:
        yield from _wep(wifi.wep)
    if "\0" in wifi.secret:
        yield "the passphrase contains a NUL byte"


def is_psk(secret: str) -> bool:
    """Whether it is valid for WPA: 8 to 63 bytes, or a key of 64 hexadecimal digits."""
    if re.fullmatch(r"[0-9A-Fa-f]{64}", secret):
        return True
    return len(secret.encode("utf-8", "surrogateescape")) in PSK_LENGTHS


def _wep(wep: Wep | None) -> Iterator[str]:
    if wep is None or not wep.keys[wep.index]:
        yield "the selected WEP key is missing"
        return
    for key in wep.keys:
        if key and not re.fullmatch(r"[ -~]{5}|[ -~]{13}|[0-9A-Fa-f]{10}|[0-9A-Fa-f]{26}", key):
            yield "a WEP key has 5 or 13 characters, or 10 or 26 hexadecimal digits"


def _eap(eap: Eap) -> Iterator[str]:
    usable = _usable_methods(eap)
    if not usable:
        yield f"802.1X with {', '.join(eap.methods) or 'no method'} cannot be carried over"
        return
    for inner, known in ((eap.inner, INNER_METHODS), (eap.inner_eap, INNER_EAP_METHODS)):
        if inner and inner not in known:
            yield f"the inner method {inner} of 802.1X is not known to NetworkManager"
    if eap.ca_path and eap.ca_path.rstrip("/") != SYSTEM_CERTIFICATES:
        yield f"its certificates are an entire folder ({eap.ca_path}), which cannot be carried over"
    if "tls" in usable and len(usable) == 1:
        if not eap.identity:
            yield "EAP-TLS needs an identity"
        if eap.private_key is None:
            yield "EAP-TLS needs a private key"
    elif not eap.identity:
        yield "802.1X needs an identity"
    elif not (eap.password or eap.password_raw or eap.private_key or eap.inner_private_key):
        yield "802.1X needs a password, but the source has none"


def _usable_methods(eap: Eap) -> tuple[str, ...]:
    """Those that NetworkManager knows; TLS beside others only with its certificate, as it asks each for what it needs
    (nm-setting-8021x.c, verify_tls)."""
    known = tuple(method for method in eap.methods if method in EAP_METHODS)
    others = tuple(method for method in known if method != "tls")
    return known if eap.private_key or not others else others


def completed(profile: Profile) -> tuple[Profile, tuple[str, ...]]:
    """The profile with 802.1X in a form that NetworkManager accepts, and what that changes.

    It rejects a profile with an unknown method, and requires the inner method, which other programs find by trial.
    """
    eap = profile.eap
    if eap is None:
        return profile, ()
    changes: list[str] = []
    file = profile.keyfile
    methods = _usable_methods(eap)
    if methods != eap.methods:
        unusable = ", ".join(method for method in eap.methods if method not in methods)
        changes.append(f"NetworkManager cannot use {unusable} for 802.1X here and uses only {', '.join(methods)}")
        file = file and file.with_raw("802-1x", "eap", join_list(methods))
    inner = eap.inner
    if not inner and not eap.inner_eap and TUNNELS & set(methods):
        inner = INNER_DEFAULT
        changes.append(f"names no inner method of 802.1X, which NetworkManager needs; {inner} is assumed")
        file = file and file.with_text("802-1x", "phase2-auth", inner)
    return replace(profile, eap=replace(eap, methods=methods, inner=inner), keyfile=file), tuple(changes)


def _ip(ip: Ip, version: int) -> Iterator[str]:
    try:
        addresses = [ip_interface(address) for address in ip.addresses]
        hosts = [ip_address(text) for text in (*ip.dns, *([ip.gateway] if ip.gateway else []))]
    except ValueError as error:
        yield str(error)
        return
    for value in (*addresses, *hosts[len(ip.dns) :]):
        if value.version != version:
            yield f"{value} is not an IPv{version} address"


def _is_address(text: str) -> bool:
    try:
        ip_interface(text)
    except ValueError:
        return False
    return True
