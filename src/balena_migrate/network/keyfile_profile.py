# SPDX-License-Identifier: Apache-2.0
"""The profile that a NetworkManager keyfile describes, for every source that contains or writes keyfiles.

Source: nm-settings-keyfile(5) and NetworkManager's src/libnm-core-impl/nm-keyfile.c.
"""

from __future__ import annotations

import base64
import contextlib
import re
from dataclasses import replace
from pathlib import PurePosixPath

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.addresses import DEFAULT_DESTINATIONS
from balena_migrate.network.files.keyfile import Keyfile, parse_bytes
from balena_migrate.network.model import (
    Certificate,
    Eap,
    Ip,
    Kind,
    Match,
    Method,
    Mode,
    Modem,
    Profile,
    Security,
    Vlan,
    Wep,
    Wifi,
)
from balena_migrate.network.write.certificates import read_certificate

_ALIASES = {
    "802-11-wireless": "wifi",
    "802-11-wireless-security": "wifi-security",
    "802-3-ethernet": "ethernet",
    "wired": "ethernet",
}
_KINDS = {"wifi": Kind.WIFI, "ethernet": Kind.ETHERNET, "vlan": Kind.VLAN, "gsm": Kind.GSM, "cdma": Kind.CDMA}
_REFUSED = {
    "vpn": "needs a VPN program that the new system does not have",
    "team": "needs teamd, which the new system does not have",
    "adsl": "needs a PPPoE program that the new system may not have",
    "pppoe": "needs a PPPoE program that the new system may not have",
    "bluetooth": "is bound to a pairing that is not carried over",
    "wifi-p2p": "is Wi-Fi Direct (P2P)",
    "ovs-bridge": "needs Open vSwitch",
    "ovs-port": "needs Open vSwitch",
    "ovs-interface": "needs Open vSwitch",
    "loopback": "is the loopback interface",
}
_AS_IT_IS = (
    *("bridge", "bond", "infiniband", "wireguard", "dummy", "ip-tunnel", "macvlan", "vxlan", "veth"),
    *("tun", "macsec", "vrf", "hsr", "generic"),
)
"""Types that NetworkManager brings up by itself, and that are carried over without being parsed."""
_WITH_OWN_GROUP = (
    *("wifi", "gsm", "cdma", "wireguard", "ip-tunnel", "macvlan", "vxlan", "veth", "dummy"),
    *("infiniband", "macsec", "vrf"),
)
"""Types that require a group of the same name."""
_SECRETS = {
    "wifi-security": ("psk", "wep-key0", "leap-password"),
    "802-1x": ("password", "private-key-password", "phase2-private-key-password", "pin", "password-raw"),
    "gsm": ("password", "pin"),
    "cdma": ("password",),
    "wireguard": ("private-key",),
}
_AGENT_OWNED, _NOT_SAVED = 1, 2


def outline(keyfile: Keyfile, source: str) -> Profile | None:
    """What is lost with a keyfile that cannot be carried over: its binding, its addresses, and whether it logs in.

    None if it is so wrong that NetworkManager does not read it on the old system either.
    """
    file = _with_plain_names(keyfile)
    with contextlib.suppress(NetworkConfigError):
        kind = _type(file)
        return Profile(
            kind=_KINDS.get(kind, Kind.OTHER),
            source=source,
            interface=file.text("connection", "interface-name"),
            mac=_mac(file, kind),
            match=_patterns(file),
            autoconnect=file.flag("connection", "autoconnect", default=True),
            eap=Eap() if file.keys("802-1x") else None,
            ipv4=_ip(file, "ipv4"),
            ipv6=_ip(file, "ipv6"),
            keyfile=file,
        )
    return None


def make_profile(system: System, keyfile: Keyfile, source: str) -> tuple[Profile, list[str]]:
    """The profile of a keyfile, and what is not carried over. Raises NetworkConfigError if none of it can be."""
    file = _with_plain_names(keyfile)
    kind = _type(file)
    if kind in _REFUSED:
        raise NetworkConfigError(f"the connection type {kind} {_REFUSED[kind]}")
    if kind in _WITH_OWN_GROUP and kind not in file.groups():
        raise NetworkConfigError(f"is of the type {kind} but has no group of this name")
    if kind not in _KINDS and kind not in _AS_IT_IS:
        raise NetworkConfigError(f"the connection type {kind} is unknown")
    file = _without_flags(file)
    file, lost = _without_the_foreign(file)
    profile = Profile(
        kind=_KINDS.get(kind, Kind.OTHER),
        source=source,
        interface=file.text("connection", "interface-name") or file.text(kind, "interface-name"),
        mac=_mac(file, kind),
        match=_match(file),
        cloned_mac=_mac(file, "wifi" if kind == "wifi" else "ethernet", "cloned-mac-address"),
        autoconnect=file.flag("connection", "autoconnect", default=True),
        priority=file.number("connection", "autoconnect-priority") or 0,
        wifi=_wifi(file) if kind == "wifi" else None,
        eap=_eap(system, file, source) if file.keys("802-1x") else None,
        ipv4=_ip(file, "ipv4"),
        ipv6=_ip(file, "ipv6"),
        vlan=Vlan(id=file.number("vlan", "id") or 0, parent=file.text("vlan", "parent")) if kind == "vlan" else None,
        modem=_modem(file, kind) if kind in ("gsm", "cdma") else None,
        keyfile=file,
    )
    return profile, lost


