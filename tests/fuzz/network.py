# SPDX-License-Identifier: Apache-2.0
"""Readers of network settings, grammar by grammar; tests/network has damaged files of whole devices."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.network.addresses import parse_address, parse_cidr, parse_destination, server_host
from balena_migrate.network.files import dhclient, keyfile
from balena_migrate.network.files.ini import parse_ini
from balena_migrate.network.files.interfaces import parse_interfaces
from balena_migrate.network.files.number import find_number
from balena_migrate.network.files.wpa import parse_string, parse_text, parse_wpa_supplicant
from balena_migrate.network.files.yaml import as_node, flag_of, items_of, parse_yaml, text_of, texts_of
from balena_migrate.network.forwarders import read_upstreams
from balena_migrate.network.proxy import parse_environment, parse_redsocks, proxy_files
from balena_migrate.network.reading import LIMIT_BYTES
from balena_migrate.network.route_commands import parse_route_command
from balena_migrate.network.sources.dhcpcd import parse_dhcpcd
from balena_migrate.network.sources.iwd import parse_name
from tests.fuzz.reader import Reader, of_file, of_text, these

KEYFILE = """[connection]
id=Barn
type=wifi
[wifi]
ssid=66;97;114;110;
[ipv4]
address1=192.0.2.7/24,192.0.2.1
dns=192.0.2.53;
method=manual
"""
WPA = """country=DE
network={
  ssid=P"Barn \\x20\\101\\q"
  psk="passphrase" # mine
  priority=5
}
blob-base64-farm={
SGVsbG8=
}
"""
NETPLAN = """network:
  version: 2
  ethernets: {eth0: {addresses: [192.0.2.7/24, "2001:db8::7/64": {lifetime: 0}], dhcp4: yes}}
  wifis:
    wlan0: &w
      access-points: {"Barn": {password: "p"}}
    wlan1: *w
