# SPDX-License-Identifier: Apache-2.0
"""By what the DHCP server knows this device now: its client id, and the names that it is told.

A lease that was got with an id goes to another address, or to none, if the new system asks with another one.
NetworkManager asks with the hardware address by default (nm-settings(5), ipv4.dhcp-client-id=mac), as udhcpc, ConnMan
and iwd do; a client that sends no id is known by that address, too. systemd-networkd and others send an IAID and a DUID
(RFC 4361). NetworkManager takes bytes in hexadecimal since 1.0 (nm_dhcp_utils_client_id_string_to_bytes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_interface

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.facts.network import Interface, NetworkFacts
from balena_migrate.network.by_interface import KINDS, change_those_of, is_by_lease, with_options
from balena_migrate.network.dhclient import read_conf, read_leases
from balena_migrate.network.files.dhclient import find_value, last_lease, parse_bytes, parse_statements
from balena_migrate.network.files.keyfile import escape
from balena_migrate.network.lease import told_to_server
from balena_migrate.network.model import Problem, Profile
from balena_migrate.network.reading import read_all
from balena_migrate.network.sources.dhcpcd import FILE as DHCPCD_FILE
from balena_migrate.network.sources.dhcpcd import parse_dhcpcd

_IAID_BYTES = 4
_NETWORKD_LEASE = "/run/systemd/netif/leases/{index}"
_DHCPCD_LEASES = (
    "/var/lib/dhcpcd*/{name}.lease",
    "/var/lib/dhcpcd*/{name}-*.lease",
    "/var/lib/dhcpcd*/dhcpcd-{name}*.lease",
)
_DHCPCD_LEASES_6 = ("/var/lib/dhcpcd*/{name}.lease6", "/var/lib/dhcpcd*/dhcpcd-{name}.lease6")
_DHCPCD_DUIDS = ("/var/lib/dhcpcd*/duid", "/etc/dhcpcd.duid")
_YIADDR = slice(16, 20)
"""Where a DHCP message has the address that it gives (RFC 2131); dhcpcd stores the message."""
_HOST_NAME = b"<hostname>"
"""Debian's dhclient sends the name of the host for it."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """By what the servers know an interface, as options of [ipv4] and [ipv6]; `lost` is what cannot go along."""

    source: str
    ipv4: dict[str, str] = field(default_factory=dict)
    ipv6: dict[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


def with_dhcp_identities(
    profiles: tuple[Profile, ...], network: NetworkFacts, system: System
) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """The profiles that get a lease, with what their server knows the interface by now, and what cannot go along.

    Only where NetworkManager would tell the server something else. Raises nothing.
    """
    problems = []
    for interface in network.interfaces:
        ways = (_by_networkd, _by_dhcpcd, _by_dhclient) if interface.kind in KINDS and interface.mac else ()
        addresses = [str(ip_interface(a.address).ip) for a in network.addresses if a.interface == interface.name]
        found = next((found for way in ways if (found := way(system, interface, addresses)) is not None), None)
        if found is None:
            continue
        problems += [
            Problem(source=found.source, subject=interface.name, reason=reason, lost=False) for reason in found.lost
        ]
        if found.ipv4 or found.ipv6:
            profiles = change_those_of(profiles, interface, network, found.source, _change(found))
    return profiles, tuple(problems)


def _change(found: Identity) -> Callable[[Profile], Profile]:
    def change(profile: Profile) -> Profile:
        if is_by_lease(profile.ipv4) and found.ipv4:
            profile = with_options(profile, 4, found.ipv4)
        if is_by_lease(profile.ipv6) and found.ipv6:
            profile = with_options(profile, 6, found.ipv6)
        return profile

    return change


def _client_id(content: bytes, interface: Interface) -> dict[str, str]:
    """The option for this client id; none for the one that NetworkManager sends by itself."""
    return {} if content == b"\x01" + _mac(interface) else {"dhcp-client-id": content.hex(":")}


def _mac(interface: Interface) -> bytes:
    return bytes.fromhex(interface.mac.replace(":", ""))


def _of_duid(duid: bytes, interface: Interface) -> bytes:
    """The client id of RFC 4361 with the IAID of dhcpcd and dhclient: the last bytes of the hardware address."""
    return b"\xff" + _mac(interface)[-_IAID_BYTES:] + duid


def _of_duid_6(duid: bytes, interface: Interface) -> dict[str, str]:
    iaid = int.from_bytes(_mac(interface)[-_IAID_BYTES:], "big")
    return {"dhcp-duid": duid.hex(":"), "dhcp-iaid": str(iaid)}


def _by_networkd(system: System, interface: Interface, addresses: Sequence[str]) -> Identity | None:
    """What systemd-networkd asked with, as it notes down for each lease (sd-dhcp-lease.c)."""
    for path, text in read_all(system, (_NETWORKD_LEASE.format(index=interface.index),)):
        match = re.search(r"^CLIENTID=((?:[0-9a-f]{2})+)$", text, re.MULTILINE)
        if any(f"ADDRESS={address}\n" in text for address in addresses):
            return Identity(source=str(path), ipv4=_client_id(bytes.fromhex(match[1]), interface) if match else {})
    return None


# dhcpcd ---------------------------------------------------------------------------------------------------------------


def _by_dhcpcd(system: System, interface: Interface, addresses: Sequence[str]) -> Identity | None:
    """What dhcpcd.conf(5) says of an interface that has a lease of dhcpcd; `clientid` and `duid` exclude each other."""
    leases = [content[_YIADDR] for content in _contents(system, _DHCPCD_LEASES, interface)]
    leases_6 = list(_contents(system, _DHCPCD_LEASES_6, interface))
    has_4 = any(bytes(map(int, a.split("."))) in leases for a in addresses if ":" not in a)
    has_6 = any(IPv6Address(a).packed in content for a in addresses if ":" in a for content in leases_6)
    if not has_4 and not has_6:
        return None
    texts = dict(read_all(system, (DHCPCD_FILE,)))
    said = _said(next(iter(texts.values()), ""), interface)
    duid = _dhcpcd_duid(system, said.get("duid", ""))
    lost: list[str] = []
    names = told_to_server(4, lost, name=said.get("hostname", ""), vendor_class=said.get("vendorclassid", ""))
    if "iaid" in said and (duid or has_6):
        duid = b""
        lost.append("the DHCP client id of dhcpcd is not carried over: it has an iaid of its own")
    sent = next((key for key in reversed(said) if key in ("clientid", "duid")), "")
    ipv4 = dict(names) if has_4 else {}
    if has_4 and sent == "clientid" and said["clientid"]:
        ipv4 |= _client_id(_clientid(said["clientid"]), interface)
    elif has_4 and sent == "duid" and duid:
        ipv4 |= _client_id(_of_duid(duid, interface), interface)
    return Identity(
        source=DHCPCD_FILE,
        ipv4=ipv4,
        ipv6=_of_duid_6(duid, interface) if has_6 and duid else {},
        lost=tuple(lost),
    )


def _contents(system: System, patterns: tuple[str, ...], interface: Interface) -> Iterator[bytes]:
    for pattern in patterns:
        for path in system.glob(pattern.format(name=interface.name)):
            try:
                yield system.read_bytes(path)
            except FileError:
                continue


def _said(text: str, interface: Interface) -> dict[str, str]:
    """The options for the interface in the order in which they count: those for all first."""
    said: dict[str, str] = {}
    names = {"interface": interface.name, "ssid": interface.ssid.decode("utf-8", "replace"), "": ""}
    for block in parse_dhcpcd(text):
        if block.kind in names and block.name == names[block.kind]:
            for key, value in block.options.items():
                said.pop(key, None)
                said[key] = value
    return said


def _clientid(value: str) -> bytes:
    """The bytes of `clientid`: hexadecimal, or a text, which gets the type 0 (dhcpcd, if-options.c)."""
    text = value.strip('"')
    if re.fullmatch(r"(?i)[0-9a-f]{1,2}(:[0-9a-f]{1,2})+", text):
        return bytes(int(part, 16) for part in text.split(":"))
    return b"\0" + text.encode("utf-8", "surrogateescape")


def _dhcpcd_duid(system: System, value: str) -> bytes:
    """The DUID in dhcpcd.conf or in the file where dhcpcd keeps the one that it made; empty if there is none."""
    texts = [value, *(text for _, text in read_all(system, _DHCPCD_DUIDS))]
    found = (text.strip() for text in texts)
    return next(
        (bytes.fromhex(t.replace(":", "")) for t in found if re.fullmatch(r"(?i)[0-9a-f]{2}(:[0-9a-f]{2}){3,}", t)), b""
    )


# dhclient -------------------------------------------------------------------------------------------------------------


def _by_dhclient(system: System, interface: Interface, addresses: Sequence[str]) -> Identity | None:
    """What dhclient.conf(5) says of an interface that has a lease of dhclient, else its DUID if it has one.

    dhclient notes down a DUID for IPv4 only if it sends that (dhclient(8), -i, as ifupdown has it).
    """
    lease, text, source = _dhclient_lease(system, interface, addresses)
    duid_6 = next((duid for duid in _duids_6(system, interface, addresses) if duid), b"")
    if not lease and not duid_6:
        return None
    path, conf = read_conf(system)
    said = parse_statements(conf, interface.name)
    lost: list[str] = []
    ipv4 = _sent_by_dhclient(said, interface, lost) if lease else {}
    lost += _servers_of_dhclient(said, parse_statements(conf, ""))
    duid = find_value(text, "default-duid") if lease else None
    if ("send", "dhcp-client-identifier") not in said and duid:
        ipv4 |= _client_id(_of_duid(duid, interface), interface)
    return Identity(
        source=path or source,
        ipv4=ipv4,
        ipv6=_of_duid_6(duid_6, interface) if duid_6 else {},
        lost=tuple(lost),
    )


def _servers_of_dhclient(said: dict[tuple[str, str], str], for_all: dict[tuple[str, str], str]) -> Iterator[str]:
    """The name servers in dhclient.conf that do not go along: `name_servers` takes those for all interfaces alone."""
    for word in ("supersede", "prepend", "append", "default"):
        statement = (word, "domain-name-servers")
        taken = word in ("supersede", "prepend") and said.get(statement) == for_all.get(statement)
        if statement in said and not taken:
            yield f"the name servers of {word} in dhclient.conf are not carried over"


def _dhclient_lease(system: System, interface: Interface, addresses: Sequence[str]) -> tuple[str, str, str]:
    """The lease in use, the text of the file that has it, and its path."""
    for path, text in read_leases(system):
        for address in addresses:
            lease = last_lease(text, interface.name, address)
            if lease:
                return lease, text, path
    return "", "", ""


def _duids_6(system: System, interface: Interface, addresses: Sequence[str]) -> Iterator[bytes]:
    """The DUIDs of the files with a lease of DHCPv6 that gave the interface one of its addresses."""
    for _, text in read_leases(system):
        named = f'interface "{interface.name}";' in text
        if named and any(f"iaaddr {address} " in text for address in addresses if ":" in address):
            yield find_value(text, "default-duid") or b""


def _sent_by_dhclient(said: dict[tuple[str, str], str], interface: Interface, lost: list[str]) -> dict[str, str]:
    """The options for what dhclient.conf has it send; the name of the host itself is sent by NetworkManager, too."""
    sent = {option: value for (word, option), value in said.items() if word == "send"}
    options: dict[str, str] = {}
    identifier = sent.get("dhcp-client-identifier", "")
    content = parse_bytes(identifier)
    if content and len(content) > 1:
        options |= _client_id(content, interface)
    elif identifier and identifier.replace(" ", "") != "=hardware":
        lost.append("the DHCP client id that dhclient computes is not carried over")
    for option, key in (("host-name", "dhcp-hostname"), ("vendor-class-identifier", "dhcp-vendor-class-identifier")):
        text = parse_bytes(sent.get(option, ""))
        if text == _HOST_NAME:
            continue
        if text and text.isascii() and b"\\" not in text and text.decode("ascii").isprintable():
            options[key] = escape(text.decode("ascii"))
        elif option in sent and not sent[option].startswith("="):
            lost.append(f"the {option} that dhclient sends is not carried over")
    return options
