# SPDX-License-Identifier: Apache-2.0
"""The neutral model of the old system's network settings, independent of the program that uses them.

Every source is read into these values, and one module (`write.keyfile`) makes NetworkManager keyfiles of them. What
the model cannot represent becomes a `Problem`; nothing is dropped silently. Secrets are excluded from repr().
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from balena_migrate.network.files.keyfile import Keyfile


class Kind(StrEnum):
    """The kind of device that a profile uses."""

    WIFI = "wifi"
    ETHERNET = "ethernet"
    VLAN = "vlan"
    GSM = "gsm"
    CDMA = "cdma"
    LINK = "link"
    """Addresses for an interface; whether it is wired or wireless is decided when all sources are merged."""
    OTHER = "other"
    """A type that only NetworkManager's own keyfiles describe (bond, bridge, wireguard ...), carried over unchanged."""


class Security(StrEnum):
    """The security of a Wi-Fi network; the values are the key-mgmt of nm-settings(5), except OPEN and WEP."""

    OPEN = "open"
    WEP = "wep"
    PSK = "wpa-psk"
    SAE = "sae"
    OWE = "owe"
    EAP = "wpa-eap"
    EAP_192 = "wpa-eap-suite-b-192"
    DYNAMIC_WEP = "ieee8021x"


class Mode(StrEnum):
    INFRASTRUCTURE = "infrastructure"
    ADHOC = "adhoc"


class Pmf(StrEnum):
    """Protected management frames; the values are those of nm-settings(5)."""

    DEFAULT = "0"
    DISABLE = "1"
    OPTIONAL = "2"
    REQUIRED = "3"


class Method(StrEnum):
    """Where addresses come from; the values are those of nm-settings(5)."""

    AUTO = "auto"
    DHCP = "dhcp"
    MANUAL = "manual"
    LINK_LOCAL = "link-local"
    SHARED = "shared"
    DISABLED = "disabled"
    IGNORE = "ignore"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A setting that is not carried over to the new system.

    `source` is the file; `subject` the network or interface ("" for the whole file); `lost` is true if the whole
    profile is left out, and not only what `reason` names. `profile` is what is left out, as far as it could be read:
    the connection in use may be by it.
    """

    source: str
    reason: str
    subject: str = ""
    lost: bool = True
    profile: Profile | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.source}: {self.subject}: {self.reason}" if self.subject else f"{self.source}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate or key file that is carried over with its profile."""

    path: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Wep:
    """WEP keys: four slots, each empty, 5 or 13 characters, or 10 or 26 hexadecimal digits."""

    keys: tuple[str, str, str, str] = field(repr=False)
    index: int = 0
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class Wifi:
    """A Wi-Fi network; `secret` is the passphrase, or a key of 64 hexadecimal digits."""

    ssid: bytes
    security: Security = Security.OPEN
    mode: Mode = Mode.INFRASTRUCTURE
    hidden: bool = False
    bssid: str = ""
    band: str = ""
    """NetworkManager's name of a band: "bg" or "a"."""
    channel: int = 0
    pmf: Pmf = Pmf.DEFAULT
    secret: str = field(default="", repr=False)
    wep: Wep | None = None

    @property
    def name(self) -> str:
        """The SSID for messages: text if it is printable UTF-8, else hexadecimal."""
        text = self.ssid.decode("utf-8", "replace")
        return text if text.isprintable() and "\ufffd" not in text else "0x" + self.ssid.hex()


@dataclass(frozen=True, kw_only=True)
class Eap:
    """802.1X, for Wi-Fi and wired networks. The names are those of nm-settings(5)."""

    methods: tuple[str, ...] = ()
    optional: bool = False
    """The connection comes up on a wired port that does not ask for a login, too."""
    identity: str = ""
    anonymous_identity: str = ""
    password: str = field(default="", repr=False)
    password_raw: bytes = field(default=b"", repr=False)
    ca_cert: Certificate | None = None
    ca_path: str = ""
    client_cert: Certificate | None = None
    private_key: Certificate | None = None
    private_key_password: str = field(default="", repr=False)
    phase1: tuple[tuple[str, str], ...] = ()
    """Keys of [802-1x] that start with "phase1-", with their values."""
    inner: str = ""
    """phase2-auth"""
    inner_eap: str = ""
    """phase2-autheap"""
    inner_ca_cert: Certificate | None = None
    inner_client_cert: Certificate | None = None
    inner_private_key: Certificate | None = None
    inner_private_key_password: str = field(default="", repr=False)
    pac_file: Certificate | None = None
    subject_match: str = ""
    altsubject_matches: tuple[str, ...] = ()
    domain_match: str = ""
    domain_suffix_match: str = ""


