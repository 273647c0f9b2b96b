# SPDX-License-Identifier: Apache-2.0
"""What the virtual device's owner has on it: networks, data, a config.json, settings.

All keys and passphrases here are invented.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

HOME_DIR = "root/migration"
SETTINGS_FILE = "etc/balena-migrate.conf"
CONFIG_JSON_NAME = "config.json"


@dataclass(frozen=True, kw_only=True)
class WifiNetwork:
    """A Wi-Fi network that the new system must know, too; without a passphrase, it is open."""

    ssid: str
    passphrase: str = field(default="", repr=False)


NETWORKS = (
    WifiNetwork(ssid="Depot Hall 3", passphrase="crates;and#pallets"),
    WifiNetwork(ssid="depot-guest"),
    WifiNetwork(ssid="Yard", passphrase="seven gates 77"),
)

_WPA_SUPPLICANT = """\
ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev
update_config=1
country=DE

network={
    ssid="Depot Hall 3"
    psk="crates;and#pallets"
    key_mgmt=WPA-PSK
}

network={
    ssid="depot-guest"
    key_mgmt=NONE
}
"""

_KEYFILE = """\
[connection]
id=Yard
uuid=6a1d9c1e-52b5-4c6f-93b7-0d4e7c54a0f8
type=wifi

[wifi]
mode=infrastructure
ssid=Yard

[wifi-security]
key-mgmt=wpa-psk
psk=seven gates 77

[ipv4]
method=auto

[ipv6]
addr-gen-mode=stable-privacy
method=auto
"""

PRIVATE_FILES: Mapping[str, str] = {
    "etc/wpa_supplicant/wpa_supplicant.conf": _WPA_SUPPLICANT,
    "etc/NetworkManager/system-connections/Yard.nmconnection": _KEYFILE,
}
"""Mode 0600: NetworkManager ignores keyfiles that others may read."""


def random_bytes(seed: str, size: int) -> bytes:
    """Incompressible bytes, the same on every call."""
    return hashlib.shake_256(seed.encode()).digest(size)


def data_files() -> dict[str, bytes]:
    """The data to keep."""
    readings = "".join(f"2026-01-{day:02}T00:00:00Z,{day * 37 % 101}\n" for day in range(1, 32))
    return {
        "srv/depot/readings.csv": readings.encode(),
        "srv/depot/Fotos/Halle 3 - Südtor.jpg": random_bytes("photo", 300_000),
        "srv/depot/empty": b"",
    }


def config_json(device_type: str) -> bytes:
    """A config.json as a fleet's owner downloads it."""
    values = {
        "applicationName": "depot",
        "applicationId": 1414213,
        "deviceType": device_type,
        "userId": 31415,
        "username": "depot_owner",
        "appUpdatePollInterval": 900000,
        "listenPort": 48484,
        "vpnPort": 443,
        "apiEndpoint": "https://api.balena-cloud.com",
        "vpnEndpoint": "vpn.balena-cloud.com",
        "registryEndpoint": "registry2.balena-cloud.com",
        "deltaEndpoint": "https://delta.balena-cloud.com",
        "apiKey": hashlib.md5(b"the lab's fleet", usedforsecurity=False).hexdigest(),
    }
    return json.dumps(values, indent=2).encode()


def default_settings(image_name: str) -> dict[str, str]:
    """The settings of a complete migration that nothing blocks."""
    return {
        "HOME_DIR": f"/{HOME_DIR}",
        "IMAGE_NAME": image_name,
        "CONFIG_JSON": CONFIG_JSON_NAME,
        "NO_FLASH": "FALSE",
        "DO_REBOOT": "TRUE",
        "MIGRATE_ALL_WIFIS": "TRUE",
        "BACKUP_DIRECTORIES": "/etc /srv",
        # The virtual device has no Internet access.
        "SKIP_CHECKS": "api vpn time",
    }


def settings_text(settings: Mapping[str, str]) -> str:
    """The settings file."""
    return "".join(f'{key}="{value}"\n' for key, value in settings.items())
