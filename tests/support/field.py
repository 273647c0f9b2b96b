# SPDX-License-Identifier: Apache-2.0
"""Devices of real bug reports: their files, read where they exist and never part of this project."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import pytest

from balena_migrate.bootloaders import boot_loaders
from balena_migrate.checks.network import check_network
from balena_migrate.core.balena import CONNECTIONS_FOLDER
from balena_migrate.core.system import Result, System, run_command
from balena_migrate.facts import Facts
from balena_migrate.facts.gather import read_facts
from balena_migrate.facts.network import (
    DefaultRoute,
    Interface,
    InterfaceAddress,
    InterfaceKind,
    NetworkFacts,
    read_network_facts,
)
from balena_migrate.facts.network_driver import find_foreign
from balena_migrate.findings import Finding
from balena_migrate.network.files.keyfile import Keyfile, parse_keyfile
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import Selection, boot_files, select_profiles
from balena_migrate.settings import Config

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "field"

PI_MODEL = b"Raspberry Pi 3 Model B Rev 1.2\0"
PI_REVISION = 0xA02082


def _case(name: str) -> Path:
    """The folder of this situation; skips the test where it is not."""
    case = Path(os.environ.get("BALENA_MIGRATE_FIELD", _BESIDE)) / name
    if not case.is_dir():
        pytest.skip(f"no situation {name} (set BALENA_MIGRATE_FIELD)")
    return case


def field_device(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """The device of this situation, as a folder `root`, with its kernel's release; skips the test where it is not."""
    case = _case(name)
    if (case / "root").is_dir():
        shutil.copytree(case / "root", root, symlinks=True, dirs_exist_ok=True)
    for source, target in (("proc-cmdline", "proc/cmdline"), ("mountinfo", "proc/self/mountinfo")):
        if (case / source).is_file():
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(case / source, root / target)
    (root / "proc/meminfo").write_text("MemTotal: 2097152 kB\nMemAvailable: 1900000 kB\n")
    if (root / "boot/firmware").is_dir():
        folder = root / "proc/device-tree"
        (folder / "system").mkdir(parents=True)
        (folder / "model").write_bytes(PI_MODEL)
        (folder / "system/linux,revision").write_bytes(PI_REVISION.to_bytes(4, "big"))
    release = (case / "uname-r").read_text().strip() if (case / "uname-r").is_file() else ""
    machine = "aarch64" if (root / "boot/firmware").is_dir() else "x86_64"
    fields = (*os.uname()[:2], release or "6.1.0-test", "#1", machine)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(fields))
    lsblk = Result(returncode=0, stdout=(case / "lsblk.json").read_bytes(), stderr=b"")

    def run(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        return lsblk if argv[0] == "lsblk" else run_command(argv, data, timeout_s)

    return System(root, runner=run)


def field_facts(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """What is found out about the device of this situation."""
    return read_facts(field_device(name, root, monkeypatch), boot_loaders())


@dataclass(frozen=True, kw_only=True)
class FieldNetwork:
    """The files of a situation, the network as it is there now, and what is read of the settings."""

    system: System
    facts: NetworkFacts
    settings: NetworkSettings

    def selection(self, config: Config) -> Selection:
        return select_profiles(config, self.settings, self.system)

    def check(self, config: Config) -> dict[str, Finding]:
        """Code -> the first finding with it."""
        findings = check_network(config, self.facts, self.settings, self.selection(config))
        return {finding.code: finding for finding in reversed(list(findings))}

    def keyfiles(self, config: Config) -> dict[str, Keyfile]:
        """File name -> what is put into resin-boot for it."""
        files = boot_files(config, self.selection(config), self.facts)
        texts = {PurePath(f.path).name: f.content.decode() for f in files if f.path.startswith(CONNECTIONS_FOLDER)}
        return {name: parse_keyfile(text) for name, text in texts.items() if not name.endswith(".pem")}


def field_network(name: str, root: Path) -> FieldNetwork:
    """The network of this situation: its files below `root`, and the kernel's answers from its file network-now."""
    case = _case(name)
    shutil.copytree(case / "root", root, symlinks=True, dirs_exist_ok=True)
    system = System(root)
    facts = parse_network_now((case / "network-now").read_text())
    interfaces = tuple(replace(i, foreign_driver=find_foreign(system, i.name, i.driver)) for i in facts.interfaces)
    facts = replace(facts, interfaces=interfaces, name_servers=read_network_facts(system).name_servers)
    return FieldNetwork(system=system, facts=facts, settings=read_network(system, facts))


def parse_network_now(text: str) -> NetworkFacts:
    """The network of lines such as "address eth0 192.0.2.5/24 fixed"; an SSID is the rest of its line."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    ssids = {words[1]: " ".join(words[2:]).encode() for words in lines if words[0] == "ssid"}
    interfaces = [
        Interface(
            name=name,
            kind=InterfaceKind(kind),
            mac=mac,
            mac_permanent="assigned" not in more,
            driver=more[more.index("driver") + 1] if "driver" in more else "",
            up=True,
            ssid=ssids.get(name, b""),
        )
        for _, name, kind, mac, *more in (words for words in lines if words[0] == "interface")
    ]
    addresses = [
        InterfaceAddress(interface=name, address=address, dynamic=how == "lease")
        for _, name, address, how in (words for words in lines if words[0] == "address")
    ]
    routes = [
        DefaultRoute(interface=name, gateway=gateway, metric=int(metric))
        for _, name, gateway, _, metric in (words for words in lines if words[0] == "default")
    ]
    return NetworkFacts(interfaces=tuple(interfaces), addresses=tuple(addresses), default_routes=tuple(routes))