@dataclass(frozen=True, kw_only=True)
class Route:
    """`destination` is in CIDR form; an empty gateway means on-link."""

    destination: str
    gateway: str = ""
    metric: int | None = None
    table: int | None = None
    on_link: bool = False
    source: str = ""
    mtu: int | None = None
    kind: str = "unicast"


@dataclass(frozen=True, kw_only=True)
class Ip:
    """The addresses of one family; `addresses` are in CIDR form."""

    method: Method = Method.AUTO
    addresses: tuple[str, ...] = ()
    gateway: str = ""
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    metric: int | None = None
    ignore_auto_dns: bool = False
    ignore_auto_routes: bool = False
    never_default: bool = False
    options: tuple[tuple[str, str], ...] = ()
    """Further keys of [ipv4] or [ipv6] with their raw values, such as ("ip6-privacy", "2")."""


@dataclass(frozen=True, kw_only=True)
class Vlan:
    id: int
    parent: str


@dataclass(frozen=True, kw_only=True)
class Match:
    """Patterns that an interface has to fit, in NetworkManager's words; each list that is empty fits any interface."""

    names: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    """Of udev's ID_PATH."""

    def __str__(self) -> str:
        parts = {"the name": self.names, "the driver": self.drivers, "the path": self.paths}
        return ", ".join(f"{what} {' '.join(patterns)}" for what, patterns in parts.items() if patterns)


@dataclass(frozen=True, kw_only=True)
class Modem:
    """A GSM/LTE or CDMA modem."""

    apn: str = ""
    number: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    pin: str = field(default="", repr=False)
    network_id: str = ""
    device_id: str = ""
    sim_id: str = ""
    sim_operator_id: str = ""
    auto_config: bool = False


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One connection of the old system.

    `interface` and `mac` bind it to a device; if both are empty, it applies to every device of its kind, or to those
    that fit `match`, which is None where an interface has been found for it. `ipv4` and `ipv6` are None if the source
    does not specify addresses. A profile from a keyfile keeps that in `keyfile`, and the writer changes only what must
    change.
    """

    kind: Kind
    source: str
    interface: str = ""
    mac: str = ""
    match: Match | None = None
    cloned_mac: str = ""
    """The hardware address that the device is given, or a word for it such as "stable"; "" for its own."""
    autoconnect: bool = True
    priority: int = 0
    mtu: int | None = None
    wifi: Wifi | None = None
    eap: Eap | None = None
    ipv4: Ip | None = None
    ipv6: Ip | None = None
    vlan: Vlan | None = None
    modem: Modem | None = None
    keyfile: Keyfile | None = field(default=None, repr=False)

    def as_lost(self, reason: str) -> Problem:
        """The problem that the whole profile is not carried over."""
        return Problem(source=self.source, subject=self.name, reason=reason, profile=self)

    @property
    def uuid(self) -> str:
        """The UUID, by which other keyfiles refer to this one."""
        return self.keyfile.text("connection", "uuid") if self.keyfile else ""

    @property
    def master(self) -> str:
        """The name or UUID of the bridge or bond of which it is a port; only keyfiles have this, under two keys."""
        file = self.keyfile
        return (file.text("connection", "controller") or file.text("connection", "master")) if file else ""

    @property
    def logs_in(self) -> bool:
        """Whether it is for a wired port that lets nobody in without 802.1X."""
        return self.kind is Kind.ETHERNET and self.eap is not None

    @property
    def is_port(self) -> bool:
        """Whether it is a port of a bridge or bond, which has no addresses of its own."""
        return bool(self.master)

    @property
    def name(self) -> str:
        """A name for messages: the Wi-Fi network, the interface, or the kind."""
        return self.wifi.name if self.wifi else self.interface or self.mac or str(self.kind)


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A proxy for all traffic, in the terms of redsocks.conf; `no_proxy` are addresses and networks."""

    source: str
    kind: str
    """socks4, socks5, http-connect or http-relay"""
    host: str
    port: int
    login: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    no_proxy: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one source contains."""

    profiles: tuple[Profile, ...] = ()
    problems: tuple[Problem, ...] = ()
    country: str = ""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """All network settings of the old system, duplicates merged, in the order of their precedence.

    `country` is the regulatory domain for Wi-Fi in two letters, for `country` in config.json; "" if unknown.
    """

    profiles: tuple[Profile, ...] = ()
    problems: tuple[Problem, ...] = ()
    country: str = ""
    proxy: Proxy | None = None

    def fixed_addresses(self) -> dict[str, str]:
        """Each fixed address of the old system, in CIDR form -> its file; also those of what is not carried over."""
        lost = (problem.profile for problem in self.problems if problem.profile)
        return {
            address: profile.source
            for profile in (*lost, *self.profiles)
            for ip in (profile.ipv4, profile.ipv6)
            if ip
            for address in ip.addresses
        }
