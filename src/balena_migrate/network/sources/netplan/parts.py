# SPDX-License-Identifier: Apache-2.0
"""Parts of a device in netplan's YAML: access points, 802.1X, modems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.files.number import find_number
from balena_migrate.network.files.yaml import Node, as_node, flag_of, text_of
from balena_migrate.network.model import Eap, Mode, Modem, Profile, Security, Wifi
from balena_migrate.network.write.certificates import read_certificate

_SECURITY = {
    "none": Security.OPEN,
    "psk": Security.PSK,
    "psk-sha256": Security.PSK,
    "sae": Security.SAE,
    "eap": Security.EAP,
    "eap-sha256": Security.EAP,
    "eap-suite-b-192": Security.EAP_192,
    "802.1x": Security.DYNAMIC_WEP,
}
_BANDS = {"5GHz": "a", "5G": "a", "2.4GHz": "bg", "2.4G": "bg", "": ""}


def access_point(system: System, ssid: str, point: Node, device: Profile) -> Profile:
    """The profile of one access point of a device. Raises NetworkConfigError."""
    auth = as_node(point.get("auth"))
    password = text_of(point, "password")
    management = text_of(auth, "key-management") or ("psk" if password or text_of(auth, "password") else "none")
    if management not in _SECURITY:
        raise NetworkConfigError("its key-management is unknown")
    security = _SECURITY[management]
    mode = text_of(point, "mode") or "infrastructure"
    if mode not in set(Mode):
        raise NetworkConfigError({"ap": "access point"}.get(mode, mode) + " mode cannot be carried over")
    channel = text_of(point, "channel")
    band = _BANDS.get(text_of(point, "band"), "")
    wifi = Wifi(
        ssid=ssid.encode("utf-8", "surrogateescape"),
        security=security,
        mode=Mode(mode),
        hidden=flag_of(point, "hidden"),
        bssid=text_of(point, "bssid"),
        band=band,
        channel=(find_number(channel) or 0) if band else 0,
        secret=text_of(auth, "password") or password if security in (Security.PSK, Security.SAE) else "",
    )
    eap = _eap(system, auth) if security in (Security.EAP, Security.EAP_192, Security.DYNAMIC_WEP) else None
    return replace(device, wifi=wifi, eap=eap)


POINT_KEYS = frozenset({"auth", "password", "mode", "channel", "band", "hidden", "bssid", "networkmanager"})


def is_login(auth: Node) -> bool:
    """Whether a wired device logs in by 802.1X."""
    return bool(auth) and text_of(auth, "key-management") != "none"


def wired_eap(system: System, auth: Node, *, by_networkd: bool) -> Eap:
    """802.1X of a wired device. Raises NetworkConfigError.

    With systemd-networkd, netplan starts a wpa_supplicant for it, and nothing waits for that.
    """
    if text_of(auth, "key-management") not in ("", "802.1x", "eap"):
        raise NetworkConfigError("its key-management is not for wired devices")
    return replace(_eap(system, auth), optional=by_networkd)


def _eap(system: System, auth: Node) -> Eap:
    def certificate(key: str) -> Any:
        path = text_of(auth, key)
        return read_certificate(system, path, key) if path else None

    return Eap(
        methods=tuple(filter(None, [text_of(auth, "method")])),
        identity=text_of(auth, "identity"),
        anonymous_identity=text_of(auth, "anonymous-identity"),
        password=text_of(auth, "password"),
        ca_cert=certificate("ca-certificate"),
        client_cert=certificate("client-certificate"),
        private_key=certificate("client-key"),
        private_key_password=text_of(auth, "client-key-password"),
        inner=text_of(auth, "phase2-auth").lower(),
    )


_LOGIN = ("apn", "username", "password")


def read_modem(device: Node) -> Modem:
    """The modem of a device. Without an APN and a login, netplan lets NetworkManager look the provider up."""
    return Modem(
        apn=text_of(device, "apn"),
        number=text_of(device, "number"),
        username=text_of(device, "username"),
        password=text_of(device, "password"),
        pin=text_of(device, "pin"),
        network_id=text_of(device, "network-id"),
        device_id=text_of(device, "device-id"),
        sim_id=text_of(device, "sim-id"),
        sim_operator_id=text_of(device, "sim-operator-id"),
        auto_config=flag_of(device, "auto-config") or not (is_cdma(device) or any(text_of(device, k) for k in _LOGIN)),
    )


def is_cdma(device: Node) -> bool:
    """Whether a modem is CDMA by netplan's rule: it has a number, and no key that only GSM has."""
    gsm = ("apn", "auto-config", "device-id", "network-id", "pin", "sim-id", "sim-operator-id")
    return "number" in device and not any(key in device for key in gsm)
