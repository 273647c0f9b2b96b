# SPDX-License-Identifier: Apache-2.0
"""Will the device come back online? The connection in use now has to have a counterpart in the new system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from balena_migrate.core.balena import CONNECTIONS_FOLDER
from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.network.assigned_mac import RANDOM
from balena_migrate.network.counterpart import NOT_BY_ITSELF, Comparison, compare
from balena_migrate.network.merge import concerns
from balena_migrate.network.model import Kind, NetworkSettings, Problem, Profile, Wifi
from balena_migrate.network.name_servers import is_local
from balena_migrate.network.select import IMAGE_WIFIS, Selection, named_profiles
from balena_migrate.settings import Config, Keep
from balena_migrate.survey import Survey

_OF_OTHER_DEVICES = (Kind.WIFI, Kind.GSM, Kind.CDMA)
_NOT_EVERYWHERE = (range(2467, 2485), range(5250, 5731), range(5836, 7126))
"""MHz of channels 12 to 14, of those on which radar comes first (DFS), and of what only some countries have.

Without a country the kernel's rules for the world count (Linux, net/wireless/reg.c), and drivers may be stricter: a
Raspberry Pi sees no network on 12 and 13 (balena-os/balena-os issue 309). balenaOS sets the country of config.json
(meta-balena, balena-net-config).
"""
_WITH_MAC = (InterfaceKind.ETHERNET, InterfaceKind.WIFI)
_MAC_REMEDY = (
    "have the DHCP server and the switch accept the device's own address, "
    "or set the address where this connection is configured"
)
_DRIVER_REMEDY = (
    'bring the device online by another interface, or set ALLOW_OFFLINE="TRUE" if the image\'s kernel has this driver'
)
_LOGIN_LOST = "its port may let nobody in without a login (802.1X), and that is not carried over"
_LOGIN_REMEDY = (
    "mend what is named, or remove these settings if the port asks for no login; "
    'ALLOW_OFFLINE="TRUE" goes on nevertheless'
)
_NO_DNS_REMEDY = (
    'add dns-servers to KEEP (KEEP="dns-servers"), which takes those in use now along, '
    "or name its name servers where this connection is configured"
)
_LOCAL_DNS_REMEDY = "name the servers that the forwarder asks where this connection is configured"

CODES = (
    Code("network-online", PASSES, "The connection in use has a counterpart in the new system."),
    Code(
        "network-lost",
        BLOCKS + WARNS,
        "The connection in use has no counterpart in the new system, which would be unreachable.",
        "Configure the connection where the tool finds it, or set ALLOW_OFFLINE to go on nevertheless.",
    ),
    Code(
        "network-family-lost",
        WARNS,
        "The connection in use comes back by IPv4 or IPv6 and changes in the other, which is unreachable then.",
        "Configure that family as it is in use now, where the tool finds it.",
    ),
    Code(
        "network-no-dns",
        WARNS,
        "The name servers in use are in no settings that are carried over; balenaOS falls back to 8.8.8.8.",
        'Set KEEP="dns-servers", which puts those in use into config.json, or name them where the connection is set.',
    ),
    Code(
        "network-mac-changes",
        WARNS,
        "The hardware address in force is not the device's own, and the new system would not set it.",
        "Have the DHCP server and the switch accept the device's own, or set it where the connection is configured.",
    ),
    Code(
        "network-driver",
        BLOCKS + WARNS,
        "The driver of the interface in use, or of one below it, is not of the kernel's own tree, or is in it on trial"
        " (staging): the new system may not have it.",
        "Use another interface, or set ALLOW_OFFLINE if the image's kernel has the driver.",
    ),
    Code(
        "network-offline",
        BLOCKS + WARNS,
        "There is no default route, and not one interface alone with an address: the connection in use is unknown. A"
        " blocker where there are several to choose from.",
        "Set the default route of the connection by which the new system will be online, or set ALLOW_OFFLINE.",
    ),
    Code("network-not-carried", WARNS, "A network of the old system cannot be carried over."),
    Code("network-detail-not-carried", WARNS, "One setting of a network that is carried over gets lost."),
    Code(
        "network-file-replaced",
        WARNS,
        "The image has a network file of the same name, which is replaced.",
        "Set HAS_WIFI_CFG to keep the image's own resin-wifi-01.",
    ),
    Code(
        "wifi-country",
        WARNS,
        "The Wi-Fi network in use is on a channel that is not allowed everywhere; the new system knows no country.",
        'Set KEEP="country", or name the country in config.json.',
    ),
    Code("wifi-in-use-unknown", WARNS, "The Wi-Fi network in use cannot be determined."),
    Code("wifi-not-in-image", WARNS, "HAS_WIFI_CFG is set, but the image has no Wi-Fi configuration."),
    Code("wifi-unknown", WARNS, "MIGRATE_WIFI_CFG names a Wi-Fi network that the old system does not know."),
)


def check(survey: Survey) -> Iterator[Finding]:
    payload, network = survey.payload, survey.facts.network
    image_files = survey.image.identity.files if survey.image else None
    country = payload.config_json.text("country") if payload.config_json else ""
    yield from check_network(survey.config, network, payload.network, payload.selection, image_files, country)


def check_network(
    config: Config,
    network: NetworkFacts,
    settings: NetworkSettings,
    selection: Selection,
    image_files: Sequence[str] | None = None,
    country: str = "",
) -> Iterator[Finding]:
    """Findings on the network settings; a blocker where the device would not come back.

    `image_files` are the paths of all files in the image's boot partition, None if no image was looked at. `country` is
    that for Wi-Fi in config.json.
    """
    in_image = {path.lower() for path in image_files or ()}
    has_wifi = config.has_wifi_cfg and (image_files is None or not in_image.isdisjoint(IMAGE_WIFIS))
    yield from _check_online(config, network, selection, settings, has_wifi=has_wifi)
    if not country and not (Keep.COUNTRY in config.keep and settings.country):
        yield from _check_country(network, settings)
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


def _check_online(
    config: Config, network: NetworkFacts, selection: Selection, settings: NetworkSettings, *, has_wifi: bool
) -> Iterator[Finding]:
    interface = network.online()
    if interface is None:
        yield _offline(config, network)
        return
    yield from _check_driver(config, network, interface)
    interface = _with_ssid(interface, selection)
    if interface.kind is InterfaceKind.WIFI and not interface.ssid and any(p.wifi for p in selection.profiles):
        cause = (
            f"it is unknown which Wi-Fi network {interface.name} uses; make sure that it is among those carried over"
        )
        yield warning("wifi-in-use-unknown", cause)
        return
    comparison = _compare(interface, network, selection, settings)
    if not comparison.obstacle:
        yield from _found_counterpart(config, network, interface, comparison)
        yield from _check_mac(interface, network, selection)
        return
    cause, remedy = (
        f"the connection in use ({_describe(interface)}) would be lost: {comparison.obstacle}",
        comparison.remedy or _remedy(interface, selection),
    )
    trusted = interface.kind is InterfaceKind.WIFI and has_wifi
    if config.allow_offline or trusted:
        yield warning("network-lost", cause, remedy)
    else:
        yield blocker("network-lost", cause, remedy)


def _offline(config: Config, network: NetworkFacts) -> Finding:
    names = ", ".join(interface.name for interface in network.may_lead_out())
    if not names:
        return warning("network-offline", "no connection is in use, so none can be looked for in the new system")
    cause = (
        f"there is no default route, and several interfaces have addresses ({names}): which one is needed is unknown"
    )
    remedy = 'set the default route of the one by which the new system will be online, or set ALLOW_OFFLINE="TRUE"'
    make = warning if config.allow_offline else blocker
    return make("network-offline", cause, remedy)


def _with_ssid(interface: Interface, selection: Selection) -> Interface:
    """The interface with its Wi-Fi network, where only NetworkManager's active connection tells that."""
    known = (*selection.profiles, *selection.left_out) if interface.connection and not interface.ssid else ()
    active = next((p.wifi for p in known if p.wifi and p.uuid == interface.connection), None)
    return replace(interface, ssid=active.ssid) if active else interface


