# SPDX-License-Identifier: Apache-2.0
"""ifupdown: /etc/network/interfaces and the files that it sources.

Source: interfaces(5), and the options of Debian's packages wpasupplicant, wireless-tools, vlan and resolvconf. Roaming
(wpa-roam) is that of wpasupplicant's README.Debian, wpa_action(8) and functions.sh.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import PurePosixPath

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.addresses import (
    DEFAULT_DESTINATIONS,
    gateway_route,
    make_ip,
    mask_of_class,
    of_family,
    parse_address,
    parse_cidr,
    servers_left_out,
)
from balena_migrate.network.files.interfaces import (
    InterfacesFile,
    Stanza,
    logical_lines,
    parse_interfaces,
)
from balena_migrate.network.files.number import find_number
from balena_migrate.network.files.wpa import parse_text
from balena_migrate.network.lease import Options, told_to_server
from balena_migrate.network.model import (
    Eap,
    Ip,
    Kind,
    Method,
    Problem,
    Profile,
    Reading,
    Route,
    Security,
    Vlan,
    Wep,
    Wifi,
)
from balena_migrate.network.names import is_device_name
from balena_migrate.network.reading import Collector, not_carried, read_config
from balena_migrate.network.route_commands import parse_route_command
from balena_migrate.network.sources import Source
from balena_migrate.network.wpa_profiles import Addressing, is_login, make_profile, read_file

FILE = "/etc/network/interfaces"
FILES_LIMIT = 200
"""More files than this can only be files that source each other."""

_DROP_IN = re.compile(r"[a-zA-Z0-9_-]+")
"""The file names that source-directory accepts (interfaces(5))."""
_VLAN_NAME = re.compile(r"(?P<parent>[a-z0-9]+)\.(?P<id>[0-9]+)|vlan(?P<number>[0-9]+)")
_BARE_WORDS = """
    key_mgmt proto pairwise group eap auth_alg priority bssid scan_ssid mode frequency scan_freq freq_list ieee80211w
    disabled wep_tx_keyidx eapol_flags proactive_key_caching peerkey fragment_size
"""
_BARE = frozenset(_BARE_WORDS.split())
"""Values of wpa_supplicant that are written without quotes."""
_PASSPHRASE_FILES = ("psk_file", "passphrase_file")
_OF_THE_SCRIPT = frozenset(
    ("driver", "iface", "ap_scan", "bridge", "debug_level", "logfile", "verbosity", "conf", "roam", "id_str")
)
"""Options for Debian's script, which are not values of a network."""
_DROPPED = "broadcast network leasehours leasetime scope pre-up post-down down pre-down inherits"
_CARRIED = """
    address netmask gateway metric mtu hwaddress dns-nameservers dns-nameserver dns-search dns-domain up post-up
    vlan-raw-device vlan_raw_device vlan-id vlan_id wireless-essid wireless-key wireless-mode accept_ra autoconf
    hostname vendor privext
"""
_KNOWN = frozenset(f"{_DROPPED} {_CARRIED}".split())

_MAPPING = "a script decides whether it is used (mapping), which cannot be carried over"
_MAPPED = "a script may choose other settings for it (mapping), which are not carried over"
_UNUSED = "no interface has this name, and nothing refers to it: no auto or allow- line, no id_str with wpa-roam"


@dataclass(kw_only=True)
class Logical:
    """All stanzas by name; `referred` are the names that something refers to, so that they are no loss."""

    stanzas: dict[str, list[Stanza]] = field(default_factory=dict)
    referred: set[str] = field(default_factory=set)


