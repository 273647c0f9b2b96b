# SPDX-License-Identifier: Apache-2.0
"""NetworkManager's own keyfiles: kept as they are, but for what cannot work on the new system."""

from __future__ import annotations

import pytest

from balena_migrate.network.model import Kind, Profile, Reading, Security
from balena_migrate.network.sources.networkmanager import read
from balena_migrate.network.write.keyfile import write_keyfile
from tests.support.network import Device, read_networks
from tests.support.oracle import Oracle

FOLDER = "/etc/NetworkManager/system-connections"
WIFI = "[connection]\nid=a\ntype=wifi\n\n[wifi]\nssid=Net\n"
PSK = WIFI + "\n[wifi-security]\nkey-mgmt=wpa-psk\n"


def reading(device: Device, text: str | bytes) -> Reading:
    device.put(f"{FOLDER}/a.nmconnection", text)
    return read(device.system)


def one(device: Device, text: str) -> Profile:
    found = reading(device, text)
    assert not found.problems
    return found.profiles[0]


def test_wifi(device: Device) -> None:
    profile = one(device, PSK + "psk=\\spass phrase\n")
    assert profile.wifi
    assert (profile.wifi.ssid, profile.wifi.security, profile.wifi.secret) == (b"Net", Security.PSK, " pass phrase")


def test_unknown_keys_are_kept(device: Device) -> None:
    text = write_keyfile(one(device, WIFI + "powersave=2\n\n[proxy]\nmethod=1\n"), "resin-wifi-01").dump()
    assert "powersave=2" in text and "[proxy]\nmethod=1" in text and "id=resin-wifi-01" in text


def test_old_names_of_groups_and_types(device: Device) -> None:
    profile = one(device, "[connection]\ntype=802-3-ethernet\n[802-3-ethernet]\nmac-address=0;17;34;51;68;85;\n")
    assert (profile.kind, profile.mac) == (Kind.ETHERNET, "00:11:22:33:44:55")


@pytest.mark.parametrize("name", [".hidden", "a~", "a.config", "a.ABC123", "cert.pem", "cert.DER"])
def test_files_that_networkmanager_skips(device: Device, name: str) -> None:
    device.put(f"{FOLDER}/{name}", PSK)
    assert read(device.system) == Reading()


def test_a_name_in_etc_hides_the_same_name_in_run(device: Device) -> None:
    device.put("/run/NetworkManager/system-connections/a.nmconnection", WIFI.replace("Net", "Run"))
    device.put("/run/NetworkManager/system-connections/b.nmconnection", WIFI.replace("Net", "Other"))
    device.put("/run/NetworkManager/system-connections/c", WIFI)
    device.put(f"{FOLDER}/a.nmconnection", WIFI)
    assert [profile.name for profile in read(device.system).profiles] == ["Net", "Other"]


UUID = "7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11"
WITH_UUID = WIFI.replace("id=a", f"id=a\nuuid={UUID}")


def test_of_two_files_with_one_uuid_networkmanager_reads_one(device: Device) -> None:
    """In another folder it is the newer form of the same profile; in one folder it is told."""
    device.put(f"{FOLDER}/edited.nmconnection", WITH_UUID)
    device.put("/run/NetworkManager/system-connections/a.nmconnection", WITH_UUID.replace("Net", "Old"))
    assert [p.name for p in read(device.system).profiles] == ["Net"] and not read(device.system).problems
    device.put(f"{FOLDER}/other.nmconnection", WITH_UUID.replace("Net", "Copy"))
    found = read(device.system)
    assert [p.name for p in found.profiles] == ["Net"]
    assert [(p.source, UUID in p.reason) for p in found.problems] == [(f"{FOLDER}/other.nmconnection", True)]


def test_a_profile_that_was_deleted_is_left_out(device: Device) -> None:
    """A link to /dev/null stands for a deleted profile of a folder that cannot be written."""
    device.put("/usr/lib/NetworkManager/system-connections/a.nmconnection", WITH_UUID)
    assert len(read(device.system).profiles) == 1
    folder = device.root / FOLDER.lstrip("/")
    folder.mkdir(parents=True)
    (folder / f"{UUID}.nmmeta").symlink_to("/dev/null")
    assert read(device.system) == Reading()


