# SPDX-License-Identifier: Apache-2.0
"""802.1X on wired ports: a login goes along from every program that can hold one, or its loss is no plain lease."""

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
from balena_migrate.findings import Finding, Severity
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from balena_migrate.settings import Config
from tests.support.network import ALL_WIFIS, Device, carried_keyfiles
from tests.support.oracle import Oracle

LANS = ("lan0", "lan1")
ADDRESS = "172.24.6.9/24"
CA = "/etc/ssl/turbine-ca.pem"
NETPLAN = """
network:
  renderer: {renderer}
  ethernets:
    lan0:
      dhcp4: true
      auth:
        key-management: 802.1x
        method: peap
        identity: turbine
        password: seven blades
        ca-certificate: /etc/ssl/turbine-ca.pem
        phase2-auth: MSCHAPV2
"""
VALUES = 'eap=PEAP\nidentity="turbine"\npassword="seven blades"\nca_cert="/etc/ssl/turbine-ca.pem"\n'
VALUES += 'phase2="auth=MSCHAPV2"\n'
BLOCK = f"network={{\nkey_mgmt=IEEE8021X\n{VALUES}}}\n"
WIRED = "/etc/wpa_supplicant/wpa_supplicant-wired-lan0.conf"
INLINE = "auto lan0\niface lan0 inet dhcp\n wpa-driver wired\n wpa-eap PEAP\n wpa-identity turbine\n"
INLINE += f" wpa-password seven blades\n wpa-ca-cert {CA}\n wpa-phase2 auth=MSCHAPV2\n"
KEYFILE = f"""[connection]
type=ethernet
interface-name=lan0
[802-1x]
eap=peap;
identity=turbine
password=seven blades
ca-cert={CA}
phase2-auth=mschapv2
"""
CONNMAN = f"""[service_x]
Type=ethernet
DeviceName=lan0
EAP=peap
Identity=turbine
Passphrase=seven blades
CACertFile={CA}
Phase2=MSCHAPV2
"""
WITH_FILE = "auto lan0\niface lan0 inet dhcp\n wpa-driver wired\n wpa-conf /etc/8021x\n"
KEYFILES = "/etc/NetworkManager/system-connections"
UNBOUND_KEYFILE = KEYFILE.replace("interface-name=lan0\n", "")
NETWORKD = NETPLAN.format(renderer="networkd")
PLACES = {
    "netplan with networkd": ("/etc/netplan/t.yaml", NETWORKD),
    "netplan with NetworkManager": ("/etc/netplan/t.yaml", NETPLAN.format(renderer="NetworkManager")),
    "wpa_supplicant": (WIRED, BLOCK),
    "ifupdown with a file": ("/etc/network/interfaces", WITH_FILE),
    "ifupdown": ("/etc/network/interfaces", INLINE + " wpa-key-mgmt IEEE8021X\n"),
    "ifupdown without key_mgmt": ("/etc/network/interfaces", INLINE),
    "NetworkManager": (f"{KEYFILES}/turbine", KEYFILE),
    "ConnMan": ("/var/lib/connman/turbine.config", CONNMAN),
}  # fmt: skip
OPTIONAL = {"netplan with networkd", "wpa_supplicant", "ifupdown", "ifupdown with a file", "ifupdown without key_mgmt"}


def now(
    use: str = "lan0", kind: InterfaceKind = InterfaceKind.ETHERNET, *, lower: tuple[str, ...] = (), lease: bool = True
) -> NetworkFacts:
    """Two wired interfaces, and one more that is in use if it is none of these."""
    lans = [
        Interface(name=name, kind=InterfaceKind.ETHERNET, mac=f"02:00:5e:74:00:0{i}", mac_permanent=True)
        for i, name in enumerate(LANS)
    ]
    more = [] if use in LANS else [Interface(name=use, kind=kind, lower=lower)]
    return NetworkFacts(
        interfaces=(*lans, *more),
        addresses=(InterfaceAddress(interface=use, address=ADDRESS, dynamic=lease),),
        default_routes=(DefaultRoute(interface=use, gateway="172.24.6.1"),),
    )