def _found_counterpart(
    config: Config, network: NetworkFacts, interface: Interface, comparison: Comparison
) -> Iterator[Finding]:
    about = f"the connection in use ({_describe(interface)})"
    yield passed("network-online", f"{about} has a counterpart in the new system ({_compared(interface, comparison)})")
    for loss in comparison.losses:
        yield warning("network-family-lost", f"{about} comes back, but changes in one family: {loss}")
    keepable = any(not is_local(server) for server in network.name_servers)
    if comparison.no_dns and not (Keep.DNS_SERVERS in config.keep and keepable):
        remedy = _NO_DNS_REMEDY if keepable else _LOCAL_DNS_REMEDY
        yield warning("network-no-dns", f"{about}: {comparison.no_dns}", remedy)


def _check_driver(config: Config, network: NetworkFacts, interface: Interface) -> Iterator[Finding]:
    """Of a bridge, a bond or a VLAN the drivers below it count. One good port keeps a bond online."""
    carriers = network.below(interface)
    good_port = interface.kind is InterfaceKind.BOND and any(i.driver and not i.foreign_driver for i in carriers)
    make = warning if config.allow_offline or good_port else blocker
    for carrier in carriers:
        if carrier.foreign_driver:
            below = "" if carrier == interface else f" by way of {interface.name}"
            cause = (
                f"{carrier.name}, by which the device is online{below}, runs with the driver {carrier.driver}, and "
                f"{carrier.foreign_driver}: the new system may not have it"
            )
            yield make("network-driver", cause, _DRIVER_REMEDY)