def read(system: System) -> Reading:
    """Read the interfaces in all files, and their Wi-Fi networks."""
    found = Collector()
    all_files = InterfacesFile()
    for path, text in _texts(system, found):
        file = parse_interfaces(text, path)
        all_files.stanzas += file.stanzas
        all_files.automatic |= file.automatic
        all_files.mappings += file.mappings
    logical = _with_inherited(all_files)
    interfaces = _by_interface(system, all_files, logical)
    for name, mine in interfaces.items():
        automatic = _is_automatic(name, all_files)
        with found.guard(mine[0].source, name, _outline(name, mine, automatic=automatic)):
            if all_files.mappings and not automatic:
                raise NetworkConfigError(_MAPPING)
            if any(fnmatch(name, pattern) for pattern in all_files.mappings):
                found.lose(mine[0].source, name, [_MAPPED])
            _read_interface(system, name, mine, found, logical)
    found.profiles = [
        replace(p, autoconnect=p.autoconnect and _is_automatic(p.interface, all_files)) for p in found.profiles
    ]
    for name in [name for name in logical.stanzas if name not in interfaces and name not in logical.referred]:
        _tell_unused(name, logical.stanzas[name], found, _MAPPING if all_files.mappings else _UNUSED)
    return found.reading()


def _is_automatic(interface: str, file: InterfacesFile) -> bool:
    return any(fnmatch(interface, pattern) for pattern in file.automatic)


def _with_inherited(file: InterfacesFile) -> Logical:
    """All stanzas, each with what it inherits. Those that others inherit, or that an `auto` line names, are referred
    to."""
    logical = Logical(referred={"lo", *filter(None, file.automatic.values())})
    for stanza in file.stanzas:
        for base in stanza.values("inherits"):
            logical.referred.add(base)
            own = {key for key, _ in stanza.options}
            inherited = next((s for s in logical.stanzas.get(base, []) if s.family == stanza.family), None)
            stanza.options += [(k, v) for k, v in (inherited.options if inherited else ()) if k not in own]
        logical.stanzas.setdefault(stanza.interface, []).append(stanza)
    return logical


def _by_interface(system: System, file: InterfacesFile, logical: Logical) -> dict[str, list[Stanza]]:
    """The stanzas of each interface; without those that only others refer to, or that are for no interface."""
    itself = [name for name, other in file.automatic.items() if not other]
    own = {
        name: mine
        for name, mine in logical.stanzas.items()
        if name in itself
        or (
            (name not in logical.referred or any(fnmatch(name, pattern) for pattern in itself))
            and _is_device(system, name, mine)
        )
    }
    return own | {name: logical.stanzas[other] for name, other in file.automatic.items() if other in logical.stanzas}


def _is_device(system: System, name: str, stanzas: list[Stanza]) -> bool:
    """Whether there is an interface of this name, or the stanzas make one, or it could be the name of one."""
    made = _vlan(name, stanzas[0]) is not None
    return made or is_device_name(name) or system.exists(f"/sys/class/net/{name}")


def _outline(name: str, stanzas: list[Stanza], *, automatic: bool) -> Profile:
    """What is lost where the stanzas cannot be carried over, as far as they can be read."""
    bare = Profile(kind=Kind.LINK, source=stanzas[0].source, interface=name)
    wpa = _wpa_options(stanzas)
    login = is_login(_network_values(wpa), wired=_is_wired(wpa)) or (_is_wired(wpa) and "conf" in wpa)
    with contextlib.suppress(NetworkConfigError):
        bare = _link(name, stanzas, [])
    bare = replace(bare, autoconnect=automatic)
    return replace(bare, kind=Kind.ETHERNET, eap=Eap()) if login else bare


def _tell_unused(name: str, stanzas: list[Stanza], found: Collector, reason: str) -> None:
    """Name a stanza that no interface uses, but not the plain lease that old images have as `default`."""
    if name == "default" and {stanza.method for stanza in stanzas} == {"dhcp"}:
        return
    lost = _outline(name, stanzas, automatic=False)
    found.problems.append(Problem(source=stanzas[0].source, subject=name, reason=reason, profile=lost))


def _texts(system: System, found: Collector) -> Iterator[tuple[str, str]]:
    """The path and text of the file and of all files that it sources, each once."""
    todo = [PurePosixPath(FILE)] if system.exists(FILE) else []
    seen: set[PurePosixPath] = set()
    while todo and len(seen) < FILES_LIMIT:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        with found.guard(path):
            text = read_config(system, path)
            yield str(path), text
            todo += [file for line in logical_lines(text) for file in _sourced(system, path.parent, line)]


