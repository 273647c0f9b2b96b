# SPDX-License-Identifier: Apache-2.0
"""A DHCP server that knows this device by a client id of the old program still knows it, or the change is named."""

from __future__ import annotations

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from tests.support.network import ALL_WIFIS, Device, carried_keyfiles
from tests.support.oracle import Oracle

MAC = "02:5e:10:aa:bb:cc"
DUID = "00:01:00:01:2a:5b:01:02:02:5e:10:aa:bb:cc"
BY_DUID = f"ff:10:aa:bb:cc:{DUID}"
NETWORKD_LEASE = "ADDRESS=172.22.4.30\nNETMASK=255.255.255.0\n"
INTERFACES = "auto bay5\niface bay5 inet dhcp\n"
DHCLIENT_LEASES = "/var/lib/dhcp/dhclient.bay5.leases"
LEASE = 'lease {\n  interface "bay5";\n  fixed-address 172.22.4.30;\n  option routers 172.22.4.1;\n}\n'
OCTAL = "".join(f"\\{int(part, 16):03o}" for part in DUID.split(":"))
DHCPCD_LEASE = bytes(16) + bytes([172, 22, 4, 30]) + bytes(220)


def now(kind: InterfaceKind = InterfaceKind.ETHERNET, address: str = "172.22.4.30/24") -> NetworkFacts:
    gateway = "fe80::1" if ":" in address else "172.22.4.1"
    return NetworkFacts(
        interfaces=(Interface(name="bay5", kind=kind, index=3, mac=MAC, mac_permanent=True, ssid=b"Silo"),),
        addresses=(InterfaceAddress(interface="bay5", address=address, dynamic=True),),
        default_routes=(DefaultRoute(interface="bay5", gateway=gateway),),
        name_servers=("2001:db8::2",) if ":" in address else ("172.22.0.2",),
    )


def carried(device: Device, network: NetworkFacts | None = None) -> tuple[dict[str, str], list[str]]:
    """What [ipv4] of the only keyfile says beside its method, if one is carried; and what is told."""
    network = network or now()
    settings = read_network(device.system, network)
    files = carried_keyfiles(device.system, settings, network)
    said = {key: file.text("ipv4", key) for file in files for key in file.keys("ipv4") if key != "method"}
    return said, [problem.reason for problem in settings.problems]


def test_networkd_asked_with_a_duid(device: Device) -> None:
    device.put("/etc/systemd/network/b.network", "[Match]\nName=bay5\n[Network]\nDHCP=yes\n")
    assert carried(device) == ({}, [])
    device.put("/run/systemd/netif/leases/3", f"{NETWORKD_LEASE}CLIENTID={BY_DUID.replace(':', '')}\n")
    assert carried(device) == ({"dhcp-client-id": BY_DUID}, [])
    (file,) = carried_keyfiles(device.system, read_network(device.system, now()), now())
    assert file.text("ethernet", "mac-address") == MAC


@pytest.mark.parametrize(
    "lease",
    [
        f"{NETWORKD_LEASE}CLIENTID=01{MAC.replace(':', '')}\n",
        NETWORKD_LEASE,
        f"ADDRESS=172.22.4.3\nCLIENTID={BY_DUID.replace(':', '')}\n",
    ],
    ids=["hardware address", "none", "of another address"],
)
def test_the_id_that_networkmanager_sends_by_itself_needs_nothing(device: Device, lease: str) -> None:
    device.put("/etc/systemd/network/b.network", "[Match]\nName=bay5\n[Network]\nDHCP=yes\n")
    device.put("/run/systemd/netif/leases/3", lease)
    assert carried(device) == ({}, [])


def test_ifupdown_has_dhclient_ask_with_a_duid(device: Device) -> None:
    device.put("/etc/network/interfaces", INTERFACES)
    device.put(DHCLIENT_LEASES, f'default-duid "{OCTAL}";\n{LEASE}')
    assert carried(device) == ({"dhcp-client-id": BY_DUID}, [])
    device.put(DHCLIENT_LEASES, LEASE)
    assert carried(device) == ({}, [])


