# SPDX-License-Identifier: Apache-2.0
"""A hardware address that is set outside of the profiles goes along, or its loss is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import (
    DefaultRoute,
    Interface,
    InterfaceAddress,
    InterfaceKind,
    NetworkFacts,
    read_network_facts,
)
from balena_migrate.network.files.keyfile import Keyfile
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from tests.support.network import ALL_WIFIS, Device, carried_keyfiles

MAC = "02:00:5e:70:00:07"
LINK = f"[Match]\nOriginalName=end4\n[Link]\nMACAddress={MAC}\n"
LINK_FILE = "/etc/systemd/network/10-end4.link"


def now(kind: InterfaceKind = InterfaceKind.ETHERNET, *, permanent: bool = False) -> NetworkFacts:
    return NetworkFacts(
        interfaces=(Interface(name="end4", kind=kind, mac=MAC, mac_permanent=permanent, ssid=b"Crane"),),
        addresses=(InterfaceAddress(interface="end4", address="172.20.9.4/24", dynamic=True),),
        default_routes=(DefaultRoute(interface="end4", gateway="172.20.9.1"),),
    )


def carried(device: Device, network: NetworkFacts) -> tuple[list[Keyfile], list[str]]:
    """The keyfiles, and the codes of all findings."""
    settings = read_network(device.system, network)
    selection = select_profiles(ALL_WIFIS, settings, device.system)
    files = carried_keyfiles(device.system, settings, network)
    return files, [finding.code for finding in check_network(ALL_WIFIS, network, settings, selection)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (LINK_FILE, LINK),
        (LINK_FILE, LINK.replace(MAC, MAC.upper().replace(":", "-"))),
        ("/etc/NetworkManager/NetworkManager.conf", f"[connection]\nethernet.cloned-mac-address={MAC}\n"),
        ("/etc/NetworkManager/conf.d/a.conf", f"[connection-x]\nethernet.cloned-mac-address={MAC}\n"),
    ],
)
def test_an_interface_without_a_profile_gets_one(device: Device, path: str, text: str) -> None:
    device.put(path, text)
    (file,), codes = carried(device, now())
    assert file.raw("ethernet", "cloned-mac-address") == MAC and file.text("ipv4", "method") == "auto"
    assert codes == ["network-online"]


def test_a_wifi_keyfile_gets_it(device: Device) -> None:
    device.put("/etc/NetworkManager/system-connections/crane", "[connection]\ntype=wifi\n[wifi]\nssid=Crane\n")
    device.put("/etc/NetworkManager/conf.d/a.conf", f"[connection]\nwifi.cloned-mac-address={MAC}\n")
    (file,), codes = carried(device, now(InterfaceKind.WIFI))
    assert file.raw("wifi", "cloned-mac-address") == MAC and codes == ["network-online"]


def test_a_keyfile_bound_to_the_devices_own_address_is_that_of_the_one_that_it_gives(device: Device) -> None:
    bound = f"[connection]\ntype=ethernet\n[ethernet]\nmac-address=02:00:5e:70:00:01\ncloned-mac-address={MAC}\n"
    fixed = "[ipv4]\nmethod=manual\naddress1=172.20.8.4/24,172.20.8.1\ndns=172.20.0.2;\n"
    device.put("/etc/NetworkManager/system-connections/bound", bound + fixed)
    there = replace(
        now(),
        addresses=(InterfaceAddress(interface="end4", address="172.20.8.4/24"),),
        default_routes=(DefaultRoute(interface="end4", gateway="172.20.8.1"),),
    )
    _, codes = carried(device, there)
    assert codes == ["network-online"]


def test_a_profile_with_an_address_of_its_own_keeps_it(device: Device) -> None:
    own = "[connection]\ntype=ethernet\ninterface-name=end4\n[ethernet]\ncloned-mac-address=02:00:5e:70:00:08\n"
    device.put("/etc/NetworkManager/system-connections/own", own)
    device.put(LINK_FILE, LINK)
    (file,), codes = carried(device, now())
    assert file.raw("ethernet", "cloned-mac-address") == "02:00:5e:70:00:08"
    assert codes == ["network-online", "network-mac-changes"]


def test_one_that_nothing_sets_is_told(device: Device) -> None:
    device.put(LINK_FILE, "[Match]\nOriginalName=end4\n[Link]\nMACAddressPolicy=none\n")
    assert carried(device, now()) == ([], ["network-online", "network-mac-changes"])


@pytest.mark.parametrize(
    ("path", "match"),
    [
        (LINK_FILE, "OriginalName=end4"),
        (LINK_FILE, "OriginalName=*"),
        (LINK_FILE, "Driver=crane*"),
        ("/usr/lib/systemd/network/99-default.link", "OriginalName=*"),
    ],
)
def test_one_that_systemd_makes_of_the_machines_id_goes_along(device: Device, path: str, match: str) -> None:
    """The new system has another id; a device with an address of its own is left alone by that policy."""
    device.put(path, f"[Match]\n{match}\n[Link]\nMACAddressPolicy=persistent\n")
    network = now()
    network = replace(network, interfaces=(replace(network.interfaces[0], driver="crane_net"),))
    (file,), codes = carried(device, network)
    assert file.raw("ethernet", "cloned-mac-address") == MAC and codes == ["network-online"]


@pytest.mark.parametrize("match", ["OriginalName=end5", "Host=elsewhere\nOriginalName=*", "Driver=oven"])
def test_a_policy_for_other_devices_is_not_the_reason(device: Device, match: str) -> None:
    device.put(LINK_FILE, f"[Match]\n{match}\n[Link]\nMACAddressPolicy=persistent\n")
    assert carried(device, now()) == ([], ["network-online", "network-mac-changes"])


def test_the_first_link_file_that_fits_decides(device: Device) -> None:
    device.put(LINK_FILE, "[Match]\nOriginalName=end4\n[Link]\nMACAddressPolicy=none\n")
    device.put(
        "/usr/lib/systemd/network/99-default.link", "[Match]\nOriginalName=*\n[Link]\nMACAddressPolicy=persistent\n"
    )
    assert carried(device, now())[1] == ["network-online", "network-mac-changes"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (LINK_FILE, "[Match]\nOriginalName=end4\n[Link]\nMACAddressPolicy=random\n"),
        ("/etc/NetworkManager/conf.d/a.conf", "[connection]\nethernet.cloned-mac-address=random\n"),
    ],
)
def test_another_one_each_time_stays_so(device: Device, path: str, text: str) -> None:
    device.put(path, text)
    (file,), codes = carried(device, now())
    assert file.raw("ethernet", "cloned-mac-address") == "random" and codes == ["network-online"]


def test_a_stable_one_goes_along_for_the_network_in_use(device: Device) -> None:
    for name in ("Crane", "Hoist"):
        text = f"[connection]\ntype=wifi\n[wifi]\nssid={name}\n"
        device.put(f"/etc/NetworkManager/system-connections/{name}", text)
    device.put("/etc/NetworkManager/conf.d/a.conf", "[connection]\nwifi.cloned-mac-address=stable\n")
    files, codes = carried(device, now(InterfaceKind.WIFI))
    macs = {file.text("wifi", "ssid"): file.raw("wifi", "cloned-mac-address") for file in files}
    assert macs == {"Crane": MAC, "Hoist": "stable"} and codes == ["network-online"]


def test_a_bridge_that_stays_behind_takes_its_address_with_it(device: Device) -> None:
    network = now()
    bridge = replace(network.interfaces[0], kind=InterfaceKind.BRIDGE, mac_permanent=False)
    port = Interface(name="end5", kind=InterfaceKind.ETHERNET, mac="02:00:5e:70:00:0b", mac_permanent=True)
    assert carried(device, replace(network, interfaces=(bridge, port)))[1] == ["network-online", "network-mac-changes"]
    port = replace(port, mac=MAC)
    assert carried(device, replace(network, interfaces=(bridge, port)))[1] == ["network-online"]


def test_the_devices_own_address_needs_nothing(device: Device) -> None:
    device.put(LINK_FILE, LINK)
    assert carried(device, now(permanent=True)) == ([], ["network-online"])


def test_another_interfaces_address_is_not_taken(device: Device) -> None:
    device.put(LINK_FILE, LINK.replace(MAC, "02:00:5e:70:00:09"))
    assert carried(device, now())[0] == []


def test_networkd_sets_that_of_wifi(device: Device) -> None:
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", 'network={\n ssid="Crane"\n key_mgmt=NONE\n}\n')
    device.put("/etc/systemd/network/w.network", f"[Match]\nName=end4\n[Link]\nMACAddress={MAC}\n[Network]\nDHCP=yes\n")
    (file,), codes = carried(device, now(InterfaceKind.WIFI))
    assert file.raw("wifi", "cloned-mac-address") == MAC and codes == ["network-online"]


@pytest.mark.parametrize(("own", "permanent"), [(MAC, True), ("02:00:5e:70:00:0a", False)])
def test_wifi_that_was_set_to_its_own_address_has_its_own(device: Device, own: str, *, permanent: bool) -> None:
    for name, text in {"address": MAC, "addr_assign_type": "3", "ifindex": "4", "phy80211/macaddress": own}.items():
        device.put(f"/sys/class/net/end4/{name}", f"{text}\n")
    assert read_network_facts(device.system).interfaces[0].mac_permanent is permanent