WIREGUARD = """[connection]
type=wireguard
interface-name=wg0
[wireguard]
private-key=yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
[wireguard-peer.xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=]
preshared-key-flags=1
"""


def test_the_secrets_of_wireguards_peers_are_asked_for_too(device: Device) -> None:
    found = reading(device, WIREGUARD)
    assert not found.profiles and "keyring" in found.problems[0].reason
    profile = one(device, WIREGUARD + "preshared-key=yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n")
    assert "flags" not in write_keyfile(profile, "a").dump()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PSK + "psk-flags=1\n", "keyring"),
        (PSK + "psk-flags=2\n", "asked for each time"),
        (WIFI + "mode=ap\n", "access point"),
        (WIFI + "mode=mesh\n", "mesh"),
        ("[connection]\ntype=vpn\n", "VPN"),
        ("[connection]\ntype=wifi-p2p\n", "P2P"),
        ("[connection]\nid=a\n", "connection type"),
        ("nonsense\n", "line 1"),
        ("\ufeff[connection]\n", "line 1"),
        ("[connection]\ntype=wifi\n; comment\n", "line 3"),
        (b"[connection]\nid=\xff\n", "UTF-8"),
        (b"[connection]\nid=\0\n", "NUL"),
    ],
)
def test_what_cannot_be_carried_says_why(device: Device, text: str | bytes, words: str) -> None:
    found = reading(device, text)
    assert not found.profiles
    assert words in found.problems[0].reason and found.problems[0].lost


def test_a_secret_in_the_file_needs_no_agent(device: Device) -> None:
    text = write_keyfile(one(device, PSK + "psk=passphrase\npsk-flags=1\n"), "a").dump()
    assert "psk=passphrase" in text and "flags" not in text


def test_users_and_vpns_of_the_old_system_are_left_behind(device: Device) -> None:
    found = reading(device, WIFI.replace("id=a", "id=a\npermissions=user:joe:;\nsecondaries=1234;"))
    assert "permissions" not in write_keyfile(found.profiles[0], "a").dump()
    assert "VPN" in found.problems[0].reason and not found.problems[0].lost


@pytest.mark.parametrize(
    "value",
    [
        "{root}ca.pem",
        "file://{root}ca.pem",
        "ca.pem",
        "data:;base64,SGVsbG8=",
        "102;105;108;101;58;47;47;47;101;116;99;47;99;97;46;112;101;109;0;",
    ],
)
def test_certificates_are_read(device: Device, value: str) -> None:
    device.put("/etc/ca.pem", b"Hello")
    device.put(f"{FOLDER}/ca.pem", b"Hello")
    text = "[connection]\ntype=ethernet\n[802-1x]\neap=peap;\nidentity=i\npassword=p\nca-cert="
    profile = one(device, text + value.format(root="/etc/") + "\n")
    assert profile.eap and profile.eap.ca_cert and profile.eap.ca_cert.content == b"Hello"
    written = write_keyfile(profile, "resin-ethernet-01")
    assert written.text("802-1x", "ca-cert") == f"{FOLDER}/resin-ethernet-01-ca-cert.pem"


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["bond", "bridge", "team"])
def test_a_port_by_its_new_names_is_one_to_older_networkmanagers_too(device: Device, oracle: Oracle, kind: str) -> None:
    """Before 1.46 libnm ignores controller and port-type, and would take the port for a device with a lease."""
    text = f"[connection]\nid=a\ntype=ethernet\ncontroller=lan0\nport-type={kind}\nautoconnect-ports=1\n"
    file = write_keyfile(one(device, text), "a")
    assert file.text("connection", "controller") == "lan0" and file.text("connection", "port-type") == kind
    found = oracle.read(file.dump())["connection"]
    assert (found["master"], found["slave-type"], found["autoconnect-slaves"]) == ("lan0", kind, 1)