@pytest.mark.parametrize(
    ("conf", "said", "told"),
    [
        ("send dhcp-client-identifier 1:2:5e:10:aa:bb:cc;", {}, []),
        ("send dhcp-client-identifier = hardware;", {}, []),
        (
            "append domain-name-servers 172.22.0.3;\nsend dhcp-client-identifier = hardware;",
            {},
            ["the name servers of append in dhclient.conf are not carried over"],
        ),
        (
            "send dhcp-client-identifier = hardware;\n"
            'interface "bay5" { supersede domain-name-servers 172.22.0.3; }\n'
            'interface "bay6" { prepend domain-name-servers 172.22.0.4; }\n',
            {},
            ["the name servers of supersede in dhclient.conf are not carried over"],
        ),
        ("send dhcp-client-identifier 00:17:ab;", {"dhcp-client-id": "00:17:ab"}, []),
        ('send dhcp-client-identifier "silo";', {"dhcp-client-id": "73:69:6c:6f"}, []),
        ('#send dhcp-client-identifier "old";\n', {"dhcp-client-id": BY_DUID}, []),
        (
            'send dhcp-client-identifier "all";\ninterface "bay5" { send dhcp-client-identifier 00:05; }\n',
            {"dhcp-client-id": "00:05"},
            [],
        ),
        ('interface "bay6" {\n  send dhcp-client-identifier 00:05;\n}\n', {"dhcp-client-id": BY_DUID}, []),
        (
            "send dhcp-client-identifier = concat(00:01, hardware);",
            {},
            ["the DHCP client id that dhclient computes is not carried over"],
        ),
        ('send host-name "silo-5";', {"dhcp-client-id": BY_DUID, "dhcp-hostname": "silo-5"}, []),
        ("send host-name = gethostname();", {"dhcp-client-id": BY_DUID}, []),
        ('send host-name "<hostname>";', {"dhcp-client-id": BY_DUID}, []),
        (
            'send vendor-class-identifier "silo";',
            {"dhcp-client-id": BY_DUID, "dhcp-vendor-class-identifier": "silo"},
            [],
        ),
    ],
)
def test_what_dhclient_conf_has_it_send(device: Device, conf: str, said: dict[str, str], told: list[str]) -> None:
    device.put("/etc/network/interfaces", INTERFACES)
    device.put(DHCLIENT_LEASES, f"default-duid {DUID};\n{LEASE}")
    device.put("/etc/dhcp/dhclient.conf", conf)
    assert carried(device) == (said, told)


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ("clientid\n", {}),
        ("", {}),
        ("duid\n", {"dhcp-client-id": BY_DUID}),
        ("clientid\nduid\n", {"dhcp-client-id": BY_DUID}),
        ("duid\nclientid\n", {}),
        ("duid\ninterface bay5\nclientid\n", {}),
        ("clientid\nduid\ninterface bay5\nclientid\n", {}),
        ("duid\ninterface bay6\nclientid\n", {"dhcp-client-id": BY_DUID}),
        ("clientid 01:0a:0b\n", {"dhcp-client-id": "01:0a:0b"}),
        ("clientid silo\n", {"dhcp-client-id": "00:73:69:6c:6f"}),
        ("hostname\n", {}),
        (
            "hostname silo-5\nvendorclassid feeder\n",
            {"dhcp-hostname": "silo-5", "dhcp-vendor-class-identifier": "feeder"},
        ),
    ],
)
def test_what_dhcpcd_conf_has_it_send(device: Device, conf: str, said: dict[str, str]) -> None:
    device.put("/etc/dhcpcd.conf", conf)
    device.put("/var/lib/dhcpcd/duid", f"{DUID}\n")
    device.put("/var/lib/dhcpcd/bay5.lease", DHCPCD_LEASE)
    assert carried(device) == (said, [])


def test_dhcpcd_that_has_no_lease_now_counts_for_nothing(device: Device) -> None:
    device.put("/etc/dhcpcd.conf", "duid\n")
    device.put("/etc/dhcpcd.duid", f"{DUID}\n")
    device.put("/var/lib/dhcpcd5/dhcpcd-bay5.lease", bytes(240))
    assert carried(device) == ({}, [])


