"""ifupdown: /etc/network/interfaces and the files that it sources.

Source: interfaces(5), and the options that Debian's packages wpasupplicant, wireless-tools, vlan and resolvconf add.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from balena_migrate.errors import NetworkConfigError
from balena_migrate.network.addresses import gateway_route, make_ip, parse_address, parse_cidr, parse_destination
from balena_migrate.network.collect import Collector, read_config
from balena_migrate.network.model import Ip, Kind, Method, Profile, Reading, Route, Security, Vlan, Wep, Wifi
from balena_migrate.network.sources import Source
from balena_migrate.network.sources.wpa_supplicant import make_profile, read_file
from balena_migrate.system import System

FILE = "/etc/network/interfaces"
FILES_LIMIT = 200
"""More files than this are no configuration, but files that source each other."""

_KEYWORDS = (
    "iface",
    "auto",
    "mapping",
    "source",
    "source-directory",
    "rename",
    "no-auto-down",
    "no-scripts",
    "template",
)
_DROP_IN = re.compile(r"[a-zA-Z0-9_-]+")
"""The names that source-directory takes (interfaces(5))."""
_VLAN_NAME = re.compile(r"(?P<parent>[a-z0-9]+)\.(?P<id>[0-9]+)|vlan(?P<number>[0-9]+)")
_BARE = frozenset(
    ("key_mgmt", "proto", "pairwise", "group", "eap", "auth_alg", "priority", "bssid", "scan_ssid", "ap_scan")
)
"""Values of wpa_supplicant that stand without quotes."""
_OF_THE_SCRIPT = frozenset(("driver", "iface", "ap_scan", "bridge", "debug_level", "logfile", "verbosity"))
"""Options that steer Debian's script, and are no values of a network."""
_DROPPED = "broadcast network client hostname leasehours leasetime vendor scope pre-up post-down down pre-down"
_CARRIED = """
    address netmask gateway metric mtu hwaddress dns-nameservers dns-nameserver dns-search dns-domain up post-up
    vlan-raw-device vlan_raw_device wireless-essid wireless-key wireless-mode accept_ra autoconf
"""
_KNOWN = frozenset(f"{_DROPPED} {_CARRIED}".split())


@dataclass(kw_only=True)
class Stanza:
    """One iface stanza; an option may come several times."""

    source: str
    name: str
    family: str
    method: str
    options: list[tuple[str, str]] = field(default_factory=list, repr=False)

    @property
    def interface(self) -> str:
        """The name without that of an alias (eth0:1)."""
        return self.name.partition(":")[0]

    def values(self, *keys: str) -> list[str]:
        return [value for key, value in self.options if key in keys]

    def value(self, *keys: str) -> str:
        return next(iter(self.values(*keys)), "")

    def words(self, *keys: str) -> list[str]:
        return " ".join(self.values(*keys)).split()


def read(system: System) -> Reading:
    """The interfaces of all files, and the Wi-Fi networks that they name."""
    found = Collector()
    stanzas: list[Stanza] = []
    automatic: set[str] = set()
    for path, text in _texts(system, found):
        more, names = parse_interfaces(text, path)
        stanzas += more
        automatic |= names
    for name in dict.fromkeys(stanza.interface for stanza in stanzas):
        mine = [stanza for stanza in stanzas if stanza.interface == name]
        with found.guard(mine[0].source, name):
            _read_interface(system, name, mine, found, [s for s in stanzas if s.name == "default"])
    found.profiles = [replace(p, autoconnect=p.autoconnect and p.interface in automatic) for p in found.profiles]
    return found.reading()


def _texts(system: System, found: Collector) -> Iterator[tuple[str, str]]:
    """The path and text of the file and of all that it sources, each once."""
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
            todo += [file for line in _lines(text) for file in _sourced(system, path.parent, line)]


