# SPDX-License-Identifier: Apache-2.0
"""The supported systems as they are set up by default, from their files to the files of the new system."""

from __future__ import annotations

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.findings import Severity
from balena_migrate.network.select import boot_files, select_profiles
from balena_migrate.settings import Config
from tests.support.network import Device, read_networks
from tests.support.oracle import Connection, Oracle

pytestmark = pytest.mark.processes

ALL = Config(migrate_all_wifis=True)
WIFI = Interface(name="wlan0", kind=InterfaceKind.WIFI, mac="00:11:22:33:44:66", mac_permanent=True, ssid=b"Home")
WIRED = Interface(name="eth0", kind=InterfaceKind.ETHERNET, mac="00:11:22:33:44:55", mac_permanent=True)


def online(name: str, address: str, *, dynamic: bool) -> NetworkFacts:
    return NetworkFacts(
        interfaces=(WIFI, WIRED),
        addresses=(InterfaceAddress(interface=name, address=address, dynamic=dynamic),),
        default_routes=(DefaultRoute(interface=name, gateway="192.0.2.1"),),
    )


def migrate(device: Device, oracle: Oracle, facts: NetworkFacts) -> dict[str, Connection]:
    """What libnm finds in the new system, by file name; the check agrees that the device comes back."""
    settings = read_networks(device.system)
    selection = select_profiles(ALL, settings, device.system)
    findings = list(check_network(ALL, facts, settings, selection))
    assert [finding.severity for finding in findings] == [Severity.OK], findings
    files = boot_files(ALL, selection, facts)
    return {file.path.rpartition("/")[2]: oracle.read(file.content.decode()) for file in files}


def test_raspberry_pi_os_until_11(device: Device, oracle: Oracle) -> None:
    device.put("/etc/network/interfaces", "source-directory /etc/network/interfaces.d\n")
    wpa = "ctrl_interface=DIR=/var/run/wpa_supplicant GROUP=netdev\nupdate_config=1\ncountry=GB\n\n"
    wpa += 'network={\n\tssid="Home"\n\tscan_ssid=1\n\tpsk="correct horse"\n\tkey_mgmt=WPA-PSK\n}\n'
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", wpa)
    dhcpcd = "hostname\nclientid\npersistent\noption domain_name_servers, domain_name\nslaac private\n"
    dhcpcd += "interface wlan0\nstatic ip_address=192.0.2.5/24\nstatic routers=192.0.2.1\n"
    device.put("/etc/dhcpcd.conf", dhcpcd + "static domain_name_servers=192.0.2.1 8.8.8.8\n")
    found = migrate(device, oracle, online("wlan0", "192.0.2.5/24", dynamic=False))
    (wifi,) = found.values()
    assert list(found) == ["resin-wifi-01"]
    assert wifi["802-11-wireless"]["hidden"] and wifi["802-11-wireless-security"]["psk"] == "correct horse"
    assert wifi["ipv4"]["address-data"] == [{"address": "192.0.2.5", "prefix": 24}]
    assert wifi["ipv4"]["dns-data"] == ["192.0.2.1", "8.8.8.8"]
    assert "interface-name" not in wifi["connection"]


def test_raspberry_pi_os_12(device: Device, oracle: Oracle) -> None:
    text = "[connection]\nid=preconfigured\nuuid=7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11\ntype=wifi\n"
    text += "[wifi]\nmode=infrastructure\nssid=Home\nhidden=false\n"
    text += "[ipv4]\nmethod=auto\n[ipv6]\naddr-gen-mode=default\nmethod=auto\n[proxy]\n"
    text += f"[wifi-security]\nkey-mgmt=wpa-psk\npsk={'ab' * 32}\n"
    device.put("/etc/NetworkManager/system-connections/preconfigured.nmconnection", text)
    device.put("/etc/network/interfaces", "source /etc/network/interfaces.d/*\n")
    found = migrate(device, oracle, online("wlan0", "192.0.2.5/24", dynamic=True))
    assert found["resin-wifi-01"]["802-11-wireless-security"]["psk"] == "ab" * 32
    assert found["resin-wifi-01"]["connection"]["id"] == "resin-wifi-01"


def test_debian_with_ifupdown(device: Device, oracle: Oracle) -> None:
    text = "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\nallow-hotplug eth0\n"
    text += "iface eth0 inet static\n\taddress 192.0.2.5/24\n\tgateway 192.0.2.1\n\tdns-nameservers 192.0.2.1\n"
    device.put("/etc/network/interfaces", text)
    found = migrate(device, oracle, online("eth0", "192.0.2.5/24", dynamic=False))
    wired = found["resin-ethernet-01"]
    assert wired["802-3-ethernet"]["mac-address"]["bytes"] == [0, 0x11, 0x22, 0x33, 0x44, 0x55]
    assert (wired["ipv4"]["gateway"], wired["ipv6"]["method"]) == ("192.0.2.1", "auto")


def test_ubuntu_server_with_dhcp_needs_no_file(device: Device, oracle: Oracle) -> None:
    device.put("/etc/netplan/50-cloud-init.yaml", "network:\n  ethernets:\n    eth0: {dhcp4: true}\n  version: 2\n")
    device.put("/run/systemd/network/10-netplan-eth0.network", "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\n")
    assert migrate(device, oracle, online("eth0", "192.0.2.5/24", dynamic=True)) == {}


def test_ubuntu_desktop_keeps_one_network_in_two_places(device: Device, oracle: Oracle) -> None:
    netplan = """
network:
  version: 2
  wifis:
    NM-7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11:
      renderer: NetworkManager
      match: {}
      dhcp4: true
      dhcp6: true
      access-points:
        "Home":
          auth: {key-management: "psk", password: "correct horse"}
          networkmanager:
            uuid: "7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11"
            name: "Home"
            passthrough: {wifi-security.auth-alg: "open", ipv6.addr-gen-mode: "default", proxy._: ""}
"""
    keyfile = "[connection]\nid=Home\ntype=wifi\nuuid=7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11\n[wifi]\nssid=Home\n"
    keyfile += "[wifi-security]\nkey-mgmt=wpa-psk\nauth-alg=open\npsk=correct horse\n"
    device.put("/etc/netplan/90-NM-7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11.yaml", netplan)
    alone = migrate(device, oracle, online("wlan0", "192.0.2.5/24", dynamic=True))
    device.put("/run/NetworkManager/system-connections/netplan-NM-7d4ae3ec-Home.nmconnection", keyfile)
    both = migrate(device, oracle, online("wlan0", "192.0.2.5/24", dynamic=True))
    assert list(alone) == list(both) == ["resin-wifi-01"]
    assert alone["resin-wifi-01"]["802-11-wireless-security"] == both["resin-wifi-01"]["802-11-wireless-security"]
