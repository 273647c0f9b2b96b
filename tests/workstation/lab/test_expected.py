# SPDX-License-Identifier: Apache-2.0
"""What has to come along is read from the device's own files and settings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.expected import Expected, parse_keyfile, read_expected
from balena_migrate.workstation.lab.owner import WifiNetwork
from balena_migrate.workstation.lab.prepare import put_overlay, put_owner_files
from balena_migrate.workstation.lab.wishes import Wishes


def expect(root: Path, **settings: str) -> Expected:
    put_owner_files(root, owner.settings_text({**owner.default_settings("image.img.gz"), **settings}), b"{}", Wishes())
    return read_expected(root)


def test_all_of_the_owners_networks_with_their_passphrases(tmp_path: Path) -> None:
    assert expect(tmp_path).networks == set(owner.NETWORKS)


def test_none_where_the_settings_ask_for_none(tmp_path: Path) -> None:
    assert expect(tmp_path, MIGRATE_ALL_WIFIS="FALSE").networks == frozenset()


def test_only_those_that_the_file_names(tmp_path: Path) -> None:
    (tmp_path / owner.HOME_DIR).mkdir(parents=True)
    (tmp_path / owner.HOME_DIR / "wifis").write_text("Yard\nunknown\n")
    assert {network.ssid for network in expect(tmp_path, MIGRATE_WIFI_CFG="wifis").networks} == {"Yard"}


def test_a_key_in_hexadecimal_digits_is_a_passphrase_like_any_other(tmp_path: Path) -> None:
    config = tmp_path / "etc/wpa_supplicant/wpa_supplicant.conf"
    expect(tmp_path)
    config.write_text('network={\n\tssid="Hex"\n\tpsk=' + "ab" * 32 + "\n}\n")
    assert WifiNetwork(ssid="Hex", passphrase="ab" * 32) in read_expected(tmp_path).networks


def test_one_name_with_two_passphrases_is_two_networks_and_with_the_same_one_is_one(tmp_path: Path) -> None:
    expect(tmp_path)
    config = tmp_path / "etc/wpa_supplicant/wpa_supplicant.conf"
    blocks = [f'network={{\n\tssid="Yard"\n\tpsk="{words}"\n}}\n' for words in ("other words", "other words")]
    config.write_text("".join(blocks))
    passphrases = {"other words", *(network.passphrase for network in owner.NETWORKS if network.ssid == "Yard")}
    assert read_expected(tmp_path).networks == {WifiNetwork(ssid="Yard", passphrase=text) for text in passphrases}


def test_networks_that_cannot_be_foretold_are_named_and_stop_nothing(tmp_path: Path) -> None:
    expect(tmp_path)
    config = tmp_path / "etc/wpa_supplicant/wpa_supplicant.conf"
    bytes_of_a_name = "".join(f"{number:02x}" for number in range(240, 256)) * 2
    config.write_text(
        f'network={{\n\tssid={bytes_of_a_name}\n\tpsk="some words"\n}}\n'
        'network={\n\tssid="Office"\n\tkey_mgmt=WPA-EAP\n\tidentity="me"\n}\n'
        'network={\n\tssid="Plain"\n\tpsk="some words"\n}\n'
    )
    keyfiles = tmp_path / "etc/NetworkManager/system-connections"
    (keyfiles / "Bytes").write_bytes(b"[connection]\ntype=wifi\n[wifi]\nssid=\xff\n")
    (keyfiles / "Numbers").write_text("[connection]\ntype=wifi\n[wifi]\nssid=255;254;\n")
    (keyfiles / "Office").write_text("[connection]\ntype=wifi\n[wifi]\nssid=Office\n[802-1x]\neap=peap\n")
    found = read_expected(tmp_path)
    assert {network.ssid for network in found.networks} == {"Plain", "Yard"}
    assert [text.split(":")[0] for text in found.unforeseen] == [
        *("etc/wpa_supplicant/wpa_supplicant.conf, network 1", "etc/wpa_supplicant/wpa_supplicant.conf, network 2"),
        *(f"etc/NetworkManager/system-connections/{name}" for name in ("Bytes", "Numbers", "Office")),
    ]
    assert found.unforeseen[1].endswith("key_mgmt=WPA-EAP")


def test_the_backup_holds_what_its_folders_hold_but_for_noise(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("made anew at any boot")
    found = expect(tmp_path, BACKUP_DIRECTORIES="/srv").backup
    assert found is not None and set(found) == set(owner.data_files())
    found = expect(tmp_path).backup
    assert found is not None and found["srv/depot/empty"] == hashlib.sha256(b"").hexdigest()
    assert owner.SETTINGS_FILE in found and "etc/machine-id" not in found


def test_nothing_is_said_about_a_backup_that_a_script_makes(tmp_path: Path) -> None:
    assert expect(tmp_path, BACKUP_SCRIPT="make-backup").backup is None


def test_a_scenario_knows_what_its_own_script_backs_up(tmp_path: Path) -> None:
    expect(tmp_path, BACKUP_SCRIPT="make-backup")
    found = read_expected(tmp_path, ("srv/depot",)).backup
    assert found is not None and set(found) == set(owner.data_files())


@pytest.mark.processes
def test_an_overlay_goes_over_the_devices_files_and_is_seen(tmp_path: Path) -> None:
    overlay, root = tmp_path / "overlay", tmp_path / "root"
    (overlay / "etc/NetworkManager/system-connections").mkdir(parents=True)
    keyfile = overlay / "etc/NetworkManager/system-connections/Mine"
    keyfile.write_text("[connection]\nid=Mine\ntype=wifi\n[wifi]\nssid=Mine\n[wifi-security]\npsk=my\\;own words\n")
    keyfile.chmod(0o600)
    expect(root)
    put_overlay(overlay, root)
    assert WifiNetwork(ssid="Mine", passphrase="my;own words") in read_expected(root).networks
    assert (root / "etc/NetworkManager/system-connections/Mine").stat().st_mode & 0o777 == 0o600


def test_a_keyfile_of_another_kind_is_no_network() -> None:
    assert parse_keyfile("[connection]\nid=Wired\ntype=ethernet\n") is None
