# SPDX-License-Identifier: Apache-2.0
"""Which configuration GRUB reads under UEFI: the firmware starts it from the EFI system partition (ESP), and there a
short grub.cfg, the stub, leads it to the file system with /boot/grub.

Sources: Debian's grub-install writes the stub (`search.fs_uuid`, `set prefix`, `configfile`) into EFI/debian and
EFI/BOOT; Ubuntu's into EFI/ubuntu. Fedora before 34 kept the whole grub.cfg there, and has a stub since
(fedoraproject.org/wiki/Changes/UnifyGrubConfig).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.bootloaders.grub.files import FOLDER, GRUB2_CFG, boot_file_system, boot_prefix, is_on_esp
from balena_migrate.bootloaders.grub.script import Statement, statements
from balena_migrate.core.errors import ImageError
from balena_migrate.facts import Facts

_CONTENT = ("menuentry", "submenu", "blscfg", "linux", "linuxefi", "chainloader")
"""The commands of a configuration that starts something itself; blscfg is Fedora's and reads entries from files."""
PATH_LIMIT = 4096
"""Linux's own (limits.h, PATH_MAX)."""
_FORWARD = ("configfile", "source", ".", "normal")


class Leads(StrEnum):
    """Where a grub.cfg on the ESP leads."""

    HERE = "here"
    """To /boot/grub, which is the one that is changed."""
    ELSEWHERE = "elsewhere"
    """To another file system of this device, or to another folder; or it is a whole configuration itself."""
    UNKNOWN = "unknown"
    """To nothing on this device, or to something that cannot be read out of it."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The file that a stub goes on with."""

    volume: str
    """The UUID or the label by which its file system is searched; "" if it is not."""
    path: str
    """On that file system."""

    def __str__(self) -> str:
        return f"{self.path} on the file system {self.volume}"


def is_whole(text: str) -> bool:
    """Whether a grub.cfg starts systems itself."""
    return any(statement.words[0] in _CONTENT for statement in statements(text))


def find_goal(text: str) -> Goal | None:
    """What a stub goes on with; None where that is not plain, or it is a whole configuration."""
    variables: dict[str, str] = {}
    volumes: dict[str, str] = {}
    for statement in statements(text):
        words = tuple(_expanded(word, variables) for word in statement.words)
        if pair := Statement(words=words).assignment:
            variables[pair[0]] = pair[1]
        elif words[0].startswith("search"):
            volumes |= _searched(words)
        elif words[0] in _FORWARD and not is_whole(text):
            return _goal(words[1] if len(words) > 1 else "", volumes)
    return None


def _expanded(word: str, variables: Mapping[str, str]) -> str:
    """The word with the values of the variables that the stub itself sets; cut where these contain one another."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables.get(match[1], match[0]), word[:PATH_LIMIT])[:PATH_LIMIT]


def _searched(words: tuple[str, ...]) -> dict[str, str]:
    """The variable that a `search` sets, and the UUID or label of the file system (GRUB's manual, "search")."""
    plain = [word for word in words[1:] if not word.startswith("-")]
    if not plain:
        return {}
    if words[0] in ("search.fs_uuid", "search.fs_label"):
        return {plain[1] if len(plain) > 1 else "root": plain[0]}
    name = next((word.partition("=")[2] for word in words if word.startswith("--set=")), "root")
    return {name: plain[0]}


def _goal(file: str, volumes: Mapping[str, str]) -> Goal | None:
    """A file is "/path" on the device `root`, or "($variable)/path"."""
    match = re.fullmatch(r"(?:\(\$\{?(\w+)\}?\))?(/.*)", file)
    volume = volumes.get(match[1] or "root", "") if match else ""
    return Goal(volume=volume, path=match[2]) if match and volume else None


# On this device -----------------------------------------------------------------------------------------------------


def stubs(facts: Facts) -> dict[str, str]:
    """Path -> text of each grub.cfg on a mounted ESP."""
    return {path: text for path, text in sorted(facts.boot.files.items()) if is_on_esp(path)}


def other_configurations(facts: Facts) -> tuple[str, ...]:
    """The whole configurations that are somewhere else than in /boot/grub."""
    whole = tuple(path for path, text in stubs(facts).items() if is_whole(text))
    return (*whole, GRUB2_CFG) if GRUB2_CFG in facts.boot.files else whole


def where_it_leads(facts: Facts, text: str) -> Leads:
    """Whether GRUB reads this device's /boot/grub by this grub.cfg of an ESP."""
    if is_whole(text):
        return Leads.ELSEWHERE
    goal = find_goal(text)
    if goal is None:
        return Leads.UNKNOWN
    volume = goal.volume.lower()
    found = [d for d in facts.disks.devices if volume in (d.uuid.lower(), d.label.lower())]
    if not found:
        return Leads.UNKNOWN
    try:
        mount, device = boot_file_system(facts)
    except ImageError:
        return Leads.UNKNOWN
    here = f"{boot_prefix(mount)}{FOLDER.removeprefix('/boot')}/grub.cfg"
    return Leads.HERE if device in found and goal.path == here else Leads.ELSEWHERE
