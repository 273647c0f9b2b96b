# SPDX-License-Identifier: Apache-2.0
"""systemd-networkd, dhcpcd, ifupdown, ConnMan and iwd."""

from __future__ import annotations

import pytest

from balena_migrate.network.model import Ip, Kind, Method, Pmf, Profile, Reading, Route, Security, Vlan, Wep, Wifi
from balena_migrate.network.sources import all_sources, connman, dhcpcd, ifupdown, iwd, networkd
from tests.support.network import Device

STATIC = Ip(method=Method.MANUAL, addresses=("192.0.2.5/24",), gateway="192.0.2.1", dns=("192.0.2.53",))


def by_name(reading: Reading) -> dict[str, Profile]:
    return {profile.name: profile for profile in reading.profiles}


def reasons(reading: Reading) -> str:
    return " | ".join(str(problem) for problem in reading.problems)


def test_every_source_keeps_the_contract(device: Device) -> None:
    """An empty system holds nothing, and the sources are told apart by name and precedence."""
    sources = all_sources()
    assert {source.read(device.system) for source in sources} == {Reading()}
    assert len({source.name for source in sources}) == len({s.precedence for s in sources}) == len(sources) == 10


# systemd-networkd


def test_networkd_static(device: Device) -> None:
    text = """
[Match]
Name=eth0
[Link]
MTUBytes=1400
[Network]
Address=192.0.2.5/24
Gateway=192.0.2.1
DNS=192.0.2.53#dns.example.org
IPv6AcceptRA=no
[Route]
Destination=10.0.0.0/8
Gateway=192.0.2.2
Metric=7
"""
    device.put("/etc/systemd/network/10.network", text)
    (profile,) = networkd.read(device.system).profiles
    route = Route(destination="10.0.0.0/8", gateway="192.0.2.2", metric=7)
    assert profile.ipv4 and profile.ipv4.routes == (route,)
    assert (profile.interface, profile.mtu, profile.ipv4.gateway) == ("eth0", 1400, "192.0.2.1")
    assert profile.ipv6 == Ip(method=Method.LINK_LOCAL)


def test_networkd_drop_ins_vlans_and_masks(device: Device) -> None:
    device.put("/etc/systemd/network/10.network", "[Match]\nName=eth0\n[Network]\nDHCP=yes\nVLAN=v5\n")
    device.put("/etc/systemd/network/10.network.d/x.conf", "[DHCPv4]\nRouteMetric=5\n")
    device.put("/run/systemd/network/10.network", "[Match]\nName=hidden\n")
    device.put("/run/systemd/network/10-netplan-eth1.network", "[Match]\nName=eth1\n[Network]\nDHCP=yes\n")
    device.put("/etc/systemd/network/v5.netdev", "[NetDev]\nName=v5\nKind=vlan\n[VLAN]\nId=5\n")
    device.put("/etc/systemd/network/v5.network", "[Match]\nName=v5\n[Network]\nAddress=192.0.2.5/24\n")
    device.put("/etc/systemd/network/br.netdev", "[NetDev]\nName=br0\nKind=bridge\n")
    reading = networkd.read(device.system)
    found = by_name(reading)
    assert set(found) == {"eth0", "v5"}
    assert found["eth0"].ipv4 == Ip(metric=5)
    assert found["v5"].vlan and (found["v5"].vlan.id, found["v5"].vlan.parent) == (5, "eth0")
    assert "bridge" in reasons(reading)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense\n", "line 1"),
        ("[Network]\nDHCP=yes\n", "matches by none"),
        ("[Match]\nName=eth0\n[Network]\nBridge=br0\n", "Bridge"),
        ("[Match]\nName=wlan0\nSSID=ho*\n[Network]\nDHCP=yes\n", "SSID"),
        ("[Match]\nName=eth0\n[Network]\nAddress=x\n", "'x'"),
    ],
)
def test_networkd_refuses_with_a_reason(device: Device, text: str, words: str) -> None:
    device.put("/etc/systemd/network/10.network", text)
    reading = networkd.read(device.system)
    assert not reading.profiles and words in reasons(reading)


NETWORKD = "/etc/systemd/network"


