# SPDX-License-Identifier: Apache-2.0
"""Will the device come back online? The connection in use now has to have a counterpart in the new system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from balena_migrate.core.balena import CONNECTIONS_FOLDER
from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.network.model import Ip, Kind, Method, NetworkSettings, Profile, Wifi
from balena_migrate.network.select import IMAGE_WIFIS, Selection, named_profiles
from balena_migrate.settings import Config
from balena_migrate.survey import Survey

_OF_OTHER_DEVICES = (Kind.WIFI, Kind.GSM, Kind.CDMA)
_AUTOMATIC = {4: (Method.AUTO, Method.DHCP), 6: (Method.AUTO, Method.DHCP, Method.IGNORE)}
"""How an interface gets a lease. Where NetworkManager ignores IPv6, the kernel follows router advertisements."""
_NOT_BY_ITSELF = "its settings say not to connect automatically"

CODES = (
    Code("network-online", PASSES, "The connection in use has a counterpart in the new system."),
    Code(
        "network-lost",
        BLOCKS + WARNS,
        "The connection in use has no counterpart in the new system, which would be unreachable.",
        "Configure the connection where the tool finds it, or set ALLOW_OFFLINE to go on nevertheless.",
    ),
    Code("network-offline", WARNS, "There is no default route, so the connection in use is unknown."),
    Code("network-not-carried", WARNS, "A network of the old system cannot be carried over."),
    Code("network-detail-not-carried", WARNS, "One setting of a network that is carried over gets lost."),
    Code(
        "network-file-replaced",
        WARNS,
        "The image has a network file of the same name, which is replaced.",
        "Set HAS_WIFI_CFG to keep the image's own resin-wifi-01.",
    ),
    Code("wifi-in-use-unknown", WARNS, "The Wi-Fi network in use cannot be determined."),
    Code("wifi-not-in-image", WARNS, "HAS_WIFI_CFG is set, but the image has no Wi-Fi configuration."),
    Code("wifi-unknown", WARNS, "MIGRATE_WIFI_CFG names a Wi-Fi network that the old system does not know."),
)


def check(survey: Survey) -> Iterator[Finding]:
    payload, network = survey.payload, survey.facts.network
    image_files = survey.image.identity.files if survey.image else None
    yield from check_network(survey.config, network, payload.network, payload.selection, image_files)


def check_network(
    config: Config,
    network: NetworkFacts,
    settings: NetworkSettings,
    selection: Selection,
    image_files: Sequence[str] | None = None,
) -> Iterator[Finding]:
    """Findings on the network settings; a blocker where the device would not come back.

    `image_files` are the paths of all files in the image's boot partition, None if no image was looked at.
    """
    in_image = {path.lower() for path in image_files or ()}
    has_wifi = config.has_wifi_cfg and (image_files is None or not in_image.isdisjoint(IMAGE_WIFIS))
    yield from _check_online(config, network, selection, has_wifi=has_wifi)
    if image_files is not None:
        yield from _check_image(config, selection, in_image)
    for problem in settings.problems:
        if problem.lost:
            yield warning("network-not-carried", str(problem))
        else:
            yield warning("network-detail-not-carried", str(problem))
    for name in selection.unknown:
        cause = f"MIGRATE_WIFI_CFG names the Wi-Fi network {name}, which the old system does not know"
        yield warning("wifi-unknown", cause)


def _check_image(config: Config, selection: Selection, in_image: set[str]) -> Iterator[Finding]:
    """Whether the image's own network files stay, and are there where the settings say so."""
    if config.has_wifi_cfg and in_image.isdisjoint(IMAGE_WIFIS):
        cause = f"HAS_WIFI_CFG is set, but the image contains none of {', '.join(IMAGE_WIFIS)}"
        yield warning("wifi-not-in-image", cause)
    for name, profile in named_profiles(config, selection):
        path = f"{CONNECTIONS_FOLDER}/{name}"
        if path in in_image:
            cause = f"the image's own {path} is replaced by the settings of {profile.name}"
            remedy = 'set HAS_WIFI_CFG="TRUE" to keep the image\'s own' if path in IMAGE_WIFIS else ""
            yield warning("network-file-replaced", cause, remedy)


def _check_online(config: Config, network: NetworkFacts, selection: Selection, *, has_wifi: bool) -> Iterator[Finding]:
    interface = network.online()
    if interface is None:
        cause = "there is no default route, so it is unknown which connection brings the device online"
        yield warning("network-offline", cause)
        return
    if interface.kind is InterfaceKind.WIFI and not interface.ssid and any(p.wifi for p in selection.profiles):
        cause = (
            f"it is unknown which Wi-Fi network {interface.name} uses; make sure that it is among those carried over"
        )
        yield warning("wifi-in-use-unknown", cause)
        return
    reason = find_obstacle(interface, network, selection)
    if not reason:
        cause = f"the connection in use ({_describe(interface)}) has a counterpart in the new system"
        yield passed("network-online", cause)
        return
    cause, remedy = (
        f"the connection in use ({_describe(interface)}) would be lost: {reason}",
        _remedy(interface, selection),
    )
    trusted = interface.kind is InterfaceKind.WIFI and has_wifi
    if config.allow_offline or trusted:
        yield warning("network-lost", cause, remedy)
    else:
        yield blocker("network-lost", cause, remedy)