def place(device: Device, program: str, *, certificate: bool = True) -> None:
    path, text = PLACES[program]
    device.put(path, text)
    if program == "ifupdown with a file":
        device.put("/etc/8021x", BLOCK)
    if certificate:
        device.put(CA, "a certificate")


def check(device: Device, network: NetworkFacts, config: Config = ALL_WIFIS) -> dict[str, Finding]:
    """Code -> the first finding with it."""
    settings = read_network(device.system, network)
    selection = select_profiles(config, settings, device.system)
    return {finding.code: finding for finding in reversed(list(check_network(config, network, settings, selection)))}


def sources(settings: NetworkSettings) -> list[str]:
    return [profile.source for profile in settings.profiles]


@pytest.mark.processes
@pytest.mark.parametrize("program", PLACES)
def test_networkmanager_reads_the_login_of_each_program(device: Device, oracle: Oracle, program: str) -> None:
    place(device, program)
    settings = read_network(device.system, now())
    selection = select_profiles(ALL_WIFIS, settings, device.system)
    assert [profile.kind for profile in selection.profiles] == ["ethernet"]
    (file,) = carried_keyfiles(device.system, settings, now())
    found = oracle.read(file.dump())
    assert found["802-3-ethernet"]["mac-address"]["bytes"] == [2, 0, 0x5E, 0x74, 0, 0]
    login = found["802-1x"]
    assert (login["eap"], login["identity"], login["password"]) == (["peap"], "turbine", "seven blades")
    assert (login["phase2-auth"], login.get("optional", False)) == ("mschapv2", program in OPTIONAL)
    assert bytes(login["ca-cert"]["bytes"]).startswith(
        b"file:///etc/NetworkManager/system-connections/resin-ethernet-01"
    )
    assert found["ipv4"]["method"] == "auto"
    assert check(device, now())["network-online"].severity is Severity.OK


@pytest.mark.parametrize("program", PLACES)
def test_a_login_that_is_lost_is_no_plain_lease(device: Device, program: str) -> None:
    place(device, program, certificate=False)
    finding = check(device, now())["network-lost"]
    assert finding.severity is Severity.BLOCKER
    assert "802.1X" in finding.cause and CA in finding.cause and "seven blades" not in finding.cause
    assert "ALLOW_OFFLINE" in finding.remedy
    assert check(device, now(), Config(allow_offline=True))["network-lost"].severity is Severity.WARNING