def test_networkd_masked_and_empty_files_say_nothing(device: Device) -> None:
    device.put(f"{NETWORKD}/a.network", "")
    device.put("/run/systemd/network/b.network", "[Match]\nName=eth0\n[Network]\nDHCP=yes\n")
    (device.root / NETWORKD.lstrip("/") / "b.network").symlink_to("/dev/null")
    assert networkd.read(device.system) == Reading()


def test_networkd_drop_ins_count_by_name_and_those_of_netplan_are_told(device: Device) -> None:
    device.put(f"{NETWORKD}/a.network", "[Match]\nName=eth0\n[Network]\nDHCP=yes\n")
    device.put(f"{NETWORKD}/a.network.d/20.conf", "[DHCPv4]\nRouteMetric=20\n")
    device.put("/run/systemd/network/a.network.d/10.conf", "[DHCPv4]\nRouteMetric=10\n")
    device.put("/run/systemd/network/a.network.d/20.conf", "[DHCPv4]\nRouteMetric=21\n")
    device.put(f"{NETWORKD}/10-netplan-eth0.network.d/x.conf", "[Network]\nAddress=192.0.2.5/24\n")
    found = networkd.read(device.system)
    assert by_name(found)["eth0"].ipv4 == Ip(metric=20)
    assert [(p.source.rpartition("/")[2], "netplan" in p.reason) for p in found.problems] == [("x.conf", True)]


def test_networkd_a_route_by_a_lease_does_not_cost_the_rest(device: Device) -> None:
    route = "[Route]\nDestination=10.0.0.0/8\nGateway=_dhcp4\n"
    text = f"[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n{route}[Address]\nAddress=192.0.2.5/32\nPeer=192.0.2.1/32\n"
    device.put(f"{NETWORKD}/a.network", text + "[DHCPv4]\nUseDNS=no\nUserClass=x\n")
    found = networkd.read(device.system)
    assert found.profiles[0].ipv4 == Ip(addresses=("192.0.2.5/32",), ignore_auto_dns=True)
    assert all(word in reasons(found) for word in ("_dhcp4", "Address.Peer", "DHCPv4.UserClass"))


@pytest.mark.parametrize("key", ["MACAddress", "PermanentMACAddress"])
def test_networkd_by_hardware_address(device: Device, key: str) -> None:
    device.put(f"{NETWORKD}/a.network", f"[Match]\n{key}=00-11-22-33-44-55\n[Network]\nVLAN=v5\nDHCP=yes\n")
    device.put(f"{NETWORKD}/v5.netdev", "[NetDev]\nName=v5\nKind=vlan\n[VLAN]\nId=5\n")
    device.put(f"{NETWORKD}/v5.network", "[Match]\nName=v5\n[Network]\nDHCP=yes\n")
    link, vlan = networkd.read(device.system).profiles
    assert link.mac == vlan.mac == "00:11:22:33:44:55" and vlan.vlan == Vlan(id=5, parent="")


def test_networkd_addresses_of_what_is_not_carried_stay_behind(device: Device) -> None:
    device.put(f"{NETWORKD}/br.netdev", "[NetDev]\nName=br0\nKind=bridge\n")
    device.put(f"{NETWORKD}/br.network", "[Match]\nName=br0\n[Network]\nAddress=192.0.2.5/24\n")
    found = networkd.read(device.system)
    assert not found.profiles and len(found.problems) == 2


# dhcpcd


def test_dhcpcd(device: Device) -> None:
    text = """
hostname
option rapid_commit
interface eth0
static ip_address=192.0.2.5/24   # a comment
static routers=192.0.2.1
static domain_name_servers=192.0.2.53 2001:db8::53
interface wlan0
static domain_name_servers=192.0.2.53
noipv6
profile static_eth0
static ip_address=192.0.2.9/24
interface eth1
fallback static_eth0
ssid home
static ip_address=192.0.2.6/24
"""
    device.put("/etc/dhcpcd.conf", text)
    reading = dhcpcd.read(device.system)
    found = by_name(reading)
    assert set(found) == {"eth0", "wlan0", "eth1", "home"}
    assert {profile.kind for profile in found.values()} == {Kind.LINK}
    assert found["eth0"].ipv4 == STATIC
    assert found["wlan0"].ipv4 == Ip(dns=("192.0.2.53",), ignore_auto_dns=True)
    assert found["wlan0"].ipv6 == Ip(method=Method.IGNORE)
    assert found["home"].wifi and found["home"].ipv4 and found["home"].ipv4.addresses == ("192.0.2.6/24",)
    assert "fallback" in reasons(reading)


