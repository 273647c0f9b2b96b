# SPDX-License-Identifier: Apache-2.0
"""The profiles that a wpa_supplicant.conf describes, for every source that names or contains such settings.

Source: hostap, wpa_supplicant/config.c. Limits to ciphers (proto, pairwise, group) are not carried over:
NetworkManager accepts what the access point offers, which includes them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.files.number import find_number
from balena_migrate.network.files.wpa import parse_string, parse_text, parse_wpa_supplicant
from balena_migrate.network.model import (
    Certificate,
    Eap,
    Kind,
    Mode,
    Pmf,
    Profile,
    Reading,
    Security,
    Wep,
    Wifi,
)
from balena_migrate.network.reading import Collector, not_carried, read_config
from balena_migrate.network.write.certificates import read_certificate

_FILE = re.compile(r"wpa_supplicant-(?:(?P<driver>wired|nl80211|wext)-)?(?P<interface>[^/]+)\.conf")
"""The files of wpa_supplicant's units for one interface."""
_PMF = {"0": Pmf.DISABLE, "1": Pmf.OPTIONAL, "2": Pmf.REQUIRED}
_PSK = {"WPA-PSK", "WPA-PSK-SHA256", "FT-PSK"}
_SAE = {"SAE", "FT-SAE", "SAE-EXT-KEY", "FT-SAE-EXT-KEY"}
_EAP = {"WPA-EAP", "WPA-EAP-SHA256", "FT-EAP", "FT-EAP-SHA384"}
_PHASE1 = {
    "peapver": ("phase1-peapver", "01"),
    "peaplabel": ("phase1-peaplabel", "01"),
    "fast_provisioning": ("phase1-fast-provisioning", "0123"),
}
"""Name -> the key of [802-1x], and its values in NetworkManager."""
_NOT_NEEDED = """
    id_str proto pairwise group group_mgmt scan_freq freq_list eapol_flags proactive_key_caching wpa_ptk_rekey
    fragment_size sae_pwe eap_workaround bgscan ap_max_inactivity dtim_period beacon_int disable_ht disable_ht40
    disable_vht disable_he peerkey wpa_deny_ptk0_rekey
"""
"""Keys that affect how a network is searched for or kept connected, but not whether it can be joined."""
_CARRIED = """
    ssid psk sae_password key_mgmt scan_ssid bssid mode frequency priority disabled ieee80211w auth_alg wep_key0
    wep_key1 wep_key2 wep_key3 wep_tx_keyidx eap identity anonymous_identity password ca_cert ca_path client_cert
    private_key private_key_passwd phase1 phase2 ca_cert2 client_cert2 private_key2 private_key2_passwd pac_file
    subject_match altsubject_match domain_match domain_suffix_match
"""
_KNOWN = frozenset(f"{_NOT_NEEDED} {_CARRIED}".split())

Addressing = Callable[[Profile, str], tuple[Profile, list[str]]]
"""Gives a network its addresses by the raw value of its id_str ("" for none), and says what is not carried over."""


def read_file(
    system: System,
    path: PurePosixPath,
    interface: str = "",
    addressing: Addressing = lambda profile, _: (profile, []),
    *,
    wired: bool = False,
) -> Reading:
    """The networks of one file.

    `interface` is the one that uses the file, and `wired` whether by the driver for wired ports; by default, the file's
    name tells both.
    """
    found = Collector()
    match = _FILE.fullmatch(path.name)
    device = interface or (match["interface"] if match else "")
    wired = wired or (match is not None and match["driver"] == "wired")
    with found.guard(path, profile=_login(path, device) if wired else None):
        parsed = parse_wpa_supplicant(read_config(system, path))
        found.country = parsed.globals.get("country", "").strip('"').upper()
        found.lose(path, "", [f"line {line}: {reason}" for line, reason in parsed.faults])
        for block in parsed.networks:
            login = _login(path, device) if is_login(block.values, wired=wired) else None
            with found.guard(path, block.subject, login):
                profile, lost = make_profile(system, block.values, parsed.blobs, wired=wired)
                profile = replace(profile, source=str(path), interface=device)
                with found.guard(path, block.subject, profile):
                    addressed, more = addressing(profile, block.values.get("id_str", ""))
                    found.add(addressed, [*lost, *more])
    return found.reading()


def is_login(values: dict[str, str], *, wired: bool = False) -> bool:
    """Whether a network block is for a wired port with 802.1X; `wired` says that the driver is that for such ports."""
    named = wired and not {"eap", "identity"}.isdisjoint(values)
    return named or ("ssid" not in values and "IEEE8021X" in _management(values))


