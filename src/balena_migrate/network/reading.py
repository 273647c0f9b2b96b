# SPDX-License-Identifier: Apache-2.0
"""What all sources share: reading a text file, and turning any error into a Problem that names the file."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath

from balena_migrate.core.errors import FileError, NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.files.ini import Section, parse_ini
from balena_migrate.network.model import Problem, Profile, Reading

LIMIT_BYTES = 1 << 18
"""No network settings are larger: the longest sample wpa_supplicant.conf, mostly comments, has 90 KiB."""


_NETWORKMANAGER = PurePosixPath("/etc/NetworkManager/NetworkManager.conf")
_NETWORKMANAGER_FOLDERS = tuple(f"{top}/NetworkManager/conf.d" for top in ("/etc", "/run", "/usr/lib"))
_NAME = re.compile(r"[a-z0-9_-]+")


@dataclass(kw_only=True)
class Collector:
    """Collects the profiles and problems of one source."""

    profiles: list[Profile] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    country: str = ""

    @contextlib.contextmanager
    def guard(self, source: PurePath | str, subject: str = "", profile: Profile | None = None) -> Iterator[None]:
        """Turn an error in the block into a Problem of this file; the rest of the source is still read.

        `profile` is what is lost then, as far as it is known.
        """
        try:
            yield
        except FileError as error:
            reason = error.reason
        except NetworkConfigError as error:
            reason = error.message
        except OSError as error:
            reason = os.strerror(error.errno or 0)
        else:
            return
        self.problems.append(Problem(source=str(source), subject=subject, reason=reason, profile=profile))

    def add(self, profile: Profile, lost: Iterable[str] = ()) -> None:
        """Add a profile, and what is not carried over."""
        self.profiles.append(profile)
        self.lose(profile.source, profile.name, lost)

    def lose(self, source: PurePath | str, subject: str, reasons: Iterable[str]) -> None:
        """Add details that are not carried over, each once."""
        for reason in dict.fromkeys(reasons):
            self.problems.append(Problem(source=str(source), subject=subject, reason=reason, lost=False))

    def include(self, reading: Reading) -> None:
        """Add everything from another reading."""
        self.profiles += reading.profiles
        self.problems += reading.problems
        self.country = self.country or reading.country

    def reading(self) -> Reading:
        return Reading(profiles=tuple(self.profiles), problems=tuple(self.problems), country=self.country)


def not_carried(names: Iterable[str]) -> list[str]:
    """Reasons that name unknown settings. A name that does not look like one may be part of a secret in a damaged line,
    and is not repeated.
    """
    names = list(names)
    plain = [name for name in names if _NAME.fullmatch(name)]
    reasons = [f"{name} is not carried over" for name in plain]
    return reasons if len(plain) == len(names) else [*reasons, "a line that is not a setting is left out"]


def read_config(system: System, path: PurePath | str, *, limit_bytes: int = LIMIT_BYTES) -> str:
    """The text of a configuration file; bytes that are not UTF-8 are kept as surrogates.

    Raises FileError if it cannot be read or exceeds the limit, NetworkConfigError if it is not text.
    """
    text = system.read_text(path, limit_bytes=limit_bytes)
    if "\0" in text:
        raise NetworkConfigError("contains a NUL byte, so it is not text")
    return text


def read_layered(system: System, folders: Iterable[str], pattern: str) -> dict[str, PurePath]:
    """Name -> path of the effective files, by name: a file in an earlier folder hides the same name in later ones."""
    found: dict[str, PurePath] = {}
    for folder in folders:
        for path in system.glob(f"{folder}/{pattern}"):
            found.setdefault(path.name, path)
    return dict(sorted(found.items()))


def read_all(system: System, patterns: Iterable[str]) -> Iterator[tuple[PurePath, str]]:
    """Each file that fits one of the patterns and can be read, with its text."""
    for path in (path for pattern in patterns for path in system.glob(pattern)):
        try:
            yield path, read_config(system, path)
        except (FileError, NetworkConfigError):
            continue


def read_sections(system: System, path: PurePath | str) -> tuple[Section, ...]:
    """The sections of a program's general settings; none where they cannot be read, as they then count for nothing."""
    try:
        return parse_ini(read_config(system, path))
    except (FileError, NetworkConfigError):
        return ()


def networkmanager_settings(system: System) -> dict[PurePath, tuple[Section, ...]]:
    """The sections of NetworkManager's general settings by file, in the order in which they count
    (NetworkManager.conf(5)).
    """
    drop_ins = read_layered(system, _NETWORKMANAGER_FOLDERS, "*.conf").values()
    return {path: read_sections(system, path) for path in (_NETWORKMANAGER, *drop_ins)}


def is_masked(system: System, path: PurePath) -> bool:
    """Whether the file is a link to /dev/null, which masks files of the same name in other folders."""
    return system.find_link(path) == PurePosixPath("/dev/null")