def _sourced(system: System, folder: PurePosixPath, line: str) -> list[PurePosixPath]:
    word, _, pattern = line.partition(" ")
    target = posixpath.normpath(folder / pattern.strip())
    if word == "source":
        return [path for path in system.glob(target) if not system.is_dir(path)]
    if word == "source-directory":
        return [path for path in system.glob(f"{target}/*") if _DROP_IN.fullmatch(path.name) and system.is_file(path)]
    return []


def _lines(text: str) -> Iterator[str]:
    """The lines without comments, with blanks made one, and continued lines put together."""
    for line in text.replace("\\\n", " ").split("\n"):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield " ".join(words)


def parse_interfaces(text: str, source: str) -> tuple[list[Stanza], set[str]]:
    """The iface stanzas of a file, and the interfaces that come up by themselves."""
    stanzas: list[Stanza] = []
    automatic: set[str] = set()
    inside = False
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        if word == "iface":
            name, family, method = (*rest.split(), "", "", "")[:3]
            stanzas.append(Stanza(source=source, name=name, family=family, method=method))
            inside = True
        elif word == "auto" or word.startswith("allow-"):
            automatic |= {name.partition(":")[0] for name in rest.split()}
            inside = False
        elif word in _KEYWORDS:
            inside = False
        elif inside:
            stanzas[-1].options.append((word, rest))
    return stanzas, automatic


def _read_interface(system: System, name: str, stanzas: list[Stanza], found: Collector, default: list[Stanza]) -> None:
    """All stanzas of one interface, with those of its aliases, as one profile or several Wi-Fi networks.

    A Wi-Fi interface that is set to manual gets its addresses from the stanzas `default` (wpa-roam), if any, else
    from another program. Raises NetworkConfigError.
    """
    methods = {stanza.method for stanza in stanzas}
    if name in ("lo", "default") or methods == {"loopback"}:
        return
    source = stanzas[0].source
    options = {key for stanza in stanzas for key, _ in stanza.options}
    _refuse(methods, options)
    unknown = sorted(key for key in options if key not in _KNOWN and not key.startswith(("wpa-", "wpa_")))
    lost = [f"{key} is not carried over" for key in unknown]
    link = _link(name, stanzas, lost)
    found.lose(source, name, lost)
    networks = _networks(system, name, stanzas)
    if networks is not None and methods == {"manual"}:
        link = _link(name, default, []) if default else replace(link, ipv4=None, ipv6=None)
    if networks is not None:
        addressed = tuple(replace(p, ipv4=link.ipv4, ipv6=link.ipv6, mtu=link.mtu) for p in networks.profiles)
        found.include(replace(networks, profiles=addressed))
    elif methods != {"manual"} or link.kind is Kind.VLAN:  # an interface set to manual is left to other programs
        found.add(link)


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
    return Profile(
        kind=Kind.VLAN if vlan else Kind.LINK,
        source=stanzas[0].source,
        interface=name,
        cloned_mac=first.value("hwaddress").removeprefix("ether").strip(),
        mtu=int(mtu) if mtu.isdigit() else None,
        vlan=vlan,
        ipv4=_ip(4, [s for s in stanzas if s.family == "inet"], lost),
        ipv6=_ip(6, [s for s in stanzas if s.family == "inet6"], lost),
    )


def _vlan(name: str, stanza: Stanza) -> Vlan | None:
    match = _VLAN_NAME.fullmatch(name)
    parent = stanza.value("vlan-raw-device", "vlan_raw_device")
    if not match or not (parent or match["parent"]):
        return None
    return Vlan(id=int(match["id"] or match["number"]), parent=parent or match["parent"])