def test_dhcpcd_with_an_iaid_of_its_own_is_told(device: Device) -> None:
    device.put("/etc/dhcpcd.conf", "duid\niaid 5\n")
    device.put("/etc/dhcpcd.duid", f"{DUID}\n")
    device.put("/var/lib/dhcpcd5/dhcpcd-bay5.lease", DHCPCD_LEASE)
    assert carried(device) == ({}, ["the DHCP client id of dhcpcd is not carried over: it has an iaid of its own"])


def test_each_wifi_network_of_the_interface_gets_it(device: Device) -> None:
    networks = "".join(f'network={{\n ssid="{name}"\n key_mgmt=NONE\n}}\n' for name in ("Silo", "Barn"))
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", networks)
    device.put("/etc/dhcpcd.conf", "duid\n")
    device.put("/etc/dhcpcd.duid", DUID)
    device.put("/var/lib/dhcpcd/bay5-Silo.lease", DHCPCD_LEASE)
    network = now(InterfaceKind.WIFI)
    files = carried_keyfiles(device.system, read_network(device.system, network), network)
    assert [file.text("ipv4", "dhcp-client-id") for file in files] == [BY_DUID, BY_DUID]


def test_a_fixed_connection_tells_no_server_anything(device: Device) -> None:
    device.put(
        "/etc/dhcpcd.conf", "duid\ninterface bay5\nstatic ip_address=172.22.4.30/24\nstatic routers=172.22.4.1\n"
    )
    device.put("/etc/dhcpcd.duid", DUID)
    device.put("/var/lib/dhcpcd/bay5.lease", DHCPCD_LEASE)
    assert "dhcp-client-id" not in carried(device)[0]


def test_other_defaults_of_networkmanager_are_named(device: Device) -> None:
    folder = "/etc/NetworkManager/conf.d"
    device.put(f"{folder}/a.conf", "[connection-a]\nmatch-device=type:wifi\nwifi.powersave=2\nipv4.dhcp-timeout=90\n")
    device.put(f"{folder}/default-wifi-powersave-on.conf", "[connection]\nwifi.powersave=3\n")
    device.put("/usr/lib/NetworkManager/conf.d/b.conf", "[connection]\nwifi.powersave=3\n")
    assert carried(device)[1] == [
        "wifi.powersave, a default for all connections, is not carried over",
        "ipv4.dhcp-timeout, a default for all connections, is not carried over",
    ]


@pytest.mark.parametrize("conf", ["NetworkManager.conf", "conf.d/a.conf"])
def test_networkmanagers_default_goes_into_its_keyfiles(device: Device, conf: str) -> None:
    device.put(f"/etc/NetworkManager/{conf}", "[connection]\nipv4.dhcp-client-id=00:77\nipv4.route-metric=70\n")
    assert carried(device) == ({"dhcp-client-id": "00:77"}, [])
    device.put("/etc/NetworkManager/system-connections/bay", "[connection]\ntype=ethernet\ninterface-name=bay5\n")
    assert carried(device) == ({"dhcp-client-id": "00:77", "route-metric": "70"}, [])
    own = "[connection]\ntype=ethernet\ninterface-name=bay5\n[ipv4]\nmethod=auto\ndhcp-client-id=00:78\n"
    device.put("/etc/NetworkManager/system-connections/bay", own)
    assert carried(device)[0]["dhcp-client-id"] == "00:78"


@pytest.mark.parametrize(
    ("devices", "counts"),
    [
        ("interface-name:bay*", True),
        ("type:ethernet", True),
        ("type:wifi", False),
        ("*,except:interface-name:bay5", False),
        ("except:type:wifi", True),
        ("mac:02:5E:10:AA:BB:CC", True),
        ("s390-subchannels:0.0.1", False),
    ],
)
def test_a_default_for_some_devices_counts_for_these(device: Device, devices: str, *, counts: bool) -> None:
    some = f"[connection-bay]\nmatch-device={devices}\nipv4.dhcp-client-id=00:77\n"
    device.put("/etc/NetworkManager/conf.d/a.conf", f"{some}[connection]\nipv4.dhcp-client-id=00:79\n")
    assert carried(device)[0] == {"dhcp-client-id": "00:77" if counts else "00:79"}


