# SPDX-License-Identifier: Apache-2.0
"""Damaged files: whatever a file says, its source ends with settings and problems, never with a traceback.

With BALENA_MIGRATE_MUTATIONS=20000 that many, also of the collections where they exist.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from balena_migrate.facts.network import NetworkFacts
from balena_migrate.network.read import read_network
from balena_migrate.network.select import Selection, boot_files
from balena_migrate.settings import Config
from tests.support.corpus import corpus
from tests.support.network import Device

COUNT = int(os.environ.get("BALENA_MIGRATE_MUTATIONS", "100"))
"""For each place; about 10 ms each."""
QUICK_COUNT = 40
"""The first ones, which `./test --quick` tries, too."""

PLACES = {
    "/etc/NetworkManager/system-connections/a.nmconnection": """[connection]
id=Barn
uuid=0f3c6a51-95a5-4d2f-b1cc-3c1f6a0de1a7
type=wifi
permissions=user:me:;
[wifi]
ssid=66;97;114;110;
mac-address=02:00:00:00:00:07
[wifi-security]
key-mgmt=wpa-eap
[802-1x]
eap=peap;tls;
identity=me
password=secret words
ca-cert=data:;base64,SGVsbG8=
client-cert=//etc/ssl/farm.pem
[ipv4]
method=manual
address1=192.0.2.7/24,192.0.2.1
dns=192.0.2.53;
route1=198.51.100.0/24,192.0.2.2,5
[ipv6]
method=disabled
addresses1=2001:db8::7;64;2001:db8::1;
""",
    "/etc/netplan/01.yaml": """network:
  version: 2
  ethernets:
    eth0:
      match: {macaddress: "02:00:00:00:00:07"}
      addresses: [192.0.2.7/24, "2001:db8::7/64": {lifetime: 0}]
      gateway4: 192.0.2.1
      nameservers: {addresses: [192.0.2.53], search: [farm.example]}
      routes: [{to: default, via: 192.0.2.1, metric: 5, on-link: true}]
      dhcp4-overrides: {route-metric: 7, use-dns: no}
      auth: {key-management: 802.1x, method: ttls, identity: me, password: p, ca-certificate: //etc/ssl/farm.pem}
  wifis:
    wlan0:
      access-points:
        Barn: {password: passphrase, networkmanager: {uuid: a, passthrough: {connection.mdns: "2", ipv4.dns: x}}}
  modems: {cdc-wdm0: {apn: internet, number: "*99#", pin: "0123", mtu: 1400}}
  vlans: {v5: {id: 5, link: eth0}}
""",
    "/etc/wpa_supplicant/wpa_supplicant.conf": """country=DE
network={
  ssid=P"Barn \\x20\\101\\q"
  psk="passphrase"
  priority=5
  id_str="barn"
}
network={
  ssid=4261726e
  key_mgmt=WPA-EAP
  eap=PEAP TLS
  identity="me"
  password=hash:0123456789abcdef0123456789abcdef
  ca_cert="blob://farm"
  phase1="peapver=1"
  phase2="auth=MSCHAPV2"
}
blob-base64-farm={
SGVsbG8=
}
""",
    "/etc/network/interfaces": """auto lo eth0
iface lo inet loopback
source /etc/network/interfaces.d/*
iface eth0 inet static
  address 192.0.2.7
  netmask 255.255.255.0
  gateway 192.0.2.1
  dns-nameservers 192.0.2.53
  up ip route add 198.51.100.0/24 via 192.0.2.2 dev eth0
iface eth0 inet6 static
  address 2001:db8::7/64
iface eth0.5 inet dhcp
  vlan-raw-device eth0
  wpa-conf //etc/wpa.conf
allow-hotplug /wlan*
iface wlan0 inet manual
  wpa-roam /etc/roaming
  wpa-roam-default-iface away
iface away inet dhcp
iface barn inet static inherits away
  address 192.0.2.9/24
mapping eth1
  script /usr/local/sbin/where
iface eth1 inet dhcp
  wpa-driver wired
  wpa-eap PEAP
  wpa-identity me
  wpa-password p
""",
    "/etc/wpa_supplicant/wpa_supplicant-wired-eth0.conf": """network={
  key_mgmt=IEEE8021X
  eap=TTLS
  identity="me"
  password="secret words"
  phase2="autheap=MSCHAPV2"
  id_str="barn"
}
""",
    "/proc/7/cmdline": "wpa_supplicant\0-B\0-Dwired\0-ieth0\0-c/etc/roaming\0-N\0-iwlan0\0-c\0/x\0",
    "/etc/dhcpcd.conf": """interface eth0
static ip_address=192.0.2.7/24
static ip6_address=2001:db8::7/64
static routers=192.0.2.1
static domain_name_servers=192.0.2.53 2001:db8::53
fallback fixed
ssid Barn
static ip_address=192.0.2.8/24
interface wlan0
static routers=192.0.2.1
profile fixed
static ip_address=192.0.2.9/24
""",
    "/etc/systemd/network/10-a.network": """[Match]
Name=eth* !eth9
MACAddress=02:00:00:00:00:07
[Network]
DHCP=ipv4
Address=192.0.2.7/24
Gateway=192.0.2.1
DNS=192.0.2.53
VLAN=v5
[Route]
Destination=198.51.100.0/24
Gateway=192.0.2.2
Metric=5
[DHCPv4]
RouteMetric=7
UseDNS=no
""",
    "/var/lib/connman/wifi_0200_4261726e_managed_psk/settings": """[wifi_0200_4261726e_managed_psk]
Name=Barn
SSID=4261726e
Favorite=true
AutoConnect=true
Passphrase=passphrase
IPv4.method=manual
IPv4.netmask_prefixlen=24
IPv4.local_address=192.0.2.7
IPv4.gateway=192.0.2.1
""",
    "/var/lib/iwd/Barn.psk": """[Security]
Passphrase=passphrase
PreSharedKey=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
[IPv4]
Address=192.0.2.7
Netmask=255.255.255.0
Gateway=192.0.2.1
DNS=192.0.2.53
[Settings]
AutoConnect=true
""",
}
"""Where a source looks -> a file with most of what it reads."""

COLLECTIONS = {
    "/etc/NetworkManager/system-connections/a.nmconnection": "nm-keyfiles",
    "/etc/netplan/01.yaml": "netplan",
    "/etc/wpa_supplicant/wpa_supplicant.conf": "wpa_supplicant",
}

WORDS = (
    *(
        "",
        "\0",
        "\n",
        "\r",
        "\t",
        "\f",
        " ",
        "=",
        ";",
        ",",
        ":",
        "/",
        "//",
        "..",
        "*",
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "\\",
    ),
    *(
        "\\x",
        "\\",
        "#",
        "%",
        "!",
        "&a",
        "*a",
        "-",
        "~",
        "0",
        "-1",
        "99999999999999999999",
        "1e9",
        "٣",
        "²",
        "é",
        "\udcff",
    ),
    *("true", "no", "null", "auto", "manual", "default", "random", "tls", "0x", "::", "1.2.3.4/99", "fe80::1%eth0"),
)


def mutated(text: str, chance: random.Random) -> str:
    """The text with up to four damages: a piece lost, doubled, moved or replaced, or a line gone."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice((0, 1, 1, 2, 5, 20)))
        piece = text[start:end]
        kind = chance.randrange(5)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = text[:start] + piece * chance.choice((2, 3, 50)) + text[end:]
        elif kind == 2:
            place = chance.randint(0, len(text))
            text = text[:place] + piece + text[place:]
        elif kind == 3:
            text = text[:start] + chance.choice(WORDS) + text[end:]
        else:
            lines = text.split("\n")
            del lines[chance.randrange(len(lines))]
            text = "\n".join(lines)
    return text


def originals(place: str) -> list[str]:
    """Our own file, and with many mutations those of the collection."""
    if COUNT < 1000 or place not in COLLECTIONS:
        return [PLACES[place]]
    files = [path for path in corpus(COLLECTIONS[place]).rglob("*") if path.is_file() and path.stat().st_size < 20000]
    return [PLACES[place], *(path.read_bytes().decode("utf-8", "surrogateescape") for path in sorted(files))]


@pytest.mark.parametrize("count", [QUICK_COUNT, pytest.param(COUNT, marks=pytest.mark.long)])
@pytest.mark.parametrize("place", PLACES)
def test_no_damaged_file_ends_in_a_traceback(place: str, count: int, tmp_path: Path) -> None:
    chance = random.Random(place)
    texts = originals(place)
    device = Device(tmp_path)
    device.put("/etc/ssl/farm.pem", "certificate")
    device.put("/etc/roaming", PLACES["/etc/wpa_supplicant/wpa_supplicant.conf"])
    carried = 0
    for number in range(count):
        text = mutated(texts[number % len(texts)], chance)
        device.put(place, text)
        try:
            found = read_network(device.system, NetworkFacts(), chance.choice((None, "", "2.15.1+rev2", "7.0.0")))
            boot_files(Config(), Selection(profiles=found.profiles), NetworkFacts())
        except Exception as error:
            pytest.fail(f"mutation {number} of {place}: {error!r}\n{text!r}")
        assert all(problem.reason and problem.source for problem in found.problems), text
        carried += bool(found.profiles)
    assert carried, "no mutation is read at all, so that nothing was tried"
