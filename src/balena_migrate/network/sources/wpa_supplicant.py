# SPDX-License-Identifier: Apache-2.0
"""wpa_supplicant: /etc/wpa_supplicant/*.conf, one file for all interfaces or one for each, and files of what runs now.

Source: wpa_supplicant(8).
"""

from __future__ import annotations

import contextlib
import getopt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.network.model import Problem, Reading
from balena_migrate.network.reading import Collector
from balena_migrate.network.sources import Source
from balena_migrate.network.wpa_profiles import read_file

FILES = (
    "/etc/wpa_supplicant/*.conf",
    "/etc/wpa_supplicant.conf",
    "/boot/wpa_supplicant.conf",
    "/boot/firmware/wpa_supplicant.conf",
)
"""Raspberry Pi OS would move the last two to /etc on the next boot."""
GENERATED = PurePosixPath("/run/netplan")
"""The source netplan reads what these are made from."""
_IDLE = "is a login for wired ports (802.1X), and no wpa_supplicant uses it now"
_OPTIONS = "b:Bc:C:D:de:f:g:G:hi:I:KLMm:No:O:p:P:qsTtuvW"


@dataclass(frozen=True, kw_only=True)
class Running:
    """What a wpa_supplicant that runs now does for one interface."""

    file: PurePosixPath
    interface: str
    wired: bool


def read(system: System) -> Reading:
    """Read the networks in all of wpa_supplicant's files.

    A file that is used for a wired port now is for that alone; one in another place is for the interface that uses it.
    Where it can be seen what runs, a login for wired ports in a file that names none is in force for none.
    """
    found = Collector()
    usual = [path for pattern in FILES for path in system.glob(pattern)]
    running = [now for now in running_supplicants(system) if now.file.parent != GENERATED]
    special = [now for now in running if now.wired or now.file not in usual]
    for path in (path for path in usual if path not in [now.file for now in special]):
        reading = read_file(system, path)
        found.include(_without_idle_logins(reading) if system.glob("/proc/[0-9]*") else reading)
    for now in special:
        found.include(read_file(system, now.file, now.interface, wired=now.wired))
    return found.reading()


def _without_idle_logins(reading: Reading) -> Reading:
    """The file as it is for Wi-Fi: people copy the example, which has logins for wired ports, too."""
    idle = [profile for profile in reading.profiles if profile.logs_in and not profile.interface]
    told = [Problem(source=p.source, subject=p.name, reason=_IDLE, profile=replace(p, autoconnect=False)) for p in idle]
    return replace(
        reading,
        profiles=tuple(profile for profile in reading.profiles if profile not in idle),
        problems=(*(_idle(problem) for problem in reading.problems), *told),
    )


def _idle(problem: Problem) -> Problem:
    login = problem.profile if problem.profile and problem.profile.logs_in and not problem.profile.interface else None
    return replace(problem, profile=replace(login, autoconnect=False)) if login else problem


def running_supplicants(system: System) -> Iterator[Running]:
    """Each wpa_supplicant that runs with a file of its own; NetworkManager's has none."""
    for path in system.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(FileError, getopt.GetoptError):
            words = system.read_text(path).split("\0")
            if PurePosixPath(words[0]).name == "wpa_supplicant":
                yield from _commanded(words[1:-1])


def _commanded(words: list[str]) -> Iterator[Running]:
    """What the options say; each -N begins those for one more interface."""
    pairs, _ = getopt.gnu_getopt(words, _OPTIONS)
    options: dict[str, str] = {}
    for key, value in (*pairs, ("-N", "")):
        options[key] = value
        if key == "-N":
            file, interface = PurePosixPath(options.get("-c", "")), options.get("-i", "")
            if file.is_absolute() and interface:
                yield Running(file=file, interface=interface, wired=options.get("-D") == "wired")
            options = {}


SOURCE = Source(name="wpa_supplicant", precedence=40, read=read)
