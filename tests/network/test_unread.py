# SPDX-License-Identifier: Apache-2.0
"""Programs whose settings are not read are named, so that nobody misses them first on the new system."""

from __future__ import annotations

import pytest

from balena_migrate.network.sources.unread import read
from tests.support.network import Device


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/etc/hostapd/hostapd.conf", "access point"),
        ("/var/lib/iwd/ap/Home.ap", "access point"),
        ("/etc/wireguard/wg0.conf", "VPN"),
        ("/etc/openvpn/client/office.conf", "VPN"),
        ("/etc/ppp/peers/gprs", "pppd"),
        ("/etc/wvdial.conf", "wvdial"),
    ],
)
def test_what_is_not_read_is_told(device: Device, place: str, words: str) -> None:
    device.put(place, "anything")
    (problem,) = read(device.system).problems
    assert (problem.source, problem.lost) == (place, True) and words in problem.reason


def test_the_example_of_debians_package_is_nobodys_connection(device: Device) -> None:
    device.put("/etc/ppp/peers/provider", "")
    assert not read(device.system).problems
