# SPDX-License-Identifier: Apache-2.0
"""dhcpcd: the static addresses in /etc/dhcpcd.conf (Raspberry Pi OS up to 11).

Source: dhcpcd.conf(5) and dhcpcd's src/if-options.c. What precedes the first `interface` applies to all interfaces; it
contains no addresses. All blocks that fit an interface and its Wi-Fi network apply to it, and the later line counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.addresses import (
    gateway_route,
    make_ip,
    mask_of_class,
    of_family,
    parse_address,
    parse_cidr,
    parse_destination,
    servers_left_out,
)
from balena_migrate.network.files.number import find_number
from balena_migrate.network.model import Ip, Kind, Method, Problem, Profile, Reading, Route, Wifi
from balena_migrate.network.names import is_wireless_name
from balena_migrate.network.reading import Collector, read_config
from balena_migrate.network.sources import Source

FILE = "/etc/dhcpcd.conf"

INTERFACES_LIMIT = 16
"""More Wi-Fi interfaces than this no device has."""
IDENTITY = ("clientid", "duid", "hostname", "vendorclassid")
"""What the DHCP server knows the device by; see `dhcp_identity`, which goes by the lease in use."""

_CARRIED = frozenset(
    {
        "ip_address",
        "ip6_address",
        "routers",
        "domain_name_servers",
        "domain_name",
        "domain_search",
        "interface_mtu",
        "subnet_mask",
        "routes",
        "static_routes",
        "classless_static_routes",
    }
)
_OPTIONS = ("noipv6", "noipv6rs", "ipv4only", "nogateway", "metric", "inform", *IDENTITY, "fallback", "arping")
"""Carried; the last two are told with the profile that they use."""

_COMMON = ("noipv6", "noipv6rs", "ipv4only", "nogateway", "metric")
_FOR_ALL = "counts for interfaces that the file does not name, too, and is not carried over for these"


@dataclass(kw_only=True)
class Block:
    """The lines below `interface`, `ssid` or `profile` lines of one name; `common` are the options for all interfaces.

    `interface` is the one for which a block of a Wi-Fi network is, "" for any; `line` is where the block starts.
    """

    kind: str = ""
    name: str = ""
    interface: str = ""
    line: int = 0
    static: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    common: dict[str, str] = field(default_factory=dict)

    def has(self, *options: str) -> bool:
        """Whether one of these options counts for it."""
        return any(option in self.options or option in self.common for option in options)


def read(system: System) -> Reading:
    """Read a link for every interface with static settings."""
    found = Collector()
    blocks: tuple[Block, ...] = ()
    if system.exists(FILE):
        with found.guard(FILE):
            blocks = parse_dhcpcd(read_config(system, FILE))
    over_air = [block for block in blocks if block.kind == "interface" and is_wireless_name(block.name)]
    for block in blocks:
        with found.guard(FILE, block.name):
            _refuse(block)
            for profile in _profiles(block, over_air):
                servers = block.static.get("domain_name_servers", "").split()
                left_out = servers_left_out(servers, profile.ipv4 or Ip(), profile.ipv6 or Ip())
                found.add(profile, [*_lost(block), *left_out])
    for block in (block for block in blocks if block.kind == "profile" and block.static):
        _tell_profile(block, found)
    if blocks:
        found.lose(FILE, "", (f"{key} {_FOR_ALL}" for key in _COMMON if key in blocks[0].options))
    return found.reading()


def parse_dhcpcd(text: str) -> tuple[Block, ...]:
    """The blocks of the file, one for each name; the first, without a name, applies to all interfaces."""
    block = Block()
    blocks, common = {("", ""): block}, block.options
    for number, line in enumerate(text.split("\n")):
        words = line.partition("#")[0].split(None, 1) if not line.lstrip().startswith("#") else []
        if not words:
            continue
        key, value = words[0], words[1].strip() if len(words) > 1 else ""
        if key in ("interface", "ssid", "profile"):
            block = blocks.setdefault((key, value), Block(kind=key, name=value, line=number, common=common))
        elif key == "static":
            name, _, setting = value.partition("=")
            block.static[name.strip()] = setting.strip().strip('"')
        else:
            block.options[key] = value
    return tuple(blocks.values())


def _lost(block: Block) -> list[str]:
    lost = [f"static {key} is not carried over" for key in block.static if key not in _CARRIED]
    return lost + [f"{key} is not carried over" for key in block.options if key not in _OPTIONS]


def _refuse(block: Block) -> None:
    if not block.kind and block.static:
        raise NetworkConfigError("static settings that are not for one interface cannot be carried over")


def _profiles(block: Block, over_air: list[Block]) -> list[Profile]:
    """The links of a block; none if it changes nothing. Raises NetworkConfigError.

    A block of a Wi-Fi network has one more for each Wi-Fi interface that has a block, too, since both apply there.
    """
    if block.kind not in ("interface", "ssid") or not (block.static or block.options):
        return []
    others = over_air[:INTERFACES_LIMIT] if block.kind == "ssid" else []
    return [_link(each) for each in (*(_joined(block, other) for other in others), block)]


def _tell_profile(block: Block, found: Collector) -> None:
    """Name the addresses for where there is no lease: NetworkManager has no such thing, and goes on waiting for one."""
    with found.guard(FILE, block.name):
        link = _link(block)
        reason = "is for where there is no lease (fallback) or a host answers (arping), and is not carried over"
        found.problems.append(Problem(source=FILE, subject=block.name, reason=reason, profile=link))


def _joined(block: Block, other: Block) -> Block:
    """The block of a Wi-Fi network together with that of an interface; the later one counts."""
    first, second = sorted((block, other), key=lambda each: each.line)
    static, options = {**first.static, **second.static}, {**first.options, **second.options}
    return replace(block, interface=other.name, static=static, options=options)


def _link(block: Block) -> Profile:
    mtu = block.static.get("interface_mtu", "")
    return Profile(
        kind=Kind.LINK,
        source=FILE,
        interface=block.name if block.kind == "interface" else block.interface,
        wifi=Wifi(ssid=block.name.encode("utf-8", "surrogateescape")) if block.kind == "ssid" else None,
        mtu=find_number(mtu),
        ipv4=_ip(block, 4),
        ipv6=_ip(block, 6),
    )


def _ip(block: Block, version: int) -> Ip:
    """The settings of one family. A fixed IPv6 address gets its gateway by router advertisement, unless that is off."""
    static = block.static
    mask = static.get("subnet_mask", "")
    texts = [static.get("ip_address", ""), static.get("ip6_address", ""), block.options.get("inform", "")]
    addresses = [parse_cidr(text, (mask or mask_of_class(text)) if "." in text else "") for text in texts if text]
    off = version == 6 and block.has("noipv6", "ipv4only", "noipv6rs")
    metric = block.options.get("metric", block.common.get("metric", ""))
    routers = [] if block.has("nogateway") else static.get("routers", "").split()
    servers = [parse_address(text) for text in static.get("domain_name_servers", "").split()]
    has_address = bool(of_family(version, addresses))
    ip = make_ip(
        version,
        automatic=not off and (version == 6 or not has_address),
        addresses=addresses,
        routes=[*(gateway_route(r, find_number(metric)) for r in routers), *_routes(static)],
        dns=servers,
        search=f"{static.get('domain_name', '')} {static.get('domain_search', '')}".split(),
        otherwise=Method.IGNORE,
    )
    if ip.metric is None and ip.method is not Method.IGNORE:
        ip = replace(ip, metric=find_number(metric))
    automatic = ip.method is Method.AUTO
    no_gateway = automatic and block.has("nogateway")
    return replace(ip, ignore_auto_dns=automatic and bool(ip.dns), never_default=no_gateway)


def _routes(static: dict[str, str]) -> list[Route]:
    """Pairs of a destination and its gateway."""
    words = static.get("classless_static_routes", static.get("routes", static.get("static_routes", ""))).split()
    pairs = zip(words[::2], words[1::2], strict=False)
    return [Route(destination=parse_destination(to, via), gateway=parse_address(via)) for to, via in pairs]


SOURCE = Source(name="dhcpcd", precedence=50, read=read)
