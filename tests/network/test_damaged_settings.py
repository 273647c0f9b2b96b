# SPDX-License-Identifier: Apache-2.0
"""Files beside the profiles, whatever they say: no traceback, and bounded time for a full file of one thing."""

from __future__ import annotations

import random
import time

import pytest

from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.reading import LIMIT_BYTES
from balena_migrate.network.select import Selection, boot_files
from balena_migrate.settings import Config
from tests.support.network import Device

COUNT, QUICK_COUNT = 40, 15
"""For each place; `./test --quick` tries the first ones."""
LEASE = 'lease {\n  interface "pen2";\n  fixed-address 172.26.1.2;\n  option domain-name-servers 172.26.0.53;\n}\n'
FILES = {
    "/run/systemd/netif/leases/2": "ADDRESS=172.26.1.2\nCLIENTID=ff2600000200020000ab11\n",
    "/var/lib/dhcp/dhclient.pen2.leases": f'default-duid "\\000\\001\\000\\001";\n{LEASE}',
    "/etc/dhcp/dhclient.conf": 'send host-name "pen"; # name\ninterface "pen2" { send dhcp-client-identifier 00:05; }\n'
    "supersede domain-name-servers 172.26.0.53;\n",
    "/etc/dhcpcd.conf": "duid\nclientid 01:02\nnohook resolv.conf\n",
    "/etc/NetworkManager/conf.d/a.conf": "[connection-a]\nmatch-device=type:ethernet,except:mac:02:26:00:00:00:09\n"
    "ipv4.dhcp-client-id=00:07\nipv6.ip6-privacy=2\n[device]\nwifi.scan-rand-mac-address=no\n",
    "/etc/systemd/network/10.link": "[Match]\nOriginalName=pen* !pen9\nDriver=a\n[Link]\nMACAddressPolicy=persistent\n",
    "/etc/dnsmasq.conf": "server=172.26.0.53#53\nserver=/a/172.26.0.9\nresolv-file=/etc/up.conf\n",
    "/etc/unbound/unbound.conf": 'forward-zone:\n name: "."\n forward-addr: 172.26.0.53@53\n',
    "/etc/bind/named.conf.options": "options {\n /* a */ forwarders { 172.26.0.53; 172.26.0.9 port 54; };\n};\n",
    "/etc/pdnsd.conf": 'server { label="a"; ip=172.26.0.53,172.26.0.9; }\n',
    "/etc/pihole/pihole.toml": '[dns]\nupstreams = [ "172.26.0.53", "172.26.0.9#54" ]\n',
    "/etc/sysctl.conf": "net.ipv6.conf.all.accept_ra = 0\n",
    "/etc/systemd/networkd.conf": "[Network]\nIPv6PrivacyExtensions=yes\n",
    "/proc/sys/net/ipv6/conf/pen2/disable_ipv6": "1\n",
}
WORDS = (
    "",
    "\0",
    "\n",
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    "=",
    ":",
    "/",
    "#",
    ";",
    "-1",
    "99999999999",
    "é",
    "\udcff",
    "%",
)


def found(device: Device) -> NetworkSettings:
    """What is read where one wired interface has a lease, without a MAC address of its own, and asks a forwarder."""
    network = NetworkFacts(
        interfaces=(Interface(name="pen2", kind=InterfaceKind.ETHERNET, index=2, mac="02:26:00:00:00:02"),),
        addresses=(InterfaceAddress(interface="pen2", address="172.26.1.2/24", dynamic=True),),
        default_routes=(DefaultRoute(interface="pen2", gateway="172.26.1.1"),),
        name_servers=("127.0.0.1",),
    )
    settings = read_network(device.system, network, "2.38.0")
    boot_files(Config(), Selection(profiles=settings.profiles), network)
    return settings


def put_the_rest(device: Device) -> None:
    device.put("/etc/network/interfaces", "auto pen2\niface pen2 inet dhcp\n")
    device.put("/etc/resolv.conf", "nameserver 127.0.0.1\n")


@pytest.mark.parametrize("count", [QUICK_COUNT, pytest.param(COUNT, marks=pytest.mark.long)])
@pytest.mark.parametrize("place", FILES)
def test_no_damage_ends_in_a_traceback(device: Device, place: str, count: int) -> None:
    put_the_rest(device)
    chance = random.Random(place)
    for number in range(count):
        text = FILES[place]
        for _ in range(chance.randint(1, 3)):
            start = chance.randint(0, len(text))
            text = text[:start] + chance.choice(WORDS) + text[start + chance.choice((0, 1, 5)) :]
        device.put(place, text)
        try:
            problems = found(device).problems
        except Exception as error:
            pytest.fail(f"damage {number} of {place}: {error!r}\n{text!r}")
        assert all(problem.reason and problem.source for problem in problems), text


@pytest.mark.parametrize("place", FILES)
@pytest.mark.parametrize(
    "piece",
    [
        "\n",
        *(
            pytest.param(piece, marks=pytest.mark.long)
            for piece in ('"\\', "lease {", "send a ", "/* ", "server { ip=")
        ),
    ],
)
def test_a_full_file_of_one_thing_takes_bounded_time(device: Device, place: str, piece: str) -> None:
    put_the_rest(device)
    for text in (piece, FILES[place] + piece):
        device.put(place, (text * (LIMIT_BYTES // len(text)))[: LIMIT_BYTES - 1])
        start_s = time.process_time()
        found(device)
        assert time.process_time() - start_s < 10, text