def _login(path: PurePosixPath, interface: str) -> Profile:
    """What is lost with a login for a wired port that cannot be carried over."""
    return Profile(kind=Kind.ETHERNET, source=str(path), interface=interface, eap=Eap())


def make_profile(
    system: System, values: dict[str, str], blobs: dict[str, bytes], *, wired: bool = False
) -> tuple[Profile, list[str]]:
    """The profile of a network block, and what is not carried over. Raises NetworkConfigError.

    wpa_supplicant logs a wired port in while another program gets the address, be it let in or not. So the login is
    optional for NetworkManager, too.
    """
    lost = not_carried(key for key in values if key not in _KNOWN)
    _refuse(values)
    login = is_login(values, wired=wired)
    if not login and "ssid" not in values:
        raise NetworkConfigError("names no SSID: NetworkManager cannot join just any network")
    security = Security.DYNAMIC_WEP if login else _security(values)
    if security is Security.PSK:
        lost += [f"{what} is an alternative way to join it that is not carried over" for what in _second_ways(values)]
    eap = None
    if security in (Security.EAP, Security.EAP_192, Security.DYNAMIC_WEP):
        eap = replace(_eap(system, values, blobs, lost), optional=login)
    priority = values.get("priority", "0")
    profile = Profile(
        kind=Kind.WIFI,
        source="",
        autoconnect=values.get("disabled", "0") == "0",
        priority=int(priority) if re.fullmatch(r"-?[0-9]{1,9}", priority) else 0,
        eap=eap,
    )
    if login:
        return replace(profile, kind=Kind.ETHERNET), lost
    return replace(profile, wifi=_wifi(values, security)), lost


def _refuse(values: dict[str, str]) -> None:
    mode = values.get("mode", "0")
    if mode not in ("0", "1"):
        names = {"2": "access point", "3": "Wi-Fi Direct (P2P) group owner", "5": "mesh"}
        raise NetworkConfigError(f"{names.get(mode, 'unknown')} mode (mode={mode}) cannot be carried over")
    if values.get("disabled") == "2":
        raise NetworkConfigError("a stored Wi-Fi Direct (P2P) group cannot be carried over")
    if values.get("macsec_policy", "0") != "0":
        raise NetworkConfigError("MACsec cannot be carried over")
    for key in ("psk", "sae_password", "password"):
        if values.get(key, "").startswith("ext:"):
            raise NetworkConfigError(f"{key}={values[key]} is kept in an external store, not in the file")


def _security(values: dict[str, str]) -> Security:
    """One way to protect the network, of those that key_mgmt names (default: WPA-PSK WPA-EAP)."""
    words = _management(values)
    if words & _PSK and "psk" in values:
        return Security.PSK
    if words & _SAE and ("psk" in values or "sae_password" in values):
        return Security.SAE
    if "WPA-EAP-SUITE-B-192" in words:
        return Security.EAP_192
    if words & _EAP and ("eap" in values or "identity" in values):
        return Security.EAP
    if "IEEE8021X" in words:
        return Security.DYNAMIC_WEP
    if "OWE" in words:
        return Security.OWE
    if "NONE" in words:
        return Security.WEP if any(key.startswith("wep_key") for key in values) else Security.OPEN
    if words & (_PSK | _SAE | _EAP):
        raise NetworkConfigError("has neither psk nor a login for 802.1X, so nothing can join it")
    raise NetworkConfigError("its key_mgmt is not known to NetworkManager")


def _second_ways(values: dict[str, str]) -> Iterator[str]:
    """How else a network with a psk could be joined."""
    words = _management(values)
    if words & _EAP and "eap" in values:
        yield "802.1X"
    if words & _SAE and values.get("sae_password", values["psk"]) != values["psk"]:
        yield "sae_password"


def _management(values: dict[str, str]) -> set[str]:
    return set(values.get("key_mgmt", "WPA-PSK WPA-EAP").strip('"').upper().split())


def _wifi(values: dict[str, str], security: Security) -> Wifi:
    ssid = parse_string(values["ssid"])
    bssid = values.get("bssid", "").strip('"')
    mode = Mode.ADHOC if values.get("mode") == "1" else Mode.INFRASTRUCTURE
    band, channel = _channel(values.get("frequency", "")) if mode is Mode.ADHOC else ("", 0)
    return Wifi(
        ssid=ssid,
        security=security,
        mode=mode,
        hidden=values.get("scan_ssid") == "1",
        bssid="" if bssid == "any" else bssid,
        band=band,
        channel=channel,
        pmf=_PMF.get(values.get("ieee80211w", ""), Pmf.DEFAULT),
        secret=_secret(values, security, ssid),
        wep=_wep(values) if security is Security.WEP else None,
    )


