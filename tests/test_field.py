# SPDX-License-Identifier: Apache-2.0
"""Situations of real bug reports, each with its files: what `check` says of it, or what stage 1 writes for it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from balena_migrate import checks
from balena_migrate.bootloaders import boot_loaders
from balena_migrate.bootloaders.grub.entry import entry_text
from balena_migrate.facts.gather import read_facts
from balena_migrate.findings import Finding, Severity
from balena_migrate.images.partitions.known_disk import find_target, read_identity
from balena_migrate.settings import Config
from tests.support.field import field_device, field_facts, field_network
from tests.support.images import table_sector
from tests.support.surveys import some_survey


def found(situation: str, root: Path, monkeypatch: pytest.MonkeyPatch, home_dir: str = "/root") -> dict[str, Finding]:
    """Code -> the first finding with it."""
    survey = some_survey(field_facts(situation, root, monkeypatch), Config(home_dir=home_dir))
    return {finding.code: finding for finding in reversed(checks.run(survey))}


@pytest.mark.parametrize(
    ("situation", "code", "said"),
    [
        ("grub-kernel-file-gone", "grub-kernel-missing", "/boot/vmlinuz-6.1.0-13-amd64"),
        ("pi-cmdline-root-changed", "pi-root-changed", "root=PARTUUID=9c4f01d2-02"),
        ("mbr-image-on-disk-over-2tib", "disk-too-large", "/dev/sda has 4194304 MiB, and the image has an MBR"),
        ("cloned-disk-same-uuid", "uuid-twice", "/dev/sda1 and /dev/mmcblk0p1"),
        ("cloned-disk-same-uuid", "root-twice", "/dev/mmcblk0p2 and /dev/sda2"),
    ],
)
def test_refused(situation: str, code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found(situation, tmp_path, monkeypatch)[code]
    assert finding.severity is Severity.BLOCKER
    assert said in finding.cause and finding.remedy


def test_the_home_of_all_files_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found("home-dir-on-tmpfs", tmp_path, monkeypatch, home_dir="/tmp/migration")["place-unreachable"]
    assert finding.severity is Severity.BLOCKER
    assert "HOME_DIR (/tmp/migration) is on /tmp, which is in memory" in finding.cause


def test_both_stages_know_a_disk_whose_mbr_has_the_id_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lsblk and blkid name no id there."""
    device = field_device("mbr-disk-id-zero", tmp_path, monkeypatch)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sda").write_bytes(table_sector([(0x83, 2048, 31455232)]))
    (tmp_path / "sys/class/block/sda").mkdir(parents=True)
    (tmp_path / "sys/class/block/sda/size").write_text(f"{17179869184 // 512}\n")
    facts = read_facts(device, boot_loaders())
    (disk,) = facts.disks.disks_below("/")
    assert disk.table_id == "00000000"
    assert find_target(device, read_identity(device, disk.name)) == "/dev/sda"


def test_grub_with_a_password_for_editing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("grub-superusers", tmp_path, monkeypatch)["grub-password"].severity is Severity.WARNING
    facts = field_facts("grub-superusers", tmp_path / "again", monkeypatch)
    (entry,) = (line for line in entry_text(Config(), facts).splitlines() if "menuentry" in line)
    assert "--unrestricted" in entry


def test_a_command_line_with_characters_of_grubs_script_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = field_facts("grub-cmdline-metacharacters", tmp_path, monkeypatch)
    (line,) = (line for line in entry_text(Config(), facts).splitlines() if "if linux" in line)
    # GRUB reads single quotes as a shell does (GRUB manual, "Quoting"); that it does is tried in test_grub_starts.py.
    words = shlex.split(line.partition("if linux ")[2].removesuffix("; then"))
    assert words[0] == "/boot/vmlinuz-6.1.0-test"
    kept = (tmp_path / "proc/cmdline").read_text().split()[1:]
    assert words[1:] == [*kept, "panic=30"]


ALL_WIFIS = Config(migrate_all_wifis=True)


def test_a_fixed_address_whose_name_servers_are_in_a_resolv_conf_written_by_hand(tmp_path: Path) -> None:
    network = field_network("static-address-dns-elsewhere", tmp_path)
    (keyfile,) = network.keyfiles(ALL_WIFIS).values()
    assert keyfile.items("ipv4", "dns") == ("10.44.0.53", "10.44.0.54")
    assert keyfile.items("ipv4", "dns-search") == ("plant.example",)
    found = network.check(ALL_WIFIS)
    assert "name servers" in found["network-online"].cause and "network-no-dns" not in found


def test_a_roaming_network_has_the_addresses_of_the_stanza_that_its_id_str_names(tmp_path: Path) -> None:
    network = field_network("wpa-roam-id-str-static", tmp_path)
    depot, office = network.keyfiles(ALL_WIFIS).values()
    assert depot.text("wifi", "ssid") == "Depot Hall 3" and depot.text("ipv4", "method") == "manual"
    assert (depot.text("ipv4", "address1"), depot.text("ipv4", "gateway")) == ("192.0.2.40/24", "192.0.2.1")
    assert depot.items("ipv4", "dns") == ("192.0.2.53",)
    assert office.text("wifi", "ssid") == "Office" and office.text("ipv4", "method") == "auto"
    assert set(network.check(ALL_WIFIS)) == {"network-online"}


def test_a_fixed_ipv6_address_whose_gateway_is_advertised(tmp_path: Path) -> None:
    network = field_network("static-ipv6-gateway-by-ra", tmp_path)
    (keyfile,) = network.keyfiles(ALL_WIFIS).values()
    assert (keyfile.text("ipv6", "method"), keyfile.text("ipv6", "address1")) == ("auto", "2001:db8:5::10/64")
    assert keyfile.text("ipv4", "method") == "manual"
    assert set(network.check(ALL_WIFIS)) == {"network-online"}


def test_a_keyfile_that_is_bound_by_a_pattern(tmp_path: Path) -> None:
    network = field_network("nm-match-interface-name", tmp_path)
    (keyfile,) = network.keyfiles(ALL_WIFIS).values()
    assert keyfile.text("ethernet", "mac-address") == "00:16:3e:00:00:09" and "match" not in keyfile.groups()
    assert set(network.check(ALL_WIFIS)) == {"network-online"}


def test_a_hardware_address_that_a_link_file_sets(tmp_path: Path) -> None:
    network = field_network("mac-address-set-by-link-file", tmp_path)
    (keyfile,) = network.keyfiles(ALL_WIFIS).values()
    assert keyfile.text("ethernet", "cloned-mac-address") == "52:54:00:aa:bb:01"
    assert set(network.check(ALL_WIFIS)) == {"network-online"}


def test_a_wifi_driver_that_was_built_on_the_device(tmp_path: Path) -> None:
    network = field_network("wifi-driver-from-dkms", tmp_path)
    finding = network.check(ALL_WIFIS)["network-driver"]
    assert finding.severity is Severity.BLOCKER and "88XXau" in finding.cause and "ALLOW_OFFLINE" in finding.remedy
