# SPDX-License-Identifier: Apache-2.0
"""A driver that does not come with the kernel is found by its taint or by the place of its module."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.core.system import System
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceKind, NetworkFacts, find_foreign
from balena_migrate.findings import Severity
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.select import Selection
from balena_migrate.settings import Config


def device(root: Path, *modules: str, taint: str = "", file: str = "") -> System:
    for module in modules:
        (root / "sys/module" / module).mkdir(parents=True)
        (root / "sys/module" / module / "taint").write_text(f"{taint}\n")
    if file:
        path = root / f"lib/modules/{os.uname().release}" / file
        path.parent.mkdir(parents=True)
        path.write_text("")
    return System(root)


@pytest.mark.parametrize(
    ("module", "driver", "taint", "file"),
    [
        ("acme9x", "acme9x", "OE", ""),
        ("ACME9x", "acme9X", "O", ""),
        ("E9x", "e9X", "O", ""),
        ("88acme", "rtl88acme", "OE", ""),
        ("acme_9x", "acme-9x", "", "updates/dkms/acme-9x.ko.xz"),
        ("acme9x", "acme9x", "", "extra/acme9x.ko"),
    ],
)
def test_one_that_does_not_come_with_the_kernel(
    tmp_path: Path, module: str, driver: str, taint: str, file: str
) -> None:
    assert find_foreign(device(tmp_path, module, taint=taint, file=file), "lan0", driver)


@pytest.mark.parametrize(
    ("module", "driver", "taint", "file"),
    [
        ("acme9x", "acme9x", "", "kernel/drivers/net/acme9x.ko"),
        ("acme9x", "acme9x", "C", "updates/other.ko"),
        ("usb", "acmeusb", "OE", ""),
        ("other", "acme9x", "OE", ""),
    ],
)
def test_one_that_does_or_is_not_known(tmp_path: Path, module: str, driver: str, taint: str, file: str) -> None:
    assert find_foreign(device(tmp_path, module, taint=taint, file=file), "lan0", driver) == ""


def test_the_kernel_names_the_module(tmp_path: Path) -> None:
    system = device(tmp_path, "acme_core", taint="OE")
    (tmp_path / "sys/class/net/lan0/device/driver").mkdir(parents=True)
    (tmp_path / "sys/class/net/lan0/device/driver/module").symlink_to("../../../../../module/acme_core")
    assert "acme_core" in find_foreign(system, "lan0", "zed")


def test_it_blocks_on_the_interface_in_use_unless_overridden() -> None:
    card = Interface(name="lan0", kind=InterfaceKind.ETHERNET, driver="acme9x", foreign_driver="its module is foreign")
    network = NetworkFacts(
        interfaces=(card, Interface(name="lan1", kind=InterfaceKind.ETHERNET)),
        default_routes=(DefaultRoute(interface="lan0", gateway="172.20.9.1"),),
    )

    def severities(network: NetworkFacts, *, offline: bool) -> list[Severity]:
        findings = check_network(Config(allow_offline=offline), network, NetworkSettings(), Selection())
        return [finding.severity for finding in findings if finding.code == "network-driver"]

    assert severities(network, offline=False) == [Severity.BLOCKER]
    assert severities(network, offline=True) == [Severity.WARNING]
    other = NetworkFacts(interfaces=network.interfaces, default_routes=(DefaultRoute(interface="lan1"),))
    assert severities(other, offline=False) == []