def _sourced(system: System, folder: PurePosixPath, line: str) -> Iterator[PurePosixPath]:
    word, *patterns = line.split()
    for pattern in patterns if word in ("source", "source-directory") else ():
        yield from _matching(system, folder, word, pattern)


def _matching(system: System, folder: PurePosixPath, word: str, pattern: str) -> list[PurePosixPath]:
    target = re.sub(r"\*+", "*", posixpath.normpath(folder / pattern))
    if target == "/":
        return []
    if word == "source":
        return [path for path in system.glob(target) if not system.is_dir(path)]
    return [path for path in system.glob(f"{target}/*") if _DROP_IN.fullmatch(path.name) and system.is_file(path)]


def _read_interface(system: System, name: str, stanzas: list[Stanza], found: Collector, logical: Logical) -> None:
    """All stanzas of one interface and its aliases, as one profile or several Wi-Fi networks.

    A Wi-Fi interface with the method manual gets its addresses from the stanzas that its networks name (wpa-roam), or
    else from another program. Raises NetworkConfigError.
    """
    methods = {stanza.method for stanza in stanzas}
    if name == "lo" or methods == {"loopback"}:
        return
    link, lost = _checked_link(name, stanzas)
    found.lose(stanzas[0].source, name, lost)
    wpa = _wpa_options(stanzas)
    if "roam" in wpa and "manual" in methods:
        found.include(read_file(system, PurePosixPath(wpa["roam"]), name, _roaming(link, wpa, logical)))
        return
    networks = _networks(system, name, stanzas, wpa)
    if networks is not None:
        found.include(replace(networks, profiles=tuple(_addressed(p, link) for p in networks.profiles)))
    elif methods != {"manual"} or link.kind is Kind.VLAN:  # an interface set to manual is left to other programs
        found.add(link)


def _checked_link(name: str, stanzas: list[Stanza]) -> tuple[Profile, list[str]]:
    """The addresses that stanzas give the interface, None where they leave them to another program, and what is not
    carried over. Raises NetworkConfigError if they cannot be.
    """
    methods = {stanza.method for stanza in stanzas}
    options = {key for stanza in stanzas for key, _ in stanza.options}
    _refuse(methods, options)
    lost = not_carried(sorted(k for k in options if k not in _KNOWN and not k.startswith(("wpa-", "wpa_"))))
    link = _link(name, stanzas, lost)
    if methods == {"manual"} and link.kind is not Kind.VLAN:
        link = replace(link, ipv4=None, ipv6=None)
    return link, lost


def _wpa_options(stanzas: list[Stanza]) -> dict[str, str]:
    """The options for wpa_supplicant, without their prefix and in its own spelling."""
    options = [option for stanza in stanzas for option in stanza.options if option[0].startswith(("wpa-", "wpa_"))]
    return {key[4:].replace("-", "_"): value for key, value in options}


def _is_wired(wpa: dict[str, str]) -> bool:
    return wpa.get("driver") == "wired"


def _network_values(wpa: dict[str, str]) -> dict[str, str]:
    """The options that are values of a network; `essid` is another word for `ssid`."""
    values = {key: value for key, value in wpa.items() if key not in _OF_THE_SCRIPT and key != "essid"}
    return {"ssid": wpa["essid"], **values} if "essid" in wpa else values


def _roaming(link: Profile, wpa: dict[str, str], logical: Logical) -> Addressing:
    """Gives each network the addresses of the stanza that its id_str names, or of that for all others.

    As wpa_action does, which takes the stanza `default` where there is none of that name (functions.sh of 2.10).
    """
    others, script = wpa.get("roam_default_iface", "default"), wpa.get("mapping_script", "")

    def addressed(profile: Profile, raw: str) -> tuple[Profile, list[str]]:
        id_str = parse_text(raw) if raw else ""
        if script and ("mapping_script_priority" in wpa or not id_str):
            raise NetworkConfigError(f"{_command(script)} (wpa-mapping-script) decides which addresses it gets")
        wanted = id_str or others
        name = wanted if wanted in logical.stanzas else "default"
        logical.referred.add(name)
        told = [] if name == wanted else ["the stanza with its addresses is not there; those of `default` count"]
        if name not in logical.stanzas:
            return profile, told
        mine, lost = _checked_link(link.interface, logical.stanzas[name])
        mac = mine.cloned_mac or link.cloned_mac
        return _addressed(profile, replace(mine, mtu=mine.mtu or link.mtu, cloned_mac=mac)), [*told, *lost]

    return addressed