@pytest.mark.parametrize("program", PLACES)
def test_on_another_interface_its_loss_is_a_warning(device: Device, program: str) -> None:
    place(device, program, certificate=False)
    found = check(device, now("lan1"))
    assert found["network-online"].severity is Severity.OK
    assert found["network-not-carried"].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (WIRED, BLOCK.replace("eap=PEAP", "eap=SIM")),
        (WIRED, BLOCK.replace('identity="turbine"\n', "")),
        (WIRED, BLOCK.replace("eap=PEAP", "macsec_policy=1\neap=PEAP")),
        (WIRED, "\0"),
        (f"{KEYFILES}/turbine", KEYFILE.replace("password=", "password-flags=1\n#")),
        (f"{KEYFILES}/turbine", KEYFILE.replace("[802-1x]", "uuid=none\n[802-1x]")),
        (f"{KEYFILES}/turbine", UNBOUND_KEYFILE + "[match]\nkernel-command-line=x\n"),
        (f"{KEYFILES}/turbine", UNBOUND_KEYFILE + "pin-flags=2\n[ethernet]\nmac-address=02:00:5E:74:00:00\n"),
        ("/etc/netplan/t.yaml", NETWORKD.replace("peap", "sim")),
        ("/etc/netplan/t.yaml", NETWORKD.replace("802.1x", "psk")),
        ("/etc/netplan/t.yaml", NETWORKD + "  bridges: {br1: {interfaces: [lan0]}}\n"),
        ("/etc/netplan/t.yaml", NETWORKD.replace("lan0:", "a:\n      match: {name: lan*}").replace("peap", "sim")),
        ("/etc/netplan/t.yaml", NETWORKD + "      addresses: [nowhere]\n"),
        ("/etc/network/interfaces", INLINE.replace("PEAP", "SIM")),
        ("/etc/network/interfaces", INLINE + " address nowhere\n"),
        ("/etc/network/interfaces", "auto lan0\niface lan0 inet ppp\n wpa-driver wired\n wpa-conf /etc/8021x\n"),
        ("/var/lib/ead/default.8021x", "[Security]\n"),
    ],
)  # fmt: skip
def test_whatever_the_reason_is(device: Device, path: str, text: str) -> None:
    device.put(CA, "a certificate")
    device.put(path, text)
    finding = check(device, now())["network-lost"]
    assert finding.severity is Severity.BLOCKER and path in finding.cause and "802.1X" in finding.cause


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            f"{KEYFILES}/turbine",
            KEYFILE.replace("[802-1x]", "autoconnect=false\n[802-1x]").replace("peap", "sim"),
        ),
        ("/etc/netplan/t.yaml", NETWORKD.replace("802.1x", "none").replace("peap", "sim")),
        (WIRED, "network={\nkey_mgmt=NONE\n}\n"),
        ("/etc/network/interfaces", INLINE.replace("auto lan0", "").replace("PEAP", "SIM")),
        ("/etc/network/interfaces", INLINE.replace("auto lan0", "") + " address nowhere\n"),
    ],
)
def test_what_logs_nobody_in_is_no_loss(device: Device, path: str, text: str) -> None:
    device.put(path, text)
    assert "network-lost" not in check(device, now())


@pytest.mark.parametrize("kind", [InterfaceKind.VLAN, InterfaceKind.BRIDGE, InterfaceKind.BOND])
def test_what_stands_on_the_port_is_lost_with_its_login(device: Device, kind: InterfaceKind) -> None:
    place(device, "wpa_supplicant", certificate=False)
    assert "802.1X" in check(device, now("top0", kind, lower=("lan0",)))["network-lost"].cause
    assert all(
        "802.1X" not in f.cause for f in check(device, now("top0", kind, lower=("lan1",))).values() if "lost" in f.code
    )


def test_what_stands_on_what_is_read_from_the_kernel(device: Device) -> None:
    for path in ("top0.5/lower_top0", "top0/lower_lan0", "top0/lower_lan1", "lan0/x", "lan1/x"):
        device.put(f"/sys/class/net/{path}", "")
    facts = read_network_facts(device.system)
    vlan = facts.find_interface("top0.5")
    assert vlan and [below.name for below in facts.below(vlan)] == ["top0.5", "top0", "lan0", "lan1"]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/netplan/t.yaml", f"network: {{ethernets: {{lan0: {{addresses: [{ADDRESS}], gateway4: 172.24.6.1}}}}}}"),
        ("/etc/systemd/network/t.network", f"[Match]\nName=lan0\n[Network]\nAddress={ADDRESS}\nGateway=172.24.6.1\n"),
        ("/etc/network/interfaces", f"auto lan0\niface lan0 inet static\n address {ADDRESS}\n gateway 172.24.6.1\n"),
    ],
)
def test_the_login_gets_the_addresses_that_another_program_gives(
    device: Device, oracle: Oracle, path: str, text: str
) -> None:
    place(device, "wpa_supplicant")
    device.put(path, text)
    network = now(lease=False)
    settings = read_network(device.system, network)
    assert sources(settings) == [WIRED]
    (file,) = carried_keyfiles(device.system, settings, network)
    found = oracle.read(file.dump())
    assert found["802-1x"]["identity"] == "turbine" and found["ipv4"]["method"] == "manual"
    assert found["ipv4"]["address-data"] == [{"address": "172.24.6.9", "prefix": 24}]
    assert "network-online" in check(device, network)


