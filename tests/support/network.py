# SPDX-License-Identifier: Apache-2.0
"""Devices of which a test needs the network configuration only, and libnm as an oracle for keyfiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.facts.network import NetworkFacts, read_network_facts
from balena_migrate.network.files.keyfile import Keyfile, parse_keyfile
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import boot_files, select_profiles
from balena_migrate.settings import Config
from tests.support.oracle import Oracle, open_oracle

ALL_WIFIS = Config(migrate_all_wifis=True)


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    with open_oracle() as process:
        yield process


def read_networks(system: System) -> NetworkSettings:
    """The settings of a system, and the facts that its files tell."""
    return read_network(system, read_network_facts(system))


def carried_keyfiles(system: System, settings: NetworkSettings, network: NetworkFacts) -> list[Keyfile]:
    """The keyfiles that are put into resin-boot where all Wi-Fi networks go along."""
    selection = select_profiles(ALL_WIFIS, settings, system)
    files = boot_files(ALL_WIFIS, selection, network)
    return [parse_keyfile(file.content.decode()) for file in files if not file.path.endswith(".pem")]


class Device:
    """A root folder that a test fills with files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system = System(root)

    def put(self, path: str, content: str | bytes) -> None:
        """The file is there, with its folders."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)