def _channel(frequency: str) -> tuple[str, int]:
    """NetworkManager's band and channel for a frequency in MHz (IEEE 802.11, annex E); "" and 0 for any other."""
    mhz = find_number(frequency) or 0
    if mhz == 2484:
        return "bg", 14
    if mhz in range(2412, 2473, 5):
        return "bg", (mhz - 2407) // 5
    return ("a", (mhz - 5000) // 5) if mhz in range(5035, 5886, 5) else ("", 0)


def _secret(values: dict[str, str], security: Security, ssid: bytes) -> str:
    if security is Security.SAE and "sae_password" in values:
        return parse_text(values["sae_password"])
    if security not in (Security.PSK, Security.SAE):
        return ""
    psk = values["psk"]
    if not psk.startswith(("P", '"')):
        if not re.fullmatch(r"[0-9A-Fa-f]{64}", psk):
            raise NetworkConfigError("psk is neither a quoted passphrase nor 64 hexadecimal digits")
        if security is Security.SAE:
            raise NetworkConfigError("WPA3-SAE needs the passphrase, but there is only a key (psk=64 digits)")
        return psk
    secret = parse_string(psk)
    if security is Security.PSK and not secret.isascii():
        return hashlib.pbkdf2_hmac("sha1", secret, ssid, 4096, 32).hex()
    return parse_text(psk)


def _wep(values: dict[str, str]) -> Wep:
    def key(number: int) -> str:
        value = values.get(f"wep_key{number}", "")
        return parse_text(value) if value.startswith('"') else value

    index = values.get("wep_tx_keyidx", "0")
    return Wep(
        keys=(key(0), key(1), key(2), key(3)),
        index=int(index) if index in ("0", "1", "2", "3") else 0,
        shared="SHARED" in values.get("auth_alg", "").upper(),
    )


def _eap(system: System, values: dict[str, str], blobs: dict[str, bytes], lost: list[str]) -> Eap:
    def text(key: str) -> str:
        return parse_text(values[key]) if key in values else ""

    def certificate(key: str) -> Certificate | None:
        name = text(key)
        if name.startswith("blob://"):
            content = blobs.get(name.removeprefix("blob://"), b"")
            if not content:
                raise NetworkConfigError(f"{key}: the file does not contain {name}")
            return Certificate(path=name, content=content)
        return read_certificate(system, name, key) if name else None

    phase2 = _phase2(text("phase2"), lost)
    methods = tuple(values.get("eap", "").strip('"').lower().split())
    if not methods:
        methods = ("tls",) if "private_key" in values else ("peap", "ttls")
        lost.append(f"names no method of 802.1X, of which NetworkManager needs one; {', '.join(methods)} is assumed")
    password = values.get("password", "")
    hashed = password.startswith("hash:")
    quoted = password.startswith(('"', 'P"'))
    return Eap(
        methods=methods,
        identity=text("identity"),
        anonymous_identity=text("anonymous_identity"),
        password=password if hashed else text("password") if quoted else "",
        password_raw=b"" if hashed or quoted else parse_string(password),
        ca_cert=certificate("ca_cert"),
        ca_path=text("ca_path"),
        client_cert=certificate("client_cert"),
        private_key=certificate("private_key"),
        private_key_password=text("private_key_passwd"),
        phase1=_phase1(text("phase1"), lost),
        inner=phase2.get("auth", ""),
        inner_eap=phase2.get("autheap", ""),
        inner_ca_cert=certificate("ca_cert2"),
        inner_client_cert=certificate("client_cert2"),
        inner_private_key=certificate("private_key2"),
        inner_private_key_password=text("private_key2_passwd"),
        pac_file=certificate("pac_file"),
        subject_match=text("subject_match"),
        altsubject_matches=tuple(part for part in text("altsubject_match").split(";") if part),
        domain_match=text("domain_match"),
        domain_suffix_match=text("domain_suffix_match"),
    )


def _phase1(text: str, lost: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for word in text.split():
        key, _, value = word.partition("=")
        if (key, value) == ("peaplabel", "0"):
            continue  # NetworkManager's default
        name, known = _PHASE1.get(key, ("", ""))
        if value in tuple(known):
            pairs.append((name, value))
        else:
            lost.append(f"{word} in phase1 is not carried over")
    return tuple(pairs)


def _phase2(text: str, lost: list[str]) -> dict[str, str]:
    """The inner method under "auth" or "autheap". NetworkManager takes one, where wpa_supplicant tries all."""
    found: dict[str, str] = {}
    for word in text.split():
        key, _, value = word.partition("=")
        if key in ("auth", "autheap") and not found:
            found[key] = value.lower()
        else:
            lost.append(f"{word} in phase2 is not carried over")
    return found
