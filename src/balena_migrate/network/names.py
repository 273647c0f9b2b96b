# SPDX-License-Identifier: Apache-2.0
"""What the name of an interface says where the interface is not there now.

Source: systemd.net-naming-scheme(7), and the names that drivers give.
"""

from __future__ import annotations

import re

_WIRELESS = re.compile(r"(wl|ra|ath|mlan)[a-z0-9]+")
_DEVICE = re.compile(
    r"((en|wl|ww|ib|sl)[a-z0-9]*[0-9][a-z0-9]*|(eth|usb|wwan|ra|ath|mlan|bond|br|ppp|tun|tap|can)[0-9]+)(\.[0-9]+)?"
)


def is_wireless_name(name: str) -> bool:
    """Whether a Wi-Fi interface would have such a name."""
    return _WIRELESS.fullmatch(name) is not None


def is_device_name(name: str) -> bool:
    """Whether udev or a driver would give an interface such a name; people name settings for a place otherwise."""
    return _DEVICE.fullmatch(name) is not None
