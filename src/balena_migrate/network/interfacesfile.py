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


def parse_interfaces(text: str, source: str) -> tuple[list[Stanza], set[str]]:
    """The iface stanzas of a file, and the interfaces that come up by themselves."""
    stanzas: list[Stanza] = []
    automatic: set[str] = set()
    inside = False
    for line in logical_lines(text):
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
        elif inside and rest:
            stanzas[-1].options.append((word, rest))
    return stanzas, automatic


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