def _addressed(profile: Profile, link: Profile) -> Profile:
    return replace(profile, ipv4=link.ipv4, ipv6=link.ipv6, mtu=link.mtu, cloned_mac=link.cloned_mac)


def _refuse(methods: set[str], options: set[str]) -> None:
    for prefix, what in (("bridge", "a bridge"), ("bond", "a bond"), ("slaves", "a bond"), ("wireguard", "WireGuard")):
        if any(option == prefix or option.startswith((f"{prefix}_", f"{prefix}-")) for option in options):
            raise NetworkConfigError(f"{what} cannot be carried over")
    for method in sorted(methods - {"dhcp", "static", "manual", "auto", "loopback"}):
        raise NetworkConfigError(f"the method {method} cannot be carried over")


def _link(name: str, stanzas: list[Stanza], lost: list[str]) -> Profile:
    first = Stanza(source="", name=name, family="", method="", options=[o for s in stanzas for o in s.options])
    mtu = first.value("mtu")
    vlan = _vlan(name, first)
    servers = [parse_address(text) for text in first.words("dns-nameservers", "dns-nameserver")]
    ipv4 = _ip(name, 4, [s for s in stanzas if s.family == "inet"], servers, lost)
    ipv6 = _ip(name, 6, [s for s in stanzas if s.family == "inet6"], servers, lost)
    lost += servers_left_out(servers, ipv4, ipv6)
    lost += [f"{_command(text)} that runs before it comes up is not carried over" for text in first.values("pre-up")]
    return Profile(
        kind=Kind.VLAN if vlan else Kind.LINK,
        source=stanzas[0].source,
        interface=name,
        cloned_mac=first.value("hwaddress").removeprefix("ether").strip(),
        mtu=find_number(mtu),
        vlan=vlan,
        ipv4=ipv4,
        ipv6=ipv6,
    )


def _vlan(name: str, stanza: Stanza) -> Vlan | None:
    match = _VLAN_NAME.fullmatch(name)
    parent = stanza.value("vlan-raw-device", "vlan_raw_device") or (match["parent"] if match else "")
    text = stanza.value("vlan-id", "vlan_id") or (match["id"] or match["number"] if match else "")
    if not (parent and text):
        return None
    number = find_number(text)
    return Vlan(id=-1 if number is None else number, parent=parent)


def _command(text: str) -> str:
    """A command for messages: only its program, since its arguments may be secret."""
    return f"the command {text.split()[0].partition('=')[0]}"


def _ip(name: str, version: int, stanzas: list[Stanza], servers: list[str], lost: list[str]) -> Ip:
    """The settings of one family. Unless IPv6 names a gateway or accept_ra 0, router advertisements bring one.

    That is the kernel's default (Linux, ip-sysctl), which ifupdown leaves as it is for a fixed address. The name
    servers of both families may be in either's stanza.
    """
    if not stanzas:
        return Ip(dns=of_family(6, servers)) if version == 6 else Ip(method=Method.DISABLED)
    addresses, routes, search = [], list[Route](), []
    for stanza in stanzas:
        addresses += [parse_cidr(text, stanza.value("netmask") or _length(text)) for text in stanza.values("address")]
        metric = stanza.value("metric")
        routes += [gateway_route(g, find_number(metric)) for g in stanza.words("gateway")]
        search += stanza.words("dns-domain", "dns-search")
        for command in stanza.values("up", "post-up"):
            route = parse_route_command(command, name)
            if route:
                routes.append(route)
            else:
                lost.append(f"{_command(command)} that runs when it comes up is not carried over")
    methods = {stanza.method for stanza in stanzas}
    ra = version == 6 and all(stanza.value("accept_ra") != "0" for stanza in stanzas)
    automatic = "dhcp" in methods or ("auto" in methods and ra)
    if ra and addresses:
        automatic |= not any(route.destination == DEFAULT_DESTINATIONS[6] for route in routes)
    ip = make_ip(
        version,
        automatic=automatic,
        addresses=addresses,
        routes=routes,
        dns=servers,
        search=search,
        otherwise=Method.DISABLED if version == 4 else Method.IGNORE if ra else Method.LINK_LOCAL,
    )
    if not automatic:
        return ip
    if "auto" in methods and any(stanza.value("autoconf") == "0" for stanza in stanzas):
        lost.append("autoconf 0 is not carried over")
    ip = ip if version == 4 or ra else replace(ip, method=Method.DHCP)
    return replace(ip, options=_options(stanzas, version, lost))