def test_dhcpcd_without_a_gateway_from_any_lease(device: Device) -> None:
    device.put("/etc/dhcpcd.conf", "nogateway\nmetric 7\nhostname\ninterface eth0\ninterface eth1\nmetric 3\n")
    reading = dhcpcd.read(device.system)
    (profile,) = reading.profiles
    assert profile.interface == "eth1" and profile.ipv4 == Ip(metric=3, never_default=True)
    assert [problem.reason.split()[0] for problem in reading.problems] == ["nogateway", "metric"]


def test_dhcpcd_the_metric_of_a_lease(device: Device) -> None:
    device.put("/etc/dhcpcd.conf", "interface eth0\nmetric 300\n")
    assert by_name(dhcpcd.read(device.system))["eth0"].ipv4 == Ip(metric=300)


# ifupdown


def test_ifupdown_static(device: Device) -> None:
    text = """
source /etc/network/interfaces.d/*
auto lo eth0
iface lo inet loopback
iface eth0 inet static
    address 192.0.2.5
    netmask 255.255.255.0
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53
    up ip route add 10.0.0.0/8 via 192.0.2.2 dev eth0
    up route add -net 172.16.0.0 netmask 255.240.0.0 gw 192.0.2.3
    post-up /usr/local/bin/firewall \\
        --start
iface eth0:1 inet static
    address 198.51.100.5/24
"""
    device.put("/etc/network/interfaces", text)
    device.put("/etc/network/interfaces.d/other", "allow-hotplug eth1\niface eth1 inet dhcp\n  mtu 1400\n")
    reading = ifupdown.read(device.system)
    found = by_name(reading)
    ipv4 = found["eth0"].ipv4
    assert ipv4 and ipv4.addresses == ("192.0.2.5/24", "198.51.100.5/24")
    assert (ipv4.gateway, ipv4.dns) == ("192.0.2.1", ("192.0.2.53",))
    assert [(r.destination, r.gateway) for r in ipv4.routes] == [
        ("10.0.0.0/8", "192.0.2.2"),
        ("172.16.0.0/12", "192.0.2.3"),
    ]
    assert (found["eth1"].ipv4, found["eth1"].mtu, found["eth1"].autoconnect) == (Ip(), 1400, True)
    assert "firewall" in reasons(reading)


def test_ifupdown_wifi(device: Device) -> None:
    text = """
allow-hotplug wlan0
iface wlan0 inet static
    address 192.0.2.5/24
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53
    wpa-ssid my net
    wpa-psk pass phrase
"""
    device.put("/etc/network/interfaces", text)
    (profile,) = ifupdown.read(device.system).profiles
    assert profile.wifi == Wifi(ssid=b"my net", security=Security.PSK, secret="pass phrase")
    assert (profile.ipv4, profile.autoconnect) == (STATIC, True)


def test_ifupdown_roaming_uses_the_default_stanza(device: Device) -> None:
    text = "allow-hotplug wlan0\niface wlan0 inet manual\n wpa-roam /etc/wpa.conf\niface default inet static\n"
    device.put("/etc/network/interfaces", text + " address 192.0.2.5/24\n")
    device.put("/etc/wpa.conf", 'network={\nssid="a"\nkey_mgmt=NONE\n}\n')
    (profile,) = ifupdown.read(device.system).profiles
    assert profile.name == "a" and profile.ipv4 and profile.ipv4.addresses == ("192.0.2.5/24",)


def test_ifupdown_wep_and_vlan(device: Device) -> None:
    text = "auto wlan0 eth0.5\niface wlan0 inet dhcp\n wireless-essid old\n wireless-key s:abcde\n"
    device.put("/etc/network/interfaces", text + "iface eth0.5 inet dhcp\n")
    found = by_name(ifupdown.read(device.system))
    assert found["old"].wifi and found["old"].wifi.wep == Wep(keys=("abcde", "", "", ""))
    assert found["eth0.5"].vlan and (found["eth0.5"].vlan.id, found["eth0.5"].vlan.parent) == (5, "eth0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iface br0 inet dhcp\n bridge_ports eth0\n", "a bridge"),
        ("iface ppp0 inet ppp\n", "method ppp"),
        ("iface eth0 inet static\n address nonsense\n", "nonsense"),
    ],
)
def test_ifupdown_refuses_with_a_reason(device: Device, text: str, words: str) -> None:
    device.put("/etc/network/interfaces", text)
    reading = ifupdown.read(device.system)
    assert not reading.profiles and words in reasons(reading)