def test_an_id_that_is_made_of_this_system_is_told(device: Device) -> None:
    text = "[connection]\ntype=ethernet\ninterface-name=bay5\n[ipv4]\nmethod=auto\ndhcp-client-id=stable\n"
    device.put("/etc/NetworkManager/system-connections/bay", text)
    said, told = carried(device)
    assert said == {"dhcp-client-id": "stable"}
    assert told == ["ipv4.dhcp-client-id=stable makes another id on the new system, so its lease may change"]


def test_wifi_drivers_that_are_kept_from_random_addresses_are_told(device: Device) -> None:
    device.put("/etc/NetworkManager/conf.d/scan.conf", "[device]\nwifi.scan-rand-mac-address=no\n")
    assert carried(device)[1] == []
    assert carried(device, now(InterfaceKind.WIFI))[1] == ["wifi.scan-rand-mac-address=no is not carried over"]


ADDRESS_6 = "2001:db8:4::30"


def online(device: Device) -> str:
    network = now(address=f"{ADDRESS_6}/128")
    settings = read_network(device.system, network)
    selection = select_profiles(ALL_WIFIS, settings, device.system)
    return next(iter(check_network(ALL_WIFIS, network, settings, selection))).cause


def test_dhcpv6_knows_the_device_by_its_duid(device: Device) -> None:
    """dhclient and dhcpcd keep it in a file; where none is found, what is not compared says so."""
    assert "DHCPv6 gives the same address to a new DUID" in online(device)
    device.put("/etc/network/interfaces", "auto bay5\niface bay5 inet6 dhcp\n")
    lease = f'lease6 {{\n  interface "bay5";\n  ia-na 10:aa:bb:cc {{\n    iaaddr {ADDRESS_6} {{\n    }}\n  }}\n}}\n'
    device.put("/var/lib/dhcp/dhclient6.bay5.leases", f"default-duid {DUID};\n{lease}")
    network = now(address=f"{ADDRESS_6}/128")
    (file,) = carried_keyfiles(device.system, read_network(device.system, network), network)
    assert (file.text("ipv6", "dhcp-duid"), file.text("ipv6", "dhcp-iaid")) == (DUID, str(0x10AABBCC))
    assert "DUID" not in online(device)


def test_dhcpcd_asks_dhcpv6_with_its_duid(device: Device) -> None:
    device.put("/etc/dhcpcd.conf", "interface bay5\nclientid\n")
    device.put("/var/lib/dhcpcd/duid", DUID)
    packed = bytes.fromhex("20010db8000400000000000000000030")
    device.put("/var/lib/dhcpcd/bay5.lease6", b"\x07" + bytes(20) + packed)
    network = now(address=f"{ADDRESS_6}/128")
    (file,) = carried_keyfiles(device.system, read_network(device.system, network), network)
    assert file.text("ipv6", "dhcp-duid") == DUID


@pytest.mark.parametrize(
    ("options", "said", "told"),
    [
        (" hostname silo-5\n", {"dhcp-hostname": "silo-5"}, []),
        (" vendor feeder\n", {"dhcp-vendor-class-identifier": "feeder"}, []),
        (" client 0:17\n", {}, ["client is not carried over"]),
    ],
)
def test_what_ifupdown_says_itself(device: Device, options: str, said: dict[str, str], told: list[str]) -> None:
    device.put("/etc/network/interfaces", INTERFACES + options)
    assert carried(device) == (said, told)


@pytest.mark.processes
def test_networkmanager_reads_the_id_as_bytes(device: Device, oracle: Oracle) -> None:
    device.put("/run/systemd/netif/leases/3", f"{NETWORKD_LEASE}CLIENTID={BY_DUID.replace(':', '')}\n")
    (file,) = carried_keyfiles(device.system, read_network(device.system, now()), now())
    assert oracle.read(file.dump())["ipv4"]["dhcp-client-id"] == BY_DUID


@pytest.mark.parametrize("damaged", ["CLIENTID=ff0", "CLIENTID=", "\0\0", 'default-duid "\\', "lease {"])
def test_a_damaged_file_of_leases_says_nothing(device: Device, damaged: str) -> None:
    for path in (
        "/run/systemd/netif/leases/3",
        DHCLIENT_LEASES,
        "/var/lib/dhcpcd/bay5.lease",
        "/etc/dhcp/dhclient.conf",
    ):
        device.put(path, damaged)
    assert carried(device) == ({}, [])