def _check_country(network: NetworkFacts, settings: NetworkSettings) -> Iterator[Finding]:
    """Whether the Wi-Fi network in use is on a channel that the new system may not use, as it knows no country."""
    interface = network.online()
    if interface and any(interface.frequency_mhz in band for band in _NOT_EVERYWHERE):
        cause = (
            f"{interface.name} uses a Wi-Fi channel at {interface.frequency_mhz} MHz, which is not allowed in every "
            "country, and the new system knows none: it may not find this network"
        )
        remedy = 'name the country in config.json, as in "country": "GB"'
        if settings.country:
            remedy = f'add country to KEEP (KEEP="country"), which takes {settings.country} along'
        yield warning("wifi-country", cause, remedy)


def _check_mac(interface: Interface, network: NetworkFacts, selection: Selection) -> Iterator[Finding]:
    """Whether the new system asks with the hardware address in force, if that is not the device's own.

    One that is another each time is no loss where it goes on to be that.
    """
    if interface.kind is InterfaceKind.BRIDGE:
        yield from _check_bridge(interface, network, selection)
    if interface.mac_permanent or not interface.mac or interface.kind not in _WITH_MAC:
        return
    fitting = [p for p in selection.profiles if _fits(p, interface)]
    if not any(profile.cloned_mac.lower() in (interface.mac.lower(), RANDOM) for profile in fitting):
        cause = (
            f"{interface.name} has the hardware address {interface.mac}, which is not its own and is in no settings "
            "that are carried over: the new system asks with another one, and may get another lease or none"
        )
        yield warning("network-mac-changes", cause, _MAC_REMEDY)


def _check_bridge(interface: Interface, network: NetworkFacts, selection: Selection) -> Iterator[Finding]:
    """Whether a bridge that stays behind leaves its port to ask with another hardware address."""
    ports = {port.mac.lower() for port in network.of_kind(InterfaceKind.ETHERNET)}
    carried = any(p.kind is Kind.OTHER and p.interface == interface.name for p in selection.profiles)
    if interface.mac and interface.mac.lower() not in ports and not carried:
        cause = (
            f"{interface.name} has the hardware address {interface.mac}, which no wired device has: without it the "
            "new system asks with that of the port, and may get another lease or none"
        )
        yield warning("network-mac-changes", cause, _MAC_REMEDY)


def _describe(interface: Interface) -> str:
    if not interface.ssid:
        return interface.name
    return f"{interface.name}, Wi-Fi network {Wifi(ssid=interface.ssid).name}"


def _remedy(interface: Interface, selection: Selection) -> str:
    if any(p.wifi and interface.ssid in (b"", p.wifi.ssid) for p in selection.left_out):
        return 'set MIGRATE_ALL_WIFIS="TRUE", or name the network in MIGRATE_WIFI_CFG'
    return 'configure this connection where the tool finds it, or set ALLOW_OFFLINE="TRUE" to continue'