def _describe(interface: Interface) -> str:
    if not interface.ssid:
        return interface.name
    return f"{interface.name}, Wi-Fi network {Wifi(ssid=interface.ssid).name}"


def _remedy(interface: Interface, selection: Selection) -> str:
    if any(p.wifi and interface.ssid in (b"", p.wifi.ssid) for p in selection.left_out):
        return 'set MIGRATE_ALL_WIFIS="TRUE", or name the network in MIGRATE_WIFI_CFG'
    return 'configure this connection where the tool finds it, or set ALLOW_OFFLINE="TRUE" to continue'


def find_obstacle(interface: Interface, network: NetworkFacts, selection: Selection) -> str:
    """Why the connection of the interface has no counterpart in what is carried; "" if it has one."""
    if interface.kind is InterfaceKind.WIFI:
        return _wifi_obstacle(interface, network, selection)
    if interface.kind is InterfaceKind.ETHERNET:
        return _wired_obstacle(interface, network, (*selection.profiles, *selection.automatic))
    if (
        interface.kind is InterfaceKind.BRIDGE
        and network.of_kind(InterfaceKind.ETHERNET)
        and _has_lease(interface, network)
    ):
        return ""  # without the bridge its wired port gets the lease
    kinds = {InterfaceKind.MODEM: (Kind.GSM, Kind.CDMA), InterfaceKind.VLAN: (Kind.VLAN,)}
    wanted = kinds.get(interface.kind, (Kind.OTHER,))
    fitting = tuple(p for p in selection.profiles if p.kind in wanted and _fits(p, interface))
    if not fitting:
        return f"no settings for a {interface.kind} interface are carried over"
    if interface.kind is InterfaceKind.MODEM:
        return "" if any(p.autoconnect for p in fitting) else _NOT_BY_ITSELF
    return _wired_obstacle(interface, network, fitting)


def _fits(profile: Profile, interface: Interface) -> bool:
    """Whether the profile is for this interface, or for any. A modem's names its control port, not its interface."""
    if profile.kind in (Kind.GSM, Kind.CDMA):
        return True
    by_name = profile.interface in ("", interface.name)
    return by_name and profile.mac.lower() in ("", interface.mac.lower())


def _wifi_obstacle(interface: Interface, network: NetworkFacts, selection: Selection) -> str:
    same = [p for p in selection.profiles if p.wifi and p.wifi.ssid == interface.ssid and _fits(p, interface)]
    if not same:
        return "no settings for this Wi-Fi network are carried over"
    return _address_obstacle(interface, network, same)


def _has_lease(interface: Interface, network: NetworkFacts) -> bool:
    return any(address.dynamic for address in network.addresses if address.interface == interface.name)


def _wired_obstacle(interface: Interface, network: NetworkFacts, profiles: tuple[Profile, ...]) -> str:
    """A wired interface comes up with DHCP by itself; a fixed address needs a profile that has it."""
    known = [p for p in profiles if p.kind not in _OF_OTHER_DEVICES and _fits(p, interface)]
    return _address_obstacle(interface, network, known)


def _address_obstacle(interface: Interface, network: NetworkFacts, known: list[Profile]) -> str:
    """Whether the profiles of an interface lead out as it does now; without any it gets a lease.

    Not every DHCP client gives its addresses a lifetime, so an address that looks fixed is taken for a lease where
    the settings of the interface say DHCP.
    """
    gateways = [route.gateway for route in network.default_routes if route.interface == interface.name]
    version = 4 if any(":" not in gateway for gateway in gateways) else 6
    if known and not any(p.autoconnect for p in known):
        return _NOT_BY_ITSELF
    settings = [p.ipv4 if version == 4 else p.ipv6 for p in known]
    if any(ip is None or ip.method in _AUTOMATIC[version] for ip in settings):
        return ""
    return _fixed_obstacle(interface, network, [ip for ip in settings if ip], gateways, version)


def _fixed_obstacle(
    interface: Interface, network: NetworkFacts, settings: list[Ip], gateways: list[str], version: int
) -> str:
    """Why the settings do not lead out as the interface does now."""
    carried = {address for ip in settings for address in ip.addresses}
    ways_out = {ip.gateway for ip in settings} | {r.gateway for ip in settings for r in ip.routes}
    mine = [a for a in network.addresses if a.interface == interface.name and (":" in a.address) == (version == 6)]
    missing = [a.address for a in mine if a.address not in carried and not a.dynamic]
    if missing:
        return f"its fixed address {missing[0]} is in no settings that are carried over"
    if settings and not any(a.address in carried for a in mine):
        return "its settings do not assign the address that it has now"
    if settings and gateways[0] and not ways_out & set(gateways):
        return f"its gateway {gateways[0]} is in no settings that are carried over"
    return ""
