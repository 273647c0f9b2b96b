# SPDX-License-Identifier: Apache-2.0
"""ifupdown's roaming: each network of wpa_supplicant gets the addresses of the stanza that its id_str names."""

from __future__ import annotations

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.findings import Severity
from balena_migrate.network.model import Ip, Kind, Method, NetworkSettings, Profile
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from tests.support.network import ALL_WIFIS, Device, carried_keyfiles

INTERFACES = "/etc/network/interfaces"
FILE = "/etc/wpa_supplicant/wpa_supplicant.conf"
QUAY = 'network={\n ssid="Quay"\n psk="a word for the quay"\n id_str="quay"\n}\n'
YARD = 'network={\n ssid="Yard"\n psk="a word for the yard"\n}\n'
ROAMING = f"auto wlan0\niface wlan0 inet manual\n wpa-roam {FILE}\n"
AT_QUAY = "iface quay inet static\n address 172.22.4.9/24\n gateway 172.22.4.1\n dns-nameservers 172.22.0.53\n"
ELSEWHERE = "iface default inet dhcp\n"


def now(*names: str, ssid: bytes = b"Quay", address: str = "172.22.4.9/24") -> NetworkFacts:
    """The first of the interfaces has the address, without a lease."""
    return NetworkFacts(
        interfaces=tuple(
            Interface(name=n, kind=InterfaceKind.WIFI, mac=f"02:00:5e:72:00:0{i}", mac_permanent=True, ssid=ssid)
            for i, n in enumerate(names or ("wlan0",))
        ),
        addresses=(InterfaceAddress(interface=(names or ("wlan0",))[0], address=address),),
        default_routes=(DefaultRoute(interface=(names or ("wlan0",))[0], gateway="172.22.4.1"),),
    )


def settings(device: Device, text: str, networks: str = QUAY + YARD, *, file: str = FILE) -> NetworkSettings:
    device.put(INTERFACES, text)
    device.put(file, networks)
    return read_network(device.system, now())


def found(device: Device, text: str, networks: str = QUAY + YARD, *, file: str = FILE) -> dict[str, Profile]:
    return {profile.name: profile for profile in settings(device, text, networks, file=file).profiles}


def addresses(profile: Profile) -> tuple[str, ...]:
    return profile.ipv4.addresses if profile.ipv4 else ("none of its own",)


def reasons(read: NetworkSettings) -> dict[str, str]:
    """Subject -> reason, of what is lost as a whole."""
    return {problem.subject: problem.reason for problem in read.problems if problem.lost}


def codes(device: Device, read: NetworkSettings, network: NetworkFacts) -> dict[str, Severity]:
    selection = select_profiles(ALL_WIFIS, read, device.system)
    return {finding.code: finding.severity for finding in check_network(ALL_WIFIS, network, read, selection)}


@pytest.mark.parametrize("file", [FILE, "/etc/quay/wlan.conf"])
def test_each_network_has_the_addresses_of_its_stanza(device: Device, file: str) -> None:
    read = settings(device, (ROAMING + ELSEWHERE + AT_QUAY).replace(FILE, file), file=file)
    quay, yard = carried_keyfiles(device.system, read, now())
    assert quay.text("wifi", "ssid") == "Quay" and quay.text("ipv4", "method") == "manual"
    assert (quay.text("ipv4", "address1"), quay.text("ipv4", "gateway")) == ("172.22.4.9/24", "172.22.4.1")
    assert quay.items("ipv4", "dns") == ("172.22.0.53",)
    assert yard.text("wifi", "ssid") == "Yard" and yard.text("ipv4", "method") == "auto"
    assert not read.problems and [profile.kind for profile in read.profiles] == [Kind.WIFI, Kind.WIFI]
    assert codes(device, read, now()) == {"network-online": Severity.OK}


def test_the_address_of_another_network_is_not_that_of_the_one_in_use(device: Device) -> None:
    read = settings(device, ROAMING + ELSEWHERE + AT_QUAY)
    assert codes(device, read, now(ssid=b"Yard"))["network-lost"] is Severity.BLOCKER
    assert "network-online" in codes(device, read, now(ssid=b"Yard", address="172.22.7.70/24"))
    assert codes(device, read, now(address="172.22.7.70/24"))["network-lost"] is Severity.BLOCKER


