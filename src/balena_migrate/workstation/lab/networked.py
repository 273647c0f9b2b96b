# SPDX-License-Identifier: Apache-2.0
"""A device with network settings of every kind, and what NetworkManager itself must make of each.

Every name, key and number here is invented. Addresses are those of the virtual network and of RFC 5737.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.lookalike import Report
from balena_migrate.workstation.lab.result import Check

VOLUMES_NAME = "volumes.yml"
VOLUMES = {"srv/depot": "./data", "var/lib/scale": "./weights"}
"""Folder on the device -> folder in the archive, whose top-level folders are the new system's volumes."""

NETPLAN_NETWORKS = (owner.WifiNetwork(ssid="Büro; 2. Stock", passphrase="paper = clip #9"),)

_NETPLAN = """\
network:
  version: 2
  wifis:
    wlan0:
      addresses: [192.0.2.20/24]
      routes:
        - to: default
          via: 192.0.2.1
      nameservers:
        addresses: [192.0.2.1, 198.51.100.53]
        search: [depot.example]
      access-points:
        "Büro; 2. Stock":
          password: "paper = clip #9"
"""
SCANNER_MAC = "02:00:00:d0:70:01"
SECOND_CARD = (
    *("-netdev", "user,id=scanner,restrict=on"),
    *("-device", f"virtio-net-pci,netdev=scanner,mac={SCANNER_MAC},addr=0x9,romfile="),
)
"""QEMU's arguments for it; Debian calls it enp0s9."""

_WIRED = """\
[Match]
Driver=e1000*

[Network]
Address=10.0.2.15/24
Address=10.0.2.77/24
Address=2001:db8:7::15/64
Gateway=10.0.2.2
Domains=depot.example

[Route]
Destination=203.0.113.0/24
Gateway=10.0.2.9
Metric=50
"""
_SCANNER = """\
[connection]
id=Scanner
uuid=3d5be7c2-0a4f-4a8e-9a53-8f2f6f0c41d7
type=ethernet

[match]
interface-name=enp0s9;

[ipv4]
method=manual
address1=192.0.2.130/25
may-fail=false

[ipv6]
method=link-local
"""
_TRUNK = """\
[connection]
id=Trunk
uuid=8a4c0c36-51de-4a0b-8d1c-2f0f57b3b9a4
type=bond
interface-name=trunk0

[bond]
mode=active-backup
miimon=100

[ipv4]
method=manual
address1=203.0.113.40/24

[ipv6]
method=disabled
"""
_TRUNK_PORT = """\
[connection]
id=Trunk, port of the scale
uuid=51c7b6a8-6f0b-4f40-8f5a-6b2cf2b7f0d3
type=ethernet
interface-name=enp9s0
controller=8a4c0c36-51de-4a0b-8d1c-2f0f57b3b9a4
port-type=bond

[ethernet]
mtu=1400
"""
_MODEM = """\
[connection]
id=Truck scale's modem
uuid=0b7f9f4e-3d8a-4f1e-9d52-6e1c7a90b3d4
type=gsm

[gsm]
apn=m2m.depot.example
username=depot
password=weigh;bridge
pin=0042

[ipv4]
method=auto

[ipv6]
method=ignore
"""
_PROXY = """\
base {
    log_debug = off;
    daemon = on;
    redirector = iptables;
}
redsocks {
    local_ip = 127.0.0.1;
    local_port = 31338;
    ip = 198.51.100.8;
    port = 1080;
    type = socks5;
    login = "depot";
    password = "side!gate";
}
"""
_VOLUMES_FILE = """\
- volume: data
  items:
    - source: /srv/depot
- volume: weights
  items:
    - source: /var/lib/scale
      filter: '[.]db$'
"""

_SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDepotDepotDepotDepotDepotDepotDepotDepotDep owner@depot"
MACHINE_ID = "5ca1e0fde907de907de907de907de901"

