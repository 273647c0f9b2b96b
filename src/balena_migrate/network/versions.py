# SPDX-License-Identifier: Apache-2.0
"""Which NetworkManager and which Wi-Fi an image has, and what of a keyfile they do not take.

A key that NetworkManager does not know is ignored without a word; for a value or a connection type that it does not
know, the whole keyfile is (nm-keyfile.c and the verify functions of libnm-core).
"""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.core.os_version import Version, is_date, parse_version
from balena_migrate.network.model import Method, Profile
from balena_migrate.network.write.keyfile import write_keyfile

NETWORKMANAGERS: tuple[tuple[Version, int], ...] = (
    ((0, 0, 0), 4),
    ((2, 0, 1), 6),
    ((2, 0, 7), 8),
    ((2, 8, 0), 10),
    ((2, 13, 3), 12),
    ((2, 29, 0), 14),
    ((2, 37, 0), 18),
    ((2, 43, 0), 20),
    ((2, 68, 0), 28),
    ((2, 88, 10), 32),
    ((2, 108, 0), 40),
    ((5, 2, 0), 46),
    ((6, 10, 0), 52),
)
"""From this balenaOS on it has NetworkManager 1.x (meta-balena, networkmanager_*.bb at its tags)."""

WPA3_SINCE: dict[str, Version] = {"sae": (6, 5, 50), "owe": (7, 0, 6)}
"""The balenaOS whose wpa_supplicant is the first that can do it (meta-balena f293e6061, 0e38fdbb1)."""
ESR: Version = (2, 43, 0)
"""What the first release of the form 2019.10.0 was made from. Later ones name a date, and may be hardly newer."""

UNKNOWN: Version = (0, 0, 0)

_IPV6_DISABLED_SINCE = 20
_EMPTY_APN_SINCE = 22
_VALUES = {
    ("connection", "type"): {"macsec": 6, "dummy": 8, "wireguard": 16, "vrf": 24, "veth": 30, "hsr": 46},
    ("wifi-security", "key-mgmt"): {"sae": 16, "owe": 24, "wpa-eap-suite-b-192": 30},
    ("wifi", "cloned-mac-address"): {"stable-ssid": 46},
}
_WORDS = {
    ("ipv6", "addr-gen-mode"): {"default": (40, "stable-privacy"), "default-or-eui64": (40, "eui64")},
    ("ipv4", "dhcp-client-id"): {
        **dict.fromkeys(("mac", "perm-mac", "stable"), (12, "")),
        "duid": (16, ""),
        "ipv6-duid": (30, ""),
        "none": (46, ""),
    },
}
"""Words that an older NetworkManager takes for something else, with the first 1.x that knows them and what it did until
then; "" where there is no word for that (nm-keyfile.c, nm-device.c: _prop_get_ipv4_dhcp_client_id)."""
_IP_KEYS = """
    route-table 10, dhcp-iaid 22, dhcp-hostname-flags 22, dhcp-reject-servers 28, required-timeout 34,
    auto-route-ext-gw 42, replace-local-rule 44, dhcp-dscp 46, dhcp-send-release 48, routed-dns 52,
    dhcp-send-hostname-v2 52, shared-dhcp-range 52, shared-dhcp-lease-time 52, forwarding 54
"""
_KEYS = {
    "connection": """
        auth-retries 10, mdns 12, llmnr 14, multi-connect 14, wait-device-timeout 20, mud-url 26, dns-over-tls 34,
        mptcp-flags 40, wait-activation-delay 40, down-on-poweroff 48, ip-ping-addresses 52,
        ip-ping-addresses-require-all 52, ip-ping-timeout 52, dnssec 56
    """,
    "802-1x": """
        ca-cert-password 8, client-cert-password 8, phase2-ca-cert-password 8, phase2-client-cert-password 8,
        phase1-auth-flags 8, auth-timeout 8, optional 22, domain-match 24, phase2-domain-match 24, openssl-ciphers 48
    """,
    "wifi": "wake-on-wlan 12, ap-isolation 28, channel-width 50",
    "wifi-security": "pmf 10, wps-method 10, fils 12",
    "ethernet": "accept-all-mac-addresses 32",
    "vlan": "protocol 42",
    "gsm": """
        mtu 8, auto-config 22, initial-eps-bearer-configure 44, initial-eps-bearer-apn 44,
        initial-eps-bearer-username 52, initial-eps-bearer-password 52, device-uid 56
    """,
    "cdma": "mtu 8",
    "bridge": """
        group-forward-mask 10, vlan-filtering 18, vlan-default-pvid 18, vlans 18, group-address 24, vlan-protocol 24
    """,
    "bridge-port": "vlans 18",
    "bond-port": "queue-id 34, prio 44",
    "wireguard": "ip4-auto-default-route 20, ip6-auto-default-route 20",
    "ipv4": f"{_IP_KEYS}, dhcp-vendor-class-identifier 28, link-local 52, dhcp-ipv6-only-preferred 52, clat 58",
    "ipv6": f"""{_IP_KEYS}, dhcp-duid 12, ra-timeout 24, mtu 40, dhcp-pd-hint 44, temp-valid-lifetime 48,
        temp-preferred-lifetime 48""",
}
"""Group -> keys, each with the x of the first 1.x that knows it (NetworkManager, "Since" in src/libnm-core-impl)."""


