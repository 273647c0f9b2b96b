# SPDX-License-Identifier: Apache-2.0
"""A driver that another kernel may lack is found by its taint or by the place of its module."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.core.system import System
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceKind, NetworkFacts, read_network_facts
from balena_migrate.facts.network_driver import find_foreign
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
        ("acme9x", "acme9x", "POE", ""),
        ("acme9x", "acme9x", "P", ""),
        ("acme9x", "acme9x", "FE", ""),
        ("acme9x", "acme9x", "C", ""),
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
        ("acme9x", "acme9x", "", "updates/other.ko"),
        ("usb", "acmeusb", "OE", ""),
        ("other", "acme9x", "OE", ""),
    ],
)
def test_one_that_does_or_is_not_known(tmp_path: Path, module: str, driver: str, taint: str, file: str) -> None:
    assert find_foreign(device(tmp_path, module, taint=taint, file=file), "lan0", driver) == ""


def test_a_module_without_a_signature_is_foreign_where_the_kernels_own_have_one(tmp_path: Path) -> None:
    """As one that claims to be of the kernel's tree. A kernel that somebody built himself may sign none."""
    system = device(tmp_path, "acme9x", "other", taint="E")
    assert find_foreign(system, "lan0", "acme9x") == ""
    (tmp_path / "sys/module/builtin/parameters").mkdir(parents=True)
    assert find_foreign(system, "lan0", "acme9x") == ""
    (tmp_path / "sys/module/other/taint").write_text("\n")
    assert "has no signature, as the kernel's own have" in find_foreign(system, "lan0", "acme9x")


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


def interface(root: Path, name: str, index: int, *, kind: str = "", lower: str = "", driver: str = "") -> None:
    """An interface in sysfs; the links are those of Linux, net/core/dev.c (netdev_adjacent_sysfs_add)."""
    folder = root / "sys/class/net" / name
    folder.mkdir(parents=True)
    (folder / "ifindex").write_text(f"{index}\n")
    (folder / "type").write_text("1\n")
    (folder / "uevent").write_text(f"DEVTYPE={kind}\n" if kind else "")
    for below in lower.split():
        (folder / f"lower_{below}").symlink_to(f"../{below}")
    if driver:
        (folder / "device").mkdir()
        (folder / "device/driver").symlink_to(f"../../../../bus/usb/drivers/{driver}")


def stacked(root: Path) -> System:
    """br0 on two VLANs on bond0 on two cards; the driver of the second is foreign."""
    system = device(root, "acme9x", taint="OE")
    (root / "sys/module/good1g").mkdir()
    interface(root, "lan0", 2, driver="good1g")
    interface(root, "lan1", 3, driver="acme9x")
    interface(root, "bond0", 4, kind="bond", lower="lan0 lan1")
    interface(root, "bond0.30", 5, kind="vlan", lower="bond0")
    interface(root, "bond0.40", 6, kind="vlan", lower="bond0")
    interface(root, "br0", 7, kind="bridge", lower="bond0.30 bond0.40")
    return system


def driver_findings(network: NetworkFacts, online: str) -> list[tuple[Severity, str]]:
    facts = NetworkFacts(interfaces=network.interfaces, default_routes=(DefaultRoute(interface=online),))
    findings = check_network(Config(), facts, NetworkSettings(), Selection())
    return [(finding.severity, finding.cause) for finding in findings if finding.code == "network-driver"]


def test_the_driver_below_a_bridge_a_vlan_and_a_bond(tmp_path: Path) -> None:
    network = read_network_facts(stacked(tmp_path))
    for online in ("br0", "bond0.30"):
        ((severity, cause),) = driver_findings(network, online)
        assert severity is Severity.BLOCKER
        assert cause.startswith(f"lan1, by which the device is online by way of {online}, runs with the driver acme9x")
    assert driver_findings(network, "lan0") == []
    assert "by way of" not in driver_findings(network, "lan1")[0][1]


def test_a_bond_stays_online_by_its_other_port(tmp_path: Path) -> None:
    network = read_network_facts(stacked(tmp_path))
    assert [severity for severity, _ in driver_findings(network, "bond0")] == [Severity.WARNING]
    alone = NetworkFacts(interfaces=tuple(i for i in network.interfaces if i.name != "lan0"))
    assert [severity for severity, _ in driver_findings(alone, "bond0")] == [Severity.BLOCKER]


def test_the_driver_is_judged_also_where_the_wifi_in_use_is_unknown() -> None:
    radio = Interface(name="wl0", kind=InterfaceKind.WIFI, driver="acme9x", foreign_driver="its module is foreign")
    ((severity, cause),) = driver_findings(NetworkFacts(interfaces=(radio,)), "wl0")
    assert severity is Severity.BLOCKER and "its module is foreign" in cause