def _ip(version: int, stanzas: list[Stanza], lost: list[str]) -> Ip:
    """IPv6 without a stanza follows router advertisements, as the kernel does by itself."""
    if not stanzas:
        return Ip(method=Method.AUTO) if version == 6 else Ip(method=Method.DISABLED)
    addresses, routes, dns, search = [], list[Route](), [], []
    for stanza in stanzas:
        addresses += [parse_cidr(text, stanza.value("netmask")) for text in stanza.values("address")]
        metric = stanza.value("metric")
        routes += [gateway_route(g, int(metric) if metric.isdigit() else None) for g in stanza.words("gateway")]
        dns += [parse_address(text) for text in stanza.words("dns-nameservers", "dns-nameserver")]
        search += stanza.words("dns-domain", "dns-search")
        for command in stanza.values("up", "post-up"):
            route = parse_route_command(command)
            if route:
                routes.append(route)
            else:
                lost.append(f"the command {command.split()[0]} that runs when it comes up is not carried over")
    automatic = any(stanza.method in ("dhcp", "auto") for stanza in stanzas)
    return make_ip(
        version,
        automatic=automatic,
        addresses=addresses,
        routes=routes,
        dns=dns,
        search=search,
        otherwise=Method.DISABLED if version == 4 else Method.IGNORE,
    )


def parse_route_command(command: str) -> Route | None:
    """The route that a command such as "ip route add 10.0.0.0/8 via 192.0.2.1" adds; None for any other command."""
    words = [word for word in command.split() if word not in ("||", "true")]
    program = PurePosixPath(words[0]).name if words else ""
    try:
        if program == "ip":
            return _ip_route([word for word in words[1:] if word not in ("-4", "-6")])
        if program == "route" and "add" in words:
            return _net_tools_route(words[words.index("add") + 1 :])
    except NetworkConfigError:
        return None
    return None


def _ip_route(words: list[str]) -> Route | None:
    if len(words) < 3 or words[0] not in ("route", "r", "ro") or words[1] not in ("add", "replace", "append"):
        return None
    options = dict(zip(words[3::2], words[4::2], strict=False))
    if not set(options) <= {"via", "dev", "metric", "src", "proto", "scope"}:
        return None
    via, metric = options.get("via", ""), options.get("metric", "")
    return Route(
        destination=parse_destination(words[2], via),
        gateway=parse_address(via) if via else "",
        metric=int(metric) if metric.isdigit() else None,
        source=options.get("src", ""),
    )


def _net_tools_route(words: list[str]) -> Route | None:
    kind = words.pop(0) if words and words[0] in ("-net", "-host") else ""
    if not words:
        return None
    target = words.pop(0)
    options = dict(zip(words[::2], words[1::2], strict=False))
    via, metric = options.get("gw", ""), options.get("metric", "")
    mask = "" if kind == "-host" or target == "default" else options.get("netmask", "")
    return Route(
        destination=parse_destination(target, via, mask),
        gateway=parse_address(via) if via else "",
        metric=int(metric) if metric.isdigit() else None,
    )


def _networks(system: System, name: str, stanzas: list[Stanza]) -> Reading | None:
    """The Wi-Fi networks that the stanzas name; None where they name none."""
    options = [option for stanza in stanzas for option in stanza.options]
    source = stanzas[0].source
    found = Collector()
    files = dict.fromkeys(value for key, value in options if key in ("wpa-conf", "wpa-roam"))
    wpa = {key[4:].replace("-", "_"): value for key, value in options if key.startswith(("wpa-", "wpa_"))}
    wireless = dict(options)
    if files:
        for path in files:
            found.include(read_file(system, PurePosixPath(path), name))
    elif "ssid" in wpa:
        values = {key: _quoted(key, value) for key, value in wpa.items() if key not in _OF_THE_SCRIPT}
        profile, lost = make_profile(system, values, {})
        found.add(replace(profile, source=source, interface=name), lost)
    elif "wireless-essid" in wireless:
        wifi = _wireless(wireless["wireless-essid"], wireless.get("wireless-key", ""))
        found.add(Profile(kind=Kind.WIFI, source=source, interface=name, wifi=wifi))
    else:
        return None
    return found.reading()


def _quoted(key: str, value: str) -> str:
    """A value as wpa_supplicant.conf has it: Debian's script quotes what is not quoted yet, and is no key."""
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