def _compare(
    interface: Interface, network: NetworkFacts, selection: Selection, settings: NetworkSettings
) -> Comparison:
    """The connection of the interface, against its counterpart in what is carried."""
    known = settings.fixed_addresses()
    login = _lost_login(interface, network, selection, settings)
    if login:
        return Comparison(obstacle=f"{_LOGIN_LOST}: {login}", remedy=_LOGIN_REMEDY)
    if interface.kind is InterfaceKind.WIFI:
        same = [p for p in selection.profiles if p.wifi and p.wifi.ssid == interface.ssid and _fits(p, interface)]
        if not same:
            return Comparison(obstacle="no settings for this Wi-Fi network are carried over")
        return compare(interface, network, same, known)
    if interface.kind is InterfaceKind.ETHERNET:
        carried = (*selection.profiles, *selection.automatic)
        fitting = [p for p in carried if p.kind not in _OF_OTHER_DEVICES and _fits(p, interface)]
        return compare(interface, network, fitting, known)
    if (
        interface.kind is InterfaceKind.BRIDGE
        and network.of_kind(InterfaceKind.ETHERNET)
        and _has_lease(interface, network)
    ):
        return compare(interface, network, (), known)  # without the bridge its wired port gets the lease
    kinds = {InterfaceKind.MODEM: (Kind.GSM, Kind.CDMA), InterfaceKind.VLAN: (Kind.VLAN,)}
    wanted = kinds.get(interface.kind, (Kind.OTHER,))
    fitting = [p for p in selection.profiles if p.kind in wanted and _fits(p, interface)]
    if not fitting:
        return Comparison(obstacle=f"no settings for a {interface.kind} interface are carried over")
    if interface.kind is InterfaceKind.MODEM:
        by_itself = any(profile.autoconnect for profile in fitting)
        return Comparison(obstacle="" if by_itself else NOT_BY_ITSELF)
    return compare(interface, network, fitting, known)


def _lost_login(
    interface: Interface, network: NetworkFacts, selection: Selection, settings: NetworkSettings
) -> Problem | None:
    """Why the new system would not log in (802.1X) at a wired port in use; None if it would, or need not."""
    ports = [i for i in network.below(interface) if i.kind is InterfaceKind.ETHERNET]
    logins = [profile for profile in selection.profiles if profile.logs_in]
    open_ports = [port for port in ports if not any(_fits(login, port) for login in logins)]
    for problem in settings.problems:
        lost = problem.profile
        if lost and lost.logs_in and lost.autoconnect and any(_may_be_in_force(lost, port) for port in open_ports):
            return problem
    return None


def _may_be_in_force(profile: Profile, port: Interface) -> bool:
    """Whether a profile that is not carried over may be behind the port now; of keyfiles, NetworkManager uses one."""
    other = profile.uuid and port.connection and profile.uuid != port.connection
    return concerns(profile, port) and not other


def _fits(profile: Profile, interface: Interface) -> bool:
    """Whether the profile is for this interface, or for any. A modem's names its control port, not its interface."""
    if profile.kind in (Kind.GSM, Kind.CDMA):
        return True
    if profile.match:
        return False  # no interface that is there fits it
    by_name = profile.interface in ("", interface.name)
    # A profile that is bound to the device's own address may give it another one, which it has then.
    by_mac = interface.mac.lower() in (profile.mac.lower(), profile.cloned_mac.lower())
    return by_name and (by_mac or not profile.mac)


def _has_lease(interface: Interface, network: NetworkFacts) -> bool:
    return any(address.dynamic for address in network.addresses if address.interface == interface.name)


def _compared(interface: Interface, comparison: Comparison) -> str:
    """What the comparison covers, and what it does not."""
    families = " and ".join(f"IPv{version}" for version in comparison.versions)
    compared = (
        f"addresses, gateway, name servers of {families}, hardware address"
        if families
        else "whether its settings connect"
    )
    rest = ["whether the image has its driver", "whether the port or access point lets the new system in"]
    if comparison.by_lease or not families:
        rest.append("what a lease brings")
    if comparison.new_duid:
        rest.append("whether DHCPv6 gives the same address to a new DUID")
    if interface.kind is InterfaceKind.WIFI and not interface.frequency_mhz:
        rest.append("the Wi-Fi channel")
    return f"compared: {compared}; not compared: {', '.join(rest)}"