def test_a_stanza_of_both_families_and_with_commands(device: Device) -> None:
    routes = " up ip route add 10.9.0.0/16 via 172.22.4.2 dev wlan0\n pre-up /usr/local/bin/quay-door\n mtu 1400\n"
    six = "iface quay inet6 static\n address 2001:db8:22::9/64\n gateway 2001:db8:22::1\n"
    read = settings(device, ROAMING + ELSEWHERE + AT_QUAY + routes + six)
    quay = read.profiles[0]
    assert quay.ipv4 and [route.destination for route in quay.ipv4.routes] == ["10.9.0.0/16"]
    assert quay.ipv6 and (quay.ipv6.addresses, quay.ipv6.gateway) == (("2001:db8:22::9/64",), "2001:db8:22::1")
    assert quay.mtu == 1400 and quay.interface == "wlan0"
    assert [(p.lost, "quay-door" in p.reason) for p in read.problems] == [(False, True)]


def test_the_interfaces_own_hardware_address_counts_at_every_place(device: Device) -> None:
    read = found(device, f"{ROAMING} hwaddress 02:00:5e:72:aa:01\n{ELSEWHERE}{AT_QUAY}")
    assert {profile.cloned_mac for profile in read.values()} == {"02:00:5e:72:aa:01"}


@pytest.mark.parametrize(
    ("option", "default", "yard"),
    [
        ("", "iface default inet static\n address 172.22.5.9/24\n", ("172.22.5.9/24",)),
        (" wpa-roam-default-iface away\n", "iface away inet static\n address 172.22.6.9/24\n", ("172.22.6.9/24",)),
        (" wpa-roam-default-iface gone\n", ELSEWHERE, ()),
        ("", "iface default inet manual\n", ("none of its own",)),
        ("", "", ("none of its own",)),
    ],
)
def test_a_network_without_an_id_str(device: Device, option: str, default: str, yard: tuple[str, ...]) -> None:
    assert addresses(found(device, ROAMING + option + default + AT_QUAY)["Yard"]) == yard


def test_an_id_str_without_a_stanza_gets_the_addresses_of_default_and_is_told(device: Device) -> None:
    default = "iface default inet static\n address 172.22.5.9/24\n"
    read = settings(device, ROAMING + default)
    assert {addresses(profile) for profile in read.profiles} == {("172.22.5.9/24",)}
    assert [(p.lost, p.subject, "is not there" in p.reason) for p in read.problems] == [(False, "Quay", True)]


def test_a_stanza_that_inherits_default_leaves_default_to_the_others(device: Device) -> None:
    default = "iface default inet static\n address 172.22.5.9/24\n dns-nameservers 172.22.0.53\n"
    read = found(device, ROAMING + default + "iface quay inet static inherits default\n address 172.22.4.9/24\n")
    assert {name: addresses(profile) for name, profile in read.items()} == {
        "Quay": ("172.22.4.9/24",),
        "Yard": ("172.22.5.9/24",),
    }
    assert read["Quay"].ipv4 and read["Quay"].ipv4.dns == ("172.22.0.53",)


@pytest.mark.parametrize(("option", "lost"), [("", {"Yard"}), (" wpa-mapping-script-priority 1\n", {"Yard", "Quay"})])
def test_a_script_that_chooses_the_stanza_cannot_be_asked(device: Device, option: str, lost: set[str]) -> None:
    script = " wpa-mapping-script guessnet-ifupdown\n wpa-map0 quay\n"
    read = settings(device, ROAMING + script + option + ELSEWHERE + AT_QUAY)
    refused = {
        problem.subject.rpartition("=")[2].strip('"') for problem in read.problems if "guessnet" in problem.reason
    }
    assert refused == lost


def test_a_stanza_that_cannot_be_read_refuses_its_network_alone(device: Device) -> None:
    read = settings(device, ROAMING + ELSEWHERE + "iface quay inet ppp\n")
    assert [profile.name for profile in read.profiles] == ["Yard"]
    assert codes(device, read, now())["network-lost"] is Severity.BLOCKER


def test_two_interfaces_roam_each_by_its_own_file(device: Device) -> None:
    second = "/etc/wpa_supplicant/second.conf"
    device.put(second, QUAY.replace('"quay"', '"pier"'))
    text = ROAMING + ROAMING.replace("wlan0", "wlan1").replace(FILE, second) + ELSEWHERE + AT_QUAY
    pier = "iface pier inet static\n address 172.22.8.9/24\n"
    read = settings(device, text + pier)
    assert {(p.name, p.interface): addresses(p) for p in read.profiles} == {
        ("Quay", "wlan0"): ("172.22.4.9/24",),
        ("Yard", "wlan0"): (),
        ("Quay", "wlan1"): ("172.22.8.9/24",),
    }