def _with_plain_names(keyfile: Keyfile) -> Keyfile:
    """The same file with the current names of groups and connection types."""
    entries = tuple(replace(e, group=_ALIASES.get(e.group, e.group)) for e in keyfile.entries)
    return Keyfile(entries=entries, headers=tuple(_ALIASES.get(name, name) for name in keyfile.headers))


def _type(file: Keyfile) -> str:
    named = file.text("connection", "type")
    found = _ALIASES.get(named, named) or next((g for g in (*_KINDS, *_AS_IT_IS) if g in file.groups()), "")
    if not found:
        raise NetworkConfigError("names no connection type")
    return found


def _without_flags(file: Keyfile) -> Keyfile:
    """The file without the flags that leave a secret to an agent. Raises NetworkConfigError if one is not in it."""
    peers = {group: ("preshared-key",) for group in file.groups() if group.startswith("wireguard-peer.")}
    for group, keys in (_SECRETS | peers).items():
        for key in keys:
            name = "wep-key-flags" if key == "wep-key0" else f"{key}-flags"
            flags = file.number(group, name) or 0
            if flags & (_AGENT_OWNED | _NOT_SAVED) and file.raw(group, key) is None:
                place = "in a keyring" if flags & _AGENT_OWNED else "asked for each time"
                raise NetworkConfigError(f"{group}.{key} is not in the file but {place}")
            if flags & (_AGENT_OWNED | _NOT_SAVED):
                file = file.without(group, name)
    return file


def _without_the_foreign(file: Keyfile) -> tuple[Keyfile, list[str]]:
    """The file without what only makes sense on the old system: users, VPNs, times of last use."""
    lost = []
    if file.items("connection", "secondaries"):
        lost.append("the VPN that comes up with it (connection.secondaries) is not carried over")
    return file.without("connection", "permissions", "secondaries", "timestamp", "read-only"), lost


def _match(file: Keyfile) -> Match | None:
    """The patterns of [match]. Raises NetworkConfigError if they ask for the old system's kernel command line."""
    if file.items("match", "kernel-command-line"):
        raise NetworkConfigError("match.kernel-command-line asks for the command line of the old system's kernel")
    return _patterns(file)


def _patterns(file: Keyfile) -> Match | None:
    found = Match(
        names=file.items("match", "interface-name"),
        drivers=file.items("match", "driver"),
        paths=file.items("match", "path"),
    )
    return found if found != Match() else None


def _mac(file: Keyfile, group: str, key: str = "mac-address") -> str:
    raw = file.text(group, key)
    if ";" in raw or raw.isdigit():
        return ":".join(f"{byte:02x}" for byte in parse_bytes(raw))
    return raw.lower()


def _modem(file: Keyfile, kind: str) -> Modem:
    """The modem as far as the checks need it. Raises NetworkConfigError if NetworkManager does not read it."""
    for key in ("number", "username", "device-id", "sim-id", "network-id", "sim-operator-id"):
        if file.raw(kind, key) is not None and not file.text(kind, key):
            raise NetworkConfigError(f"{kind}.{key} is empty, so NetworkManager does not read it either")
    return Modem(
        apn=file.text(kind, "apn"),
        number=file.text(kind, "number"),
        network_id=file.text(kind, "network-id"),
        sim_operator_id=file.text(kind, "sim-operator-id"),
    )


def _wifi(file: Keyfile) -> Wifi:
    mode = file.text("wifi", "mode") or "infrastructure"
    if mode not in ("infrastructure", "adhoc"):
        raise NetworkConfigError({"ap": "access point"}.get(mode, mode) + " mode cannot be carried over")
    return Wifi(
        ssid=parse_bytes(file.raw("wifi", "ssid") or ""),
        security=_security(file),
        mode=Mode(mode),
        hidden=file.flag("wifi", "hidden", default=False),
        bssid=file.text("wifi", "bssid"),
        secret=file.text("wifi-security", "psk"),
        wep=_wep(file),
    )