def test_of_two_programs_the_login_gets_the_address_in_use(device: Device) -> None:
    place(device, "wpa_supplicant")
    device.put("/etc/netplan/t.yaml", "network: {ethernets: {lan0: {dhcp4: true}}}")
    device.put("/etc/dhcpcd.conf", f"interface lan0\nstatic ip_address={ADDRESS}\nstatic routers=172.24.6.1\n")
    found = check(device, now(lease=False))
    assert "network-online" in found and "/etc/netplan/t.yaml" in found["network-not-carried"].cause


def test_a_login_beside_a_keyfile_is_lost_and_no_plain_lease(device: Device) -> None:
    """NetworkManager has the address, and a wpa_supplicant of its own logs the port in."""
    place(device, "wpa_supplicant")
    device.put(f"{KEYFILES}/turbine", "[connection]\ntype=ethernet\ninterface-name=lan0\n")
    assert "802.1X" in check(device, now())["network-lost"].cause


PLAIN, LOGIN = "5d9e1c1e-7a10-4f0e-8a55-0000000000a1", "5d9e1c1e-7a10-4f0e-8a55-0000000000a2"


def active(device: Device, uuid: str) -> NetworkFacts:
    """The connection that NetworkManager has on lan0."""
    device.put("/sys/class/net/lan0/ifindex", "7\n")
    device.put("/run/NetworkManager/devices/7", f"[device]\nmanaged=full\nconnection-uuid={uuid}\nroute-metric=100\n")
    lan0 = read_network_facts(device.system).find_interface("lan0")
    assert lan0 and lan0.connection == uuid
    there = now()
    return replace(there, interfaces=(replace(there.interfaces[0], connection=uuid), *there.interfaces[1:]))


def two_keyfiles(device: Device, method: str) -> None:
    device.put(CA, "a certificate")
    plain = f"[connection]\ntype=ethernet\ninterface-name=lan0\nuuid={PLAIN}\n"
    device.put(f"{KEYFILES}/a", plain)
    device.put(f"{KEYFILES}/b", KEYFILE.replace("peap", method).replace("[802-1x]", f"uuid={LOGIN}\n[802-1x]"))


def test_of_two_keyfiles_the_active_one_counts(device: Device) -> None:
    two_keyfiles(device, "peap")
    for uuid, source in ((PLAIN, "a"), (LOGIN, "b")):
        network = active(device, uuid)
        assert sources(read_network(device.system, network)) == [f"{KEYFILES}/{source}"]
        assert "network-online" in check(device, network)


def test_a_lost_login_that_is_not_the_active_connection_is_not_in_force(device: Device) -> None:
    two_keyfiles(device, "sim")
    assert "network-online" in check(device, active(device, PLAIN))
    assert "802.1X" in check(device, active(device, LOGIN))["network-lost"].cause
    assert "802.1X" in check(device, now())["network-lost"].cause


def test_a_refused_login_leaves_the_plain_profile_of_another_interface(device: Device) -> None:
    device.put(CA, "a certificate")
    device.put(WIRED, BLOCK.replace("PEAP", "SIM"))
    device.put("/etc/dhcpcd.conf", f"interface lan0\nstatic ip_address={ADDRESS}\n")
    assert sources(read_network(device.system, now("lan1"))) == ["/etc/dhcpcd.conf"]


def test_a_login_for_another_hardware_address_is_not_this_ports(device: Device) -> None:
    keyfile = UNBOUND_KEYFILE.replace("peap", "sim") + "[ethernet]\nmac-address=02:00:5E:74:00:00\n"
    device.put(f"{KEYFILES}/turbine", keyfile)
    assert "network-online" in check(device, now("lan1")) and "network-lost" in check(device, now("lan0"))


UNBOUND = "/etc/wpa_supplicant/cable.conf"


def running(device: Device, *words: str) -> None:
    device.put("/proc/417/cmdline", "\0".join(("/sbin/wpa_supplicant", *words)) + "\0")