"""
LEASES = """default-duid "\\000\\001\\000\\001";
lease {
  interface "eth0";
  fixed-address 192.0.2.7;
  option domain-name-servers 192.0.2.53;
  option dhcp-client-identifier 1:2:3;
}
"""
DHCLIENT = """send host-name "pen"; # name
interface "eth0" { send dhcp-client-identifier 00:05; supersede domain-name "a\\"b"; }
supersede domain-name-servers 192.0.2.53, 192.0.2.54;
"""
INTERFACES = """auto lo eth0
source /etc/network/interfaces.d/*
allow-hotplug /wlan*/1
iface eth0 inet static
  address 192.0.2.7/24
  up ip route add 198.51.100.0/24 via 192.0.2.2 dev eth0 \\
     metric 5
mapping eth1
  script /usr/local/sbin/where
"""
REDSOCKS = """base { log = stderr; }
/* a */ redsocks {
  type = socks5; ip = 192.0.2.9;
  port = 1080; login = "me"; password = "a\\"b"; // c
}
"""
NETWORKD = """[Match]
Name=eth0
[Network]
Address=192.0.2.7/24
DNS=192.0.2.53
DNS=
[Address]
Address=2001:db8::7/64 ; x
"""
UPSTREAMS = {
    "/etc/dnsmasq.conf": "server=192.0.2.53#53\nserver=/a/192.0.2.9\nnameserver 192.0.2.1@eth0\nresolv-file=/etc/a\n",
    "/etc/unbound/unbound.conf": 'forward-zone:\n name: "."\n forward-addr: 192.0.2.53@53\n',
    "/etc/bind/named.conf.options": "options {\n /* a */ forwarders { 192.0.2.53; 192.0.2.9 port 54; };\n};\n",
    "/etc/pdnsd.conf": 'server { label="a"; ip=192.0.2.53,192.0.2.9; }\n',
    "/etc/pihole/pihole.toml": '[dns]\nupstreams = [ "192.0.2.53", "192.0.2.9#54" ]\n',
}


def whole_keyfile(text: str) -> None:
    found = keyfile.parse_keyfile(text)
    for group in found.groups():
        for key in found.keys(group)[:20]:
            found.items(group, key)
            found.text(group, key)
            found.number(group, key)
            keyfile.parse_bytes(found.raw(group, key) or "")
    keyfile.parse_keyfile(found.dump())


def whole_wpa(text: str) -> None:
    found = parse_wpa_supplicant(text)
    for value in (value for block in found.networks for value in block.values.values()):
        for parse in (parse_string, parse_text):
            with suppress(NetworkConfigError):
                parse(value)


def whole_yaml(text: str) -> None:
    document = parse_yaml(text)
    node = as_node(document)
    for key, value in node.items():
        for read in (items_of, texts_of, text_of, flag_of):
            read(node, key)
            read(as_node(value), key)


def whole_ini(text: str) -> None:
    for section in parse_ini(text):
        for name in section.names()[:20]:
            section.values(name)
            section.value(name)
            section.number(name)


def whole_dhclient(text: str) -> None:
    for value in dhclient.parse_statements(text, "eth0").values():
        dhclient.parse_bytes(value)
    lease = dhclient.last_lease(text, "eth0", "192.0.2.7")
    dhclient.find_value(text, "default-duid")
    dhclient.find_value(lease, "option dhcp-client-identifier")


def whole_interfaces(text: str) -> None:
    for stanza in parse_interfaces(text, "/etc/network/interfaces").stanzas:
        stanza.words("address", "dns-nameservers")
        for command in stanza.values("up"):
            parse_route_command(command, stanza.interface)


def addresses(text: str) -> None:
    """Each of them refuses by itself."""
    calls: tuple[Callable[[str], object], ...] = (
        *(parse_cidr, parse_address, parse_destination, server_host, find_number),
        *(lambda word: parse_cidr("192.0.2.7", word), lambda word: parse_destination("192.0.2.7", "192.0.2.1", word)),
    )
    for call in calls:
        with suppress(NetworkConfigError):
            call(text)


def proxy(text: str) -> None:
    for parse in (parse_redsocks, parse_environment):
        with suppress(NetworkConfigError):
            proxy_files(parse(text, "/etc/file"))


def _grammar(
    name: str, read: Callable[[str], object], *samples: str, covers: tuple[str, ...] = (), refuses: bool = True
) -> Reader:
    return Reader(
        name=f"network.{name}",
        read=of_text(read),
        samples=these(*samples),
        raises=(NetworkConfigError,) if refuses else (),
        covers=tuple(f"network.{other}" for other in covers),
        is_text=True,
        limit_bytes=LIMIT_BYTES,
    )


READERS = (
    _grammar("files.keyfile.parse_keyfile", whole_keyfile, KEYFILE, covers=("files.keyfile.parse_bytes",)),
    _grammar(
        *("files.wpa.parse_wpa_supplicant", whole_wpa, WPA),
        covers=("files.wpa.parse_string", "files.wpa.parse_text"),
    ),
    _grammar("files.yaml.parse_yaml", whole_yaml, NETPLAN),
    _grammar("files.ini.parse_ini", whole_ini, NETWORKD, covers=("reading.read_sections",)),
    _grammar(
        *("files.dhclient.parse_statements", whole_dhclient, DHCLIENT, LEASES),
        covers=("files.dhclient.parse_bytes",),
        refuses=False,
    ),
    _grammar("files.interfaces.parse_interfaces", whole_interfaces, INTERFACES, refuses=False),
    _grammar("proxy.parse_redsocks", proxy, REDSOCKS, refuses=False),
    _grammar(
        *(
            "proxy.parse_environment",
            proxy,
            'PATH="/bin"\nexport https_proxy=http://me:p%20w@192.0.2.9:3128/\nno_proxy=a,1.2.3.4',
        ),
        refuses=False,
    ),
    _grammar(
        *(
            "sources.dhcpcd.parse_dhcpcd",
            parse_dhcpcd,
            "duid\ninterface wlan0\nstatic ip_address=192.0.2.5/24\nssid Barn\n",
        ),
        refuses=False,
    ),
    _grammar("sources.iwd.parse_name", parse_name, "=4261726e", "Barn"),
    _grammar(
        *("addresses.parse_address", addresses, "192.0.2.7/24", "2001:db8::7/64", "[::1]:53%eth0#name", "default"),
        covers=("addresses.parse_cidr", "addresses.parse_destination"),
        refuses=False,
    ),
    _grammar(
        "route_commands.parse_route_command",
        lambda text: parse_route_command(text, "eth0"),
        "ip -4 route add 198.51.100.0/24 via 192.0.2.2 dev eth0 metric 5 || true",
        "route add -net 198.51.100.0 netmask 255.255.255.0 gw 192.0.2.2",
        refuses=False,
    ),
    *(
        Reader(
            name="network.forwarders.read_upstreams",
            read=of_file(path, read_upstreams),
            samples=these(text),
            is_text=True,
            limit_bytes=LIMIT_BYTES,
            cost=2,
        )
        for path, text in UPSTREAMS.items()
    ),
)