def test_the_file_is_not_read_for_any_interface_besides(device: Device) -> None:
    """Else its networks would take the addresses of the other Wi-Fi interface."""
    other = "auto wlan1\niface wlan1 inet static\n address 172.22.9.9/24\n gateway 172.22.9.1\n"
    read = settings(device, ROAMING + ELSEWHERE + AT_QUAY + other)
    assert [addresses(profile) for profile in read.profiles] == [("172.22.4.9/24",), ()]


def test_a_network_in_the_stanza_itself_beside_a_file(device: Device) -> None:
    """wpa_cli adds it to those of the file (ifupdown.sh), but not where wpa_action rules."""
    crane = " wpa-ssid Crane\n wpa-psk a word for the crane\n"
    text = "auto wlan0\niface wlan0 inet dhcp\n wpa-conf /etc/quay/wlan.conf\n"
    assert set(found(device, text, file="/etc/quay/wlan.conf")) == {"Quay", "Yard"}
    assert set(found(device, text + crane, file="/etc/quay/wlan.conf")) == {"Quay", "Yard", "Crane"}
    assert set(found(device, ROAMING + crane)) == {"Quay", "Yard"}


def test_without_roaming_an_id_str_chooses_nothing(device: Device) -> None:
    read = settings(device, ROAMING.replace("wpa-roam", "wpa-conf") + AT_QUAY)
    assert {addresses(profile) for profile in read.profiles} == {("none of its own",)}
    assert "nothing refers to it" in reasons(read)["quay"]
    assert codes(device, read, now())["network-lost"] is Severity.BLOCKER


@pytest.mark.parametrize("name", ["quay", "lan.quay", "enterprise", "eth0-quay"])
def test_a_stanza_that_nothing_refers_to_is_told_and_no_profile(device: Device, name: str) -> None:
    read = settings(device, AT_QUAY.replace("quay", name))
    assert all(profile.kind is Kind.WIFI for profile in read.profiles)
    assert "nothing refers to it" in reasons(read)[name]


def test_a_stanza_whose_name_fits_a_pattern_for_interfaces_is_no_interface(device: Device) -> None:
    read = settings(device, "auto /wlan*\n" + AT_QUAY.replace("quay", "wlan0-quay"))
    assert "nothing refers to it" in reasons(read)["wlan0-quay"]


@pytest.mark.parametrize("name", ["eth1", "enp3s0", "end0", "enx00e04c680001", "usb0", "eth0.7"])
def test_the_stanza_of_an_interface_that_is_not_there_is_kept(device: Device, name: str) -> None:
    read = settings(device, AT_QUAY.replace("quay", name), networks="")
    assert [(profile.interface, profile.autoconnect) for profile in read.profiles] == [(name, False)]


def test_an_interface_of_any_name_that_is_there_keeps_its_stanza(device: Device) -> None:
    device.put("/sys/class/net/quay/address", "02:00:5e:72:00:01\n")
    assert "quay" in found(device, AT_QUAY, networks="")


def test_the_lease_that_old_images_have_as_default_is_no_loss(device: Device) -> None:
    assert not settings(device, ELSEWHERE).problems
    assert "default" in reasons(settings(device, "iface default inet static\n address 172.22.5.9/24\n"))


def test_what_a_mapping_may_choose_is_told_and_its_address_is_no_lease(device: Device) -> None:
    mapping = "auto wlan0\nmapping wlan0\n script /usr/local/sbin/where\n map quay\niface wlan0 inet dhcp\n"
    read = settings(device, f"{mapping} wpa-conf {FILE}\n{AT_QUAY}")
    assert "mapping" in reasons(read)["quay"]
    assert any(p.subject == "wlan0" and "mapping" in p.reason and not p.lost for p in read.problems)
    assert codes(device, read, now())["network-lost"] is Severity.BLOCKER


def test_the_addresses_are_those_of_the_model(device: Device) -> None:
    quay = found(device, ROAMING + ELSEWHERE + AT_QUAY)["Quay"]
    assert quay.ipv4 == Ip(
        method=Method.MANUAL, addresses=("172.22.4.9/24",), gateway="172.22.4.1", dns=("172.22.0.53",)
    )