def test_ifupdown_files_that_source_each_other_end(device: Device) -> None:
    device.put("/etc/network/interfaces", "source interfaces.d/*\nsource interfaces\nsource interf*\n")
    device.put("/etc/network/interfaces.d/a", "source ../interfaces\nauto eth0\niface eth0 inet dhcp\n")
    assert [p.name for p in ifupdown.read(device.system).profiles] == ["eth0"]


def interfaces(device: Device, text: str) -> Reading:
    device.put("/etc/network/interfaces", text)
    return ifupdown.read(device.system)


def test_ifupdown_wired_8021x(device: Device) -> None:
    lines = "wpa-driver wired", "wpa-key-mgmt IEEE8021X", "wpa-eap PEAP", "wpa-identity me", "wpa-password my pw"
    text = "auto eth0\niface eth0 inet static\n address 192.0.2.5/24\n gateway 192.0.2.1\n"
    (profile,) = interfaces(device, text + "".join(f" {line}\n" for line in lines)).profiles
    assert profile.eap and (profile.eap.identity, profile.eap.password) == ("me", "my pw")
    assert (profile.kind, profile.interface, profile.autoconnect) == (Kind.ETHERNET, "eth0", True)
    assert profile.ipv4 and profile.ipv4.addresses == ("192.0.2.5/24",)


def test_ifupdown_wifi_options_that_stand_without_quotes(device: Device) -> None:
    lines = (
        "wpa-ssid a",
        "wpa-psk passphrase",
        "wpa-mode 0",
        "wpa-ieee80211w 2",
        "wpa-wep-tx-keyidx 1",
        "wpa-disabled 0",
    )
    (profile,) = interfaces(device, "auto w\niface w inet dhcp\n" + "".join(f" {x}\n" for x in lines)).profiles
    assert profile.wifi and profile.wifi.pmf is Pmf.REQUIRED


@pytest.mark.parametrize(
    "option", ["wpa-passphrase pass phrase", "wpa-psk-file /etc/psk", "wpa-passphrase-file /etc/psk"]
)
def test_ifupdown_other_words_for_a_passphrase(device: Device, option: str) -> None:
    device.put("/etc/psk", "pass phrase\n")
    (profile,) = interfaces(device, f"auto w\niface w inet dhcp\n wpa-ssid a\n {option}\n").profiles
    assert profile.wifi and profile.wifi.secret == "pass phrase"


@pytest.mark.parametrize(
    ("address", "cidr"),
    [("10.0.0.5", "10.0.0.5/8"), ("172.16.0.5", "172.16.0.5/16"), ("192.0.2.5", "192.0.2.5/24")],
)
def test_an_address_without_a_mask_has_that_of_its_class(device: Device, address: str, cidr: str) -> None:
    device.put("/etc/dhcpcd.conf", f"interface eth0\nstatic ip_address={address}\n")
    (profile,) = dhcpcd.read(device.system).profiles
    assert profile.ipv4 and profile.ipv4.addresses == (cidr,)
    (profile,) = interfaces(device, f"iface eth0 inet static\n address {address}\n").profiles
    assert profile.ipv4 and profile.ipv4.addresses == (cidr,)
    (profile,) = interfaces(device, "iface eth0 inet6 static\n address 2001:db8::5\n").profiles
    assert profile.ipv6 and profile.ipv6.addresses == ("2001:db8::5/64",)


@pytest.mark.parametrize(
    ("line", "name", "addresses"),
    [
        ("auto /eth*", "eth0", ()),
        ("auto eth0=home", "eth0", ("192.0.2.5/24",)),
        ("auto /eth*/1=home", "eth*", ("192.0.2.5/24",)),
    ],
)
def test_ifupdown_patterns_and_stanzas_of_other_names(
    device: Device, line: str, name: str, addresses: tuple[str, ...]
) -> None:
    found = interfaces(device, f"{line}\niface eth0 inet dhcp\niface home inet static\n address 192.0.2.5/24\n")
    profile = by_name(found)[name]
    assert profile.autoconnect and profile.ipv4 and profile.ipv4.addresses == addresses