@pytest.mark.parametrize(
    "words",
    [
        ("-B", "-Dwired", "-ilan0", f"-c{UNBOUND}"),
        ("-c", UNBOUND, "-D", "wired", "-i", "lan0", "-P", "/run/x.pid"),
        ("-i", "wlan0", "-c", "/etc/wpa_supplicant/air.conf", "-N", "-D", "wired", "-i", "lan0", "-c", UNBOUND),
    ],
)
def test_the_interface_is_that_of_the_wpa_supplicant_that_runs(device: Device, words: tuple[str, ...]) -> None:
    device.put(CA, "a certificate")
    device.put(UNBOUND, BLOCK)
    device.put("/etc/wpa_supplicant/air.conf", "")
    running(device, *words)
    (profile,) = read_network(device.system, now()).profiles
    assert (profile.interface, profile.eap is not None) == ("lan0", True)
    assert "network-online" in check(device, now())


@pytest.mark.parametrize("words", [("-u", "-s", "-O", "DIR=/run/wpa_supplicant"), ("-!",), ("-Dwired", "-c", "x")])
def test_a_wpa_supplicant_without_a_file_says_nothing(device: Device, words: tuple[str, ...]) -> None:
    running(device, *words)
    device.put("/proc/418/cmdline", "")
    device.put("/proc/419/cmdline", f"vi\0-c\0{UNBOUND}\0")
    assert not read_network(device.system, now()).problems


def test_a_file_in_a_place_of_its_own_is_found_by_what_runs(device: Device) -> None:
    device.put("/opt/turbine/port", BLOCK)
    device.put("/opt/turbine/air", 'network={\nssid="Turbine"\nkey_mgmt=NONE\n}\n')
    running(device, "-c/opt/turbine/air", "-iwlan0", "-N", "-Dwired", "-c/opt/turbine/port", "-ilan0")
    assert sources(read_network(device.system, now())) == ["/opt/turbine/air"]
    assert "/opt/turbine/port" in check(device, now())["network-lost"].cause
    device.put(CA, "a certificate")
    assert sources(read_network(device.system, now())) == ["/opt/turbine/air", "/opt/turbine/port"]


def test_a_login_for_an_unknown_port_is_that_of_the_only_one(device: Device) -> None:
    device.put(CA, "a certificate")
    device.put(UNBOUND, BLOCK)
    two = now()
    one = NetworkFacts(interfaces=two.interfaces[:1], addresses=two.addresses, default_routes=two.default_routes)
    assert [profile.interface for profile in read_network(device.system, one).profiles] == ["lan0"]
    assert "lan0, lan1" in check(device, two)["network-lost"].cause


@pytest.mark.parametrize("block", [BLOCK, BLOCK.replace(CA, "/etc/cert/of-the-example.pem")])
def test_a_login_that_nothing_uses_is_no_loss_and_not_carried(device: Device, block: str) -> None:
    """The example that comes with wpa_supplicant has one, and is for Wi-Fi where it is copied."""
    device.put(CA, "a certificate")
    device.put(UNBOUND, block + 'network={\nssid="Turbine"\nkey_mgmt=NONE\n}\n')
    running(device, "-B", "-c", UNBOUND, "-i", "wlan0")
    two = now()
    for network in (two, replace(two, interfaces=two.interfaces[:1])):
        assert [profile.name for profile in read_network(device.system, network).profiles] == ["Turbine"]
        found = check(device, network)
        assert "network-online" in found and UNBOUND in found["network-not-carried"].cause


def test_an_image_whose_networkmanager_waits_for_the_login_is_told(device: Device) -> None:
    place(device, "wpa_supplicant")
    problems = {os: read_network(device.system, now(), os).problems for os in ("2.60.0", "2.68.0")}
    assert "802-1x.optional needs NetworkManager 1.22" in problems["2.60.0"][0].reason
    assert not problems["2.68.0"]