KEPT: Mapping[str, object] = {
    "hostname": "depot-gateway",
    "country": "DE",
    "ntpServers": "time.depot.example 192.0.2.123",
    "dnsServers": "198.51.100.53 2001:db8:7::53",
    "os": {"sshKeys": [_SSH_KEY]},
}
"""What KEEP carries over from this device to config.json if it lists everything."""

FILES: Mapping[str, str] = {
    "etc/machine-id": f"{MACHINE_ID}\n",
    "etc/resolv.conf": (
        "# This is managed by man:systemd-resolved(8).\nnameserver 198.51.100.53\nnameserver 2001:db8:7::53\n"
    ),
    "etc/systemd/resolved.conf.d/depot.conf": "[Resolve]\nDNS=198.51.100.53 2001:db8:7::53#dns.depot.example\n",
    "etc/systemd/timesyncd.conf.d/depot.conf": "[Time]\nNTP=time.depot.example 192.0.2.123\n",
    "root/.ssh/authorized_keys": f"{_SSH_KEY}\n",
    "etc/netplan/60-office.yaml": _NETPLAN,
    "etc/systemd/network/20-wired.network": _WIRED,
    "etc/NetworkManager/system-connections/scale.nmconnection": _MODEM,
    "etc/NetworkManager/system-connections/scanner.nmconnection": _SCANNER,
    "etc/NetworkManager/system-connections/trunk.nmconnection": _TRUNK,
    "etc/NetworkManager/system-connections/trunk-port.nmconnection": _TRUNK_PORT,
    "etc/redsocks.conf": _PROXY,
    f"{owner.HOME_DIR}/{VOLUMES_NAME}": _VOLUMES_FILE,
    "var/lib/scale/2026.db": "brutto,tara\n17480,7420\n",
}


@dataclass(frozen=True, kw_only=True)
class ExpectedProfile:
    """What a profile must mean to NetworkManager, as nmcli's properties; others are not checked."""

    name: str
    properties: Mapping[str, str] = field(repr=False)

    def fits(self, profile: Mapping[str, str]) -> bool:
        """Whether a loaded profile matches. An empty value means that the property must be unset."""
        return all(profile.get(key, "") == value for key, value in self.properties.items())


def _wifi(network: owner.WifiNetwork, **more: str) -> ExpectedProfile:
    """A Wi-Fi profile; addresses are automatic unless `more` says otherwise."""
    properties = {
        "connection.type": "802-11-wireless",
        "connection.autoconnect": "yes",
        "802-11-wireless.ssid": network.ssid,
        "802-11-wireless.mode": "infrastructure",
        "802-11-wireless-security.key-mgmt": "wpa-psk" if network.passphrase else "",
        "802-11-wireless-security.psk": network.passphrase,
        "ipv4.method": "auto",
        "ipv4.addresses": "",
    }
    return ExpectedProfile(name=network.ssid, properties=properties | more)


