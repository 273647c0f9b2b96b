"""The syntax of /etc/network/interfaces (interfaces(5)), and of the commands there that add routes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from balena_migrate.errors import NetworkConfigError
from balena_migrate.network.addresses import find_number, parse_address, parse_destination
from balena_migrate.network.model import Route

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


def logical_lines(text: str) -> Iterator[str]:
    """The lines without comments, with blanks made one, and continued lines put together."""
    for line in text.replace("\\\n", " ").split("\n"):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield " ".join(words)


@dataclass(kw_only=True)
class InterfacesFile:
    """`automatic` are the interfaces that come up by themselves, with the stanza that each uses ("" for its own); an
    interface may be a pattern. `mappings` are interfaces whose stanza a script chooses.
    """

    stanzas: list[Stanza] = field(default_factory=list)
    automatic: dict[str, str] = field(default_factory=dict)
    mappings: list[str] = field(default_factory=list)


def parse_interfaces(text: str, source: str) -> InterfacesFile:
    """What an interfaces file says."""
    file = InterfacesFile()
    inside = False
    for line in logical_lines(text):
        word, _, rest = line.partition(" ")
        if word == "iface":
            file.stanzas.append(_stanza(rest.split(), source))
        elif word == "auto" or word.startswith("allow-"):
            for physical, _, logical in (name.partition("=") for name in rest.split()):
                file.automatic[_interface_pattern(physical)] = logical
        elif word == "mapping":
            file.mappings += rest.split()
        elif word not in _KEYWORDS and inside and rest:
            file.stanzas[-1].options.append((word, rest))
        if word in _KEYWORDS or word.startswith("allow-"):
            inside = word == "iface"
    return file


def _stanza(words: list[str], source: str) -> Stanza:
    """The stanza of an iface line. What stands behind the method is kept as options ("inherits", "base")."""
    name, family, method = (*words, "", "", "")[:3]
    pairs = zip(words[3::2], words[4::2], strict=False)
    return Stanza(source=source, name=name, family=family, method=method, options=list(pairs))


def _interface_pattern(text: str) -> str:
    """An interface without that of its alias (eth0:1); "/eth*/1" is a pattern."""
    return text.split("/")[1] if text.startswith("/") else text.partition(":")[0]


def parse_route_command(command: str, interface: str) -> Route | None:
    """The route by the interface that a command such as "ip route add 10.0.0.0/8 via 192.0.2.1" adds; None for any
    other command.
    """
    words = [word for word in command.split() if word not in ("||", "true")]
    program = PurePosixPath(words[0]).name if words else ""
    if "dev" in words[:-1] and words[words.index("dev") + 1].strip('"') not in (interface, "$IFACE", "${IFACE}"):
        return None
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
        metric=find_number(metric),
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
        metric=find_number(metric),
    )