def test_ifupdown_inherits(device: Device) -> None:
    base = "iface base inet static\n address 192.0.2.5/24\n gateway 192.0.2.1\n"
    found = interfaces(device, f"auto eth0\n{base}iface eth0 inet static inherits base\n gateway 192.0.2.2\n")
    ipv4 = by_name(found)["eth0"].ipv4
    assert ipv4 and (ipv4.addresses, ipv4.gateway) == (("192.0.2.5/24",), "192.0.2.2")


def test_ifupdown_several_files_in_one_line(device: Device) -> None:
    device.put("/etc/network/a", "auto eth0\niface eth0 inet dhcp\n")
    assert by_name(interfaces(device, "source /etc/network/none /etc/network/a\n"))


def test_ifupdown_a_vlan_of_any_name(device: Device) -> None:
    (profile,) = interfaces(device, "iface lan inet dhcp\n vlan-raw-device eth0\n vlan-id 7\n").profiles
    assert profile.vlan and (profile.kind, profile.vlan.id, profile.vlan.parent) == (Kind.VLAN, 7, "eth0")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pre-up wpa_supplicant -B -i wlan0", "the command wpa_supplicant"),
        ("up ip route add 10.0.0.0/8 via 192.0.2.1 dev tun0", "the command ip"),
        ("up route add -net 10.0.0.0/8 dev tun0", "the command route"),
    ],
)
def test_ifupdown_commands_that_are_not_carried_are_told(device: Device, line: str, words: str) -> None:
    found = interfaces(device, f"auto eth0\niface eth0 inet static\n address 192.0.2.5/24\n {line}\n")
    assert words in reasons(found)
    assert found.profiles[0].ipv4 and not found.profiles[0].ipv4.routes


@pytest.mark.parametrize("name", ["eth0", "$IFACE", "${IFACE}", "--"])
def test_ifupdown_a_route_by_its_own_interface(device: Device, name: str) -> None:
    line = f"up ip -4 route add 10.0.0.0/8 via 192.0.2.1 dev {name} || true"
    found = interfaces(device, f"iface eth0 inet static\n address 192.0.2.5/24\n {line}\n".replace("dev --", ""))
    assert found.profiles[0].ipv4 and found.profiles[0].ipv4.routes and not found.problems


def test_ifupdown_a_mapping_is_told(device: Device) -> None:
    text = "auto eth0\nmapping eth0\n script /map\niface home inet static\n address 192.0.2.5/24\n"
    found = interfaces(device, text)
    assert not found.profiles and "mapping" in reasons(found)


# ConnMan


def test_connman_services(device: Device) -> None:
    folder = "/var/lib/connman"
    wifi = "[x]\nName=Home\nSSID=486f6d65\nFavorite=true\nPassphrase=pass\\sphrase\nIPv4.method=dhcp\n"
    device.put(f"{folder}/wifi_001122334455_486f6d65_managed_psk/settings", wifi)
    device.put(f"{folder}/wifi_001122334455_41_managed_none/settings", "[x]\nName=A\nSSID=41\nFavorite=false\n")
    wired = "IPv4.method=manual\nIPv4.netmask_prefixlen=24\nIPv4.local_address=192.0.2.5\nIPv4.gateway=192.0.2.1\n"
    device.put(f"{folder}/ethernet_001122334455_cable/settings", f"[x]\nName=Wired\n{wired}Nameservers=192.0.2.53;\n")
    found = by_name(connman.read(device.system))
    assert set(found) == {"Home", "00:11:22:33:44:55"}
    assert found["Home"].wifi == Wifi(ssid=b"Home", security=Security.PSK, secret="pass phrase")
    assert found["00:11:22:33:44:55"].ipv4 == STATIC


def test_connman_provisioning(device: Device) -> None:
    text = """
[global]
Name=x
[service_a]
Type=wifi
Name=eduroam
EAP=ttls
Identity=me
Passphrase=secret
Phase2=PAP
CACertFile=/etc/ca.pem
[service_b]
Type=ethernet
IPv4=192.0.2.5/255.255.255.0/192.0.2.1
Nameservers=192.0.2.53
"""
    device.put("/var/lib/connman/a.config", text)
    device.put("/etc/ca.pem", "certificate")
    wifi, wired = connman.read(device.system).profiles
    assert wifi.eap and (wifi.eap.inner, wifi.eap.identity, wifi.eap.methods) == ("pap", "me", ("ttls",))
    assert wired.ipv4 == STATIC