PROFILES = (
    *map(_wifi, owner.NETWORKS),
    *(
        _wifi(
            network,
            **{
                "ipv4.method": "manual",
                "ipv4.addresses": "192.0.2.20/24",
                "ipv4.gateway": "192.0.2.1",
                "ipv4.dns": "192.0.2.1,198.51.100.53",
                "ipv4.dns-search": "depot.example",
                "ipv4.routes": "",
            },
        )
        for network in NETPLAN_NETWORKS
    ),
    ExpectedProfile(
        name="the wired network",
        properties={
            "connection.type": "802-3-ethernet",
            "connection.autoconnect": "yes",
            "ipv4.method": "manual",
            "ipv4.addresses": "10.0.2.15/24, 10.0.2.77/24",
            "ipv4.gateway": "10.0.2.2",
            "ipv4.dns": "198.51.100.53",
            "ipv4.dns-search": "depot.example",
            "ipv4.routes": "203.0.113.0/24 10.0.2.9 50",
            # The gateway comes by router advertisement.
            "ipv6.method": "auto",
            "ipv6.addresses": "2001:db8:7::15/64",
            "ipv6.gateway": "",
            "ipv6.dns": "2001:db8:7::53",
        },
    ),
    ExpectedProfile(
        name="the scanner, on the second card whatever its name",
        properties={
            "connection.type": "802-3-ethernet",
            "connection.interface-name": "",
            "802-3-ethernet.mac-address": SCANNER_MAC.upper(),
            "match.interface-name": "",
            "ipv4.method": "manual",
            "ipv4.addresses": "192.0.2.130/25",
            "ipv4.may-fail": "no",
            "ipv4.dns": "",
            "ipv6.method": "link-local",
        },
    ),
    ExpectedProfile(
        name="the bond",
        properties={
            "connection.type": "bond",
            "connection.interface-name": "trunk0",
            "bond.options": "mode=active-backup,miimon=100",
            "ipv4.method": "manual",
            "ipv4.addresses": "203.0.113.40/24",
            "ipv6.method": "disabled",
        },
    ),
    ExpectedProfile(
        name="the bond's port, which gets no lease of its own",
        properties={
            "connection.type": "802-3-ethernet",
            "connection.interface-name": "enp9s0",
            # NetworkManager 1.42 knows a port by these names alone.
            "connection.master": "8a4c0c36-51de-4a0b-8d1c-2f0f57b3b9a4",
            "connection.slave-type": "bond",
            "802-3-ethernet.mtu": "1400",
            "ipv4.method": "",
            "ipv6.method": "",
        },
    ),
    ExpectedProfile(
        name="the modem",
        properties={
            "connection.type": "gsm",
            "connection.autoconnect": "yes",
            "gsm.apn": "m2m.depot.example",
            "gsm.username": "depot",
            "gsm.password": "weigh;bridge",
            "gsm.pin": "0042",
            "ipv4.method": "auto",
        },
    ),
)
"""All profiles that NetworkManager must have; it must have no others."""

PROXY_SETTINGS = {
    "type": "socks5",
    "ip": "198.51.100.8",
    "port": "1080",
    "login": '"depot"',
    "password": '"side!gate"',
    "local_port": "12345",
}
"""The values in redsocks.conf; the port is the one to which balenaOS redirects its traffic."""


def profiles_check(expected: tuple[ExpectedProfile, ...], report: Report) -> Check:
    """Check that NetworkManager loaded every expected profile, and no other."""
    lost = [item.name for item in expected if not any(map(item.fits, report.profiles))]
    strange = [
        profile.get("connection.id", "") for profile in report.profiles if not any(e.fits(profile) for e in expected)
    ]
    found = [f"{len(report.profiles)} profiles", *(f"missing or different: {name}" for name in lost)]
    return Check(
        name="profiles loaded by NetworkManager, with their secrets",
        passed=not lost and not strange and len(report.profiles) == len(expected),
        expected=f"{len(expected)} profiles: " + ", ".join(item.name for item in expected),
        found="; ".join((*found, *(f"unexpected: {name}" for name in strange))),
    )


def proxy_check(settings: Mapping[str, str], redsocks_conf: bytes) -> Check:
    """Check the proxy settings in resin-boot. The password is compared but not shown."""
    found = dict(_assignments(redsocks_conf.decode("utf-8", "replace")))
    wrong = [key for key, value in settings.items() if found.get(key) != value]
    return Check(
        name="proxy, with its login and password",
        passed=not wrong,
        expected=f"{settings['type']} {settings['ip']}:{settings['port']}",
        found=f"wrong or missing: {', '.join(wrong)}" if wrong else "the same",
    )


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """The "key = value;" lines of a redsocks.conf."""
    for line in text.splitlines():
        key, equals, value = line.strip().rstrip(";").partition(" = ")
        if equals:
            yield key, value