def _first_versions(text: str) -> dict[str, int]:
    return {key: int(since) for key, since in (pair.split() for pair in text.split(","))}


_SINCE = {group: _first_versions(text) for group, text in _KEYS.items()}


def plausible_version(os_version: str) -> Version:
    """The balenaOS that an image is at least: its own version, that of the first ESR for one of the form 2023.10.0, or
    the oldest of all if it is not known."""
    version = parse_version(os_version)
    if version is None:
        return UNKNOWN
    return ESR if is_date(version) else version


def networkmanager_version(os_version: str) -> int:
    """The x of the image's NetworkManager 1.x; between known ones the older. See plausible_version for others."""
    version = plausible_version(os_version)
    return [manager for first, manager in NETWORKMANAGERS if first <= version][-1]


def find_refusal(profile: Profile, os_version: str) -> str:
    """Why the image's NetworkManager would not take the profile, or its Wi-Fi not join the network; "" if they do."""
    file = write_keyfile(profile, profile.name)
    management = file.text("wifi-security", "key-mgmt")
    first = WPA3_SINCE.get(management)
    if first and plausible_version(os_version) < first:
        since = ".".join(map(str, first))
        return (
            f"balenaOS can do {management.upper()} (WPA3) since {since}, and {_image(os_version)}; take a newer image"
        )
    manager = networkmanager_version(os_version)
    for (group, key), values in _VALUES.items():
        text = file.text(group, key)
        if values.get(text, 0) > manager:
            return f"{group}.{key}={text} {_too_new(values[text], os_version)}"
    if file.raw("gsm", "apn") == "" and manager < _EMPTY_APN_SINCE:
        return f"an empty gsm.apn {_too_new(_EMPTY_APN_SINCE, os_version)}"
    return ""


def fitted(profile: Profile, os_version: str) -> tuple[Profile, list[str]]:
    """The profile as the image's NetworkManager takes it, and what of it is lost."""
    manager = networkmanager_version(os_version)
    lost = []
    if manager < _IPV6_DISABLED_SINCE and profile.ipv6 and profile.ipv6.method is Method.DISABLED:
        ip = replace(profile.ipv6, method=Method.IGNORE)
        file = profile.keyfile and profile.keyfile.with_raw("ipv6", "method", str(Method.IGNORE))
        profile = replace(profile, ipv6=ip, keyfile=file)
        lost.append(f"IPv6 is left to the kernel, as ipv6.method=disabled {_too_new(_IPV6_DISABLED_SINCE, os_version)}")
    for (group, key), words in _WORDS.items():
        text = profile.keyfile.text(group, key) if profile.keyfile else ""
        since, older = words.get(text, (0, ""))
        if profile.keyfile and since > manager:
            plain = profile.keyfile.with_raw(group, key, older) if older else profile.keyfile.without(group, key)
            profile = replace(profile, keyfile=plain)
            lost += [] if older else [f"{group}.{key}={text} {_too_new(since, os_version)}"]
    for entry in write_keyfile(profile, profile.name).entries:
        since = _SINCE.get(entry.group, {}).get(entry.key, 0)
        if since > manager:
            lost.append(f"{entry.group}.{entry.key} {_too_new(since, os_version)}")
    return profile, lost


def _too_new(since: int, os_version: str) -> str:
    manager = networkmanager_version(os_version)
    return f"needs NetworkManager 1.{since}, and {_image(os_version)}, with NetworkManager 1.{manager} or later"


def _image(os_version: str) -> str:
    version = parse_version(os_version)
    if version is None or version == UNKNOWN:
        return "the version of the image is not known"
    return f"the image is {os_version}" + (", which may be as old as 2.43.0" if is_date(version) else "")