def _security(file: Keyfile) -> Security:
    management = file.text("wifi-security", "key-mgmt")
    if not file.keys("wifi-security"):
        return Security.OPEN
    if management == "none":
        return Security.WEP if _wep(file) else Security.OPEN
    if file.text("wifi-security", "auth-alg") == "leap":
        raise NetworkConfigError("LEAP instead of 802.1X cannot be carried over")
    try:
        return Security(management)
    except ValueError:
        raise NetworkConfigError("its key-mgmt is unknown") from None


def _wep(file: Keyfile) -> Wep | None:
    one, two, three, four = (file.text("wifi-security", f"wep-key{number}") for number in range(4))
    if not (one or two or three or four):
        return None
    return Wep(
        keys=(one, two, three, four),
        index=file.number("wifi-security", "wep-tx-keyidx") or 0,
        shared=file.text("wifi-security", "auth-alg") == "shared",
    )


def _eap(system: System, file: Keyfile, source: str) -> Eap:
    def certificate(key: str) -> Certificate | None:
        return _certificate(system, file.raw("802-1x", key), key, source)

    return Eap(
        methods=file.items("802-1x", "eap"),
        identity=file.text("802-1x", "identity"),
        anonymous_identity=file.text("802-1x", "anonymous-identity"),
        password=file.text("802-1x", "password"),
        password_raw=parse_bytes(file.raw("802-1x", "password-raw") or ""),
        ca_cert=certificate("ca-cert"),
        ca_path=file.text("802-1x", "ca-path"),
        client_cert=certificate("client-cert"),
        private_key=certificate("private-key"),
        private_key_password=file.text("802-1x", "private-key-password"),
        inner=file.text("802-1x", "phase2-auth"),
        inner_eap=file.text("802-1x", "phase2-autheap"),
        inner_ca_cert=certificate("phase2-ca-cert"),
        inner_client_cert=certificate("phase2-client-cert"),
        inner_private_key=certificate("phase2-private-key"),
        inner_private_key_password=file.text("802-1x", "phase2-private-key-password"),
        pac_file=certificate("pac-file"),
    )


def _certificate(system: System, raw: str | None, key: str, source: str) -> Certificate | None:
    """A certificate: given by path, or in the keyfile itself as base64 or a list of bytes."""
    if not raw:
        return None
    if raw.startswith("data:;base64,"):
        try:
            return Certificate(path="data:", content=base64.b64decode(raw.partition(",")[2], validate=True))
        except ValueError:  # binascii.Error, and for what is not ASCII
            raise NetworkConfigError(f"802-1x.{key} is not base64") from None
    data = parse_bytes(raw)
    if not data.isascii() or (";" in raw and not data.startswith(b"file://")):
        return Certificate(path="data:", content=data)
    path = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    return read_certificate(system, path, f"802-1x.{key}", str(PurePosixPath(source).parent))


def _ip(file: Keyfile, group: str) -> Ip:
    """The addresses as far as the checks need them; the keyfile itself carries them over."""
    method = file.text(group, "method") if group in file.groups() else "auto"
    if method not in set(Method):
        raise NetworkConfigError(f"{group}.method={method} is unknown")
    keys = [key for key in file.keys(group) if re.fullmatch(r"address(es)?[0-9]*", key)]
    pairs = [_address(file.text(group, key), 32 if group == "ipv4" else 128) for key in keys]
    routes = [_address(file.text(group, key), 0) for key in file.keys(group) if re.fullmatch(r"routes?[0-9]*", key)]
    defaults = [gateway for destination, gateway in routes if destination in DEFAULT_DESTINATIONS.values()]
    gateways = [*(gateway for _, gateway in pairs), file.text(group, "gateway"), *defaults]
    return Ip(
        method=Method(method),
        addresses=tuple(address for address, _ in pairs if address),
        gateway=next(filter(None, gateways), ""),
        dns=file.items(group, "dns"),
        ignore_auto_dns=file.flag(group, "ignore-auto-dns", default=False),
        ignore_auto_routes=file.flag(group, "ignore-auto-routes", default=False),
        never_default=file.flag(group, "never-default", default=False),
    )


def _address(text: str, longest: int) -> tuple[str, str]:
    """An address in CIDR form and its gateway, from "ip/length,gateway" or the old "ip;length;gateway;"."""
    parts = [part.strip() for part in re.split(r"[;,/ ]", text)]
    if not parts[0]:
        return "", ""
    length = parts[1] if len(parts) > 1 and parts[1] else str(longest)
    return f"{parts[0]}/{length}", parts[2] if len(parts) > 2 else ""