@pytest.mark.parametrize("line", ["number=", "username=", "device-id=", "sim-id=", "network-id=", "sim-operator-id="])
def test_a_modem_with_an_empty_value_is_not_read_by_networkmanager_either(device: Device, line: str) -> None:
    found = reading(device, f"[connection]\ntype=gsm\n[gsm]\napn=internet\n{line}\n")
    assert not found.profiles and line.rstrip("=") in found.problems[0].reason


@pytest.mark.parametrize(
    ("kind", "line", "words"),
    [("cdma", "username=me", "number"), ("gsm", "apn=in ternet", "APN"), ("gsm", "network-id=26a01", "network-id")],
)
def test_a_modem_of_wrong_form_is_refused_as_by_networkmanager(
    device: Device, kind: str, line: str, words: str
) -> None:
    device.put(f"{FOLDER}/a.nmconnection", f"[connection]\ntype={kind}\n[{kind}]\n{line}\n")
    found = read_networks(device.system)
    assert not found.profiles and words in found.problems[0].reason


UNREAD = [
    ("type=ethernet\nuuid=farm", "not a UUID"),
    ("type=ethernet\ninterface-name=eth0/1", "not the name of an interface"),
    ("type=bond", "needs an interface-name"),
    ("type=ethernet\nslave-type=bond", "does not say of what"),
    ("type=vlan\ninterface-name=lan.5\n[vlan]\nid=5", "the VLAN's parent"),
    ("type=ethernet\n[ipv4]\nmethod=dhcp", "ipv4.method=dhcp"),
    ("type=ethernet\n[ipv4]\nmethod=link-local\ndns=192.0.2.53;", "ipv4.dns is not allowed"),
    ("type=ethernet\n[ipv4]\nmethod=shared\ndns-search=farm.example;", "ipv4.dns-search is not allowed"),
    ("type=ethernet\n[ipv6]\nmethod=ignore\naddress1=2001:db8::7/64", "ipv6.address1 is not allowed"),
    ("type=ethernet\n[ipv4]\nmethod=manual\naddress1=192.0.2.7/24\ngateway=192.0.2", "not an address"),
    ("type=vrf\ninterface-name=red", "no group of this name"),
]


@pytest.mark.processes
@pytest.mark.parametrize(("lines", "words"), UNREAD)
def test_a_keyfile_that_networkmanager_refuses_is_refused_too(
    device: Device, oracle: Oracle, lines: str, words: str
) -> None:
    text = f"[connection]\nid=a\n{lines}\n"
    device.put(f"{FOLDER}/a.nmconnection", text)
    found = read_networks(device.system)
    assert not found.profiles and words in found.problems[0].reason
    assert "error" in oracle.ask(text)


@pytest.mark.processes
@pytest.mark.parametrize(
    "lines",
    [
        "type=ethernet\nuuid=0F3C6A51-95A5-4D2F-B1CC-3C1F6A0DE1A7",
        "type=ethernet\nuuid=0123456789abcdef0123456789abcdef01234567",
        "type=bridge\n[bridge]\ninterface-name=lan0",
        "type=vlan\n[ethernet]\nmac-address=02:00:00:00:00:07",
        "type=ethernet\n[ipv4]\nmethod=shared\naddress1=192.0.2.7/24",
        "type=ethernet\n[ipv6]\nmethod=disabled\ndns-search=",
    ],
)
def test_a_keyfile_of_an_older_form_is_read_as_by_networkmanager(device: Device, oracle: Oracle, lines: str) -> None:
    text = f"[connection]\nid=a\n{lines}\n"
    device.put(f"{FOLDER}/a.nmconnection", text)
    found = read_networks(device.system)
    assert len(found.profiles) == 1 and not found.problems
    assert "error" not in oracle.ask(text)


def test_a_certificate_in_the_keyfile_that_is_no_base64_is_a_problem(device: Device) -> None:
    text = "[connection]\ntype=ethernet\n[802-1x]\neap=peap;\nidentity=i\npassword=p\nca-cert=data:;base64,é\n"
    assert "not base64" in reading(device, text).problems[0].reason