def _options(stanzas: list[Stanza], version: int, lost: list[str]) -> Options:
    """What the DHCP server is told, and the privacy of IPv6 addresses (interfaces(5))."""
    hostname, vendor, privacy = (
        next((text for stanza in stanzas if (text := stanza.value(key))), "")
        for key in ("hostname", "vendor", "privext")
    )
    options = told_to_server(version, lost, name=hostname, vendor_class=vendor)
    return (*options, ("ip6-privacy", privacy)) if version == 6 and privacy in ("0", "1", "2") else options


def _length(address: str) -> str:
    """The mask that ifupdown assumes if none is given."""
    return "64" if ":" in address else mask_of_class(address)


def _networks(system: System, name: str, stanzas: list[Stanza], wpa: dict[str, str]) -> Reading | None:
    """The Wi-Fi networks in the stanzas, or None."""
    source = stanzas[0].source
    found = Collector()
    wireless = dict(option for stanza in stanzas for option in stanza.options)
    files = {wpa[key] for key in ("conf", "roam") if key in wpa} - {"managed"}
    for path in sorted(files):
        found.include(read_file(system, PurePosixPath(path), name, wired=_is_wired(wpa)))
    values = _network_values(wpa)
    if "ssid" in values or is_login(values, wired=_is_wired(wpa)):
        values = {key: _quoted(key, value) for key, value in _with_passphrase(system, values).items()}
        profile, lost = make_profile(system, values, {}, wired=_is_wired(wpa))
        found.add(replace(profile, source=source, interface=name), lost)
    elif "wireless-essid" in wireless:
        wifi = _wireless(wireless["wireless-essid"], wireless.get("wireless-key", ""))
        found.add(Profile(kind=Kind.WIFI, source=source, interface=name, wifi=wifi))
    elif not files:
        return None
    return found.reading()


def _with_passphrase(system: System, wpa: dict[str, str]) -> dict[str, str]:
    """The values with a psk, for which Debian's script has further options; the last one of several wins.

    Raises FileError or NetworkConfigError if it is in a file that cannot be read.
    """
    values = {key: value for key, value in wpa.items() if key not in (*_PASSPHRASE_FILES, "passphrase")}
    for key in _PASSPHRASE_FILES:
        if key in wpa:
            values["psk"] = read_config(system, wpa[key]).rstrip("\n")
    if "passphrase" in wpa:
        values["psk"] = wpa["passphrase"]
    return values


def _quoted(key: str, value: str) -> str:
    """A value as in wpa_supplicant.conf: Debian's script quotes whatever is neither quoted nor a key."""
    plain = key in _BARE or value.startswith('"') or (key == "psk" and re.fullmatch("[0-9A-Fa-f]{64}", value))
    return value if plain or key.startswith("wep_key") else f'"{value}"'


def _wireless(essid: str, key: str) -> Wifi:
    ssid = essid.strip('"').encode("utf-8", "surrogateescape")
    if not key or key == "off":
        return Wifi(ssid=ssid)
    words = key.split()
    secret = words[0].removeprefix("s:") if words[0].startswith("s:") else words[0].replace("-", "")
    return Wifi(ssid=ssid, security=Security.WEP, wep=Wep(keys=(secret, "", "", ""), shared="restricted" in words))


SOURCE = Source(name="ifupdown", precedence=60, read=read)