# iwd


def test_iwd(device: Device) -> None:
    device.put("/var/lib/iwd/Home Net.psk", "[Security]\nPassphrase=pass\\sphrase\n[Settings]\nHidden=true\n")
    device.put("/var/lib/iwd/=c3a9.open", "[Settings]\nAutoConnect=false\n")
    device.put("/var/lib/iwd/key.psk", f"[Security]\nPreSharedKey={'ab' * 32}\n[IPv4]\nAddress=192.0.2.5\nNetmask=24\n")
    device.put("/etc/iwd/main.conf", "[General]\nCountry=de\n")
    reading = iwd.read(device.system)
    found = by_name(reading)
    assert reading.country == "DE"
    assert found["Home Net"].wifi == Wifi(ssid=b"Home Net", security=Security.PSK, hidden=True, secret="pass phrase")
    assert found["\u00e9"].wifi and not found["\u00e9"].autoconnect
    assert found["key"].wifi and found["key"].wifi.secret == "ab" * 32
    assert found["key"].ipv4 and found["key"].ipv4.addresses == ("192.0.2.5/24",)


def test_iwd_8021x(device: Device) -> None:
    text = """
[Security]
EAP-Method=PEAP
EAP-Identity=anonymous
EAP-PEAP-CACert=/etc/ca.pem
EAP-PEAP-Phase2-Method=MSCHAPV2
EAP-PEAP-Phase2-Identity=me
EAP-PEAP-Phase2-Password=secret
"""
    device.put("/var/lib/iwd/work.8021x", text)
    device.put("/etc/ca.pem", "certificate")
    (profile,) = iwd.read(device.system).profiles
    eap = profile.eap
    assert eap and (eap.identity, eap.anonymous_identity, eap.inner) == ("me", "anonymous", "mschapv2")
    assert eap.ca_cert and eap.ca_cert.content == b"certificate"


PEM = "-----BEGIN CERTIFICATE-----\nSGVsbG8=\n-----END CERTIFICATE-----\n"


def test_iwd_certificates_inside_of_the_file(device: Device) -> None:
    device.put("/etc/key.p12", b"\x30\x82")
    text = (
        "[Security]\nEAP-Method=TLS\nEAP-Identity=me\nEAP-TLS-CACert=embed:ca\nEAP-TLS-ClientKeyBundle=/etc/key.p12\n"
    )
    device.put("/var/lib/iwd/work.8021x", f"{text}[@pem@ca]\n{PEM}[Settings]\nAddressOverride=02:00:00:00:00:01\n")
    (profile,) = iwd.read(device.system).profiles
    assert profile.eap and profile.eap.ca_cert and profile.eap.ca_cert.content == PEM.encode()
    assert profile.eap.private_key and profile.eap.private_key.content == b"\x30\x82"
    assert profile.cloned_mac == "02:00:00:00:00:01"


def test_iwd_a_tunnel_without_eap_inside(device: Device) -> None:
    keys = {"Method": "Tunneled-PAP", "Identity": "me", "Password": "secret"}
    lines = "".join(f"EAP-TTLS-Phase2-{key}={value}\n" for key, value in keys.items())
    device.put("/var/lib/iwd/work.8021x", f"[Security]\nEAP-Method=TTLS\n{lines}")
    (profile,) = iwd.read(device.system).profiles
    assert profile.eap and (profile.eap.inner, profile.eap.inner_eap) == ("pap", "")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.psk", "[Security]\nEncryptedSecurity=00\n", "encrypted"),
        ("=zz.psk", "[Security]\nPassphrase=12345678\n", "hexadecimal"),
        ("a.8021x", "[Security]\nEAP-Method=TLS\nEAP-TLS-ClientCert=embed:x\n", "embed:x"),
    ],
)
def test_iwd_refuses_with_a_reason(device: Device, name: str, text: str, words: str) -> None:
    device.put(f"/var/lib/iwd/{name}", text)
    reading = iwd.read(device.system)
    assert not reading.profiles and words in reasons(reading)
