# SPDX-License-Identifier: Apache-2.0
"""Collections of real files: each is converted, or named with the reason; none fails.

What is converted means to libnm what the original means: to libnm itself for keyfiles, to netplan for its pairs.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.core.system import System
from balena_migrate.facts.network import NetworkFacts
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.select import Selection, boot_files, named_profiles
from balena_migrate.network.sources import networkmanager
from balena_migrate.network.write.keyfile import write_keyfile
from balena_migrate.settings import Config
from tests.support.corpus import corpus
from tests.support.network import Device, read_networks
from tests.support.oracle import Connection, Oracle

pytestmark = pytest.mark.processes

KEYFILES = "/etc/NetworkManager/system-connections"
CERTIFICATES = ("cust-cacrt.pem", "cust-crt.pem", "cust-key.pem", "work2-cacrt.pem")

CERTIFICATE_KEYS = (
    "ca-cert",
    "client-cert",
    "private-key",
    "phase2-ca-cert",
    "phase2-client-cert",
    "phase2-private-key",
    "pac-file",
)


def files(name: str, *patterns: str) -> list[Path]:
    folder = corpus(name)
    found = {path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()}
    return sorted(path for path in found if path.name != "SOURCES.txt")


def outcome(settings: NetworkSettings) -> str:
    """What became of a file. A file without any network says so by being empty of problems, too."""
    if settings.profiles:
        return "converted"
    return "refused" if settings.problems else "nothing in it"


def read_alone(folder: Path, place: str, content: bytes) -> NetworkSettings:
    device = Device(folder)
    device.put(place, content)
    for name in CERTIFICATES:
        device.put(f"/etc/ssl/{name}", b"certificate")
    return read_networks(device.system)


def check_all(oracle: Oracle, settings: NetworkSettings) -> None:
    """libnm takes every file as it comes to the new system without a doubt, and reads the Wi-Fi networks as meant.

    Every certificate that a keyfile names lies beside it.
    """
    selection = Selection(profiles=settings.profiles)
    made = {file.path: file.content for file in boot_files(Config(), selection, NetworkFacts())}
    for name, profile in named_profiles(Config(), selection):
        found = oracle.read(made[f"system-connections/{name}"].decode())
        named = {
            key: bytes(found["802-1x"][key]["bytes"]) for key in CERTIFICATE_KEYS if key in found.get("802-1x", {})
        }
        paths = {value.decode().removeprefix("file:///etc/NetworkManager/").rstrip("\0") for value in named.values()}
        assert paths <= set(made), (profile.source, paths)
        if profile.wifi:
            assert bytes(found["802-11-wireless"]["ssid"]["bytes"]) == profile.wifi.ssid
            assert found.get("802-11-wireless-security", {}).get("psk", "") == profile.wifi.secret


@pytest.mark.parametrize(
    ("collection", "place", "patterns", "least"),
    [
        ("wpa_supplicant", "/etc/wpa_supplicant/wpa_supplicant.conf", ("*",), {"converted": 15}),
        ("netplan", "/etc/netplan/a.yaml", ("*.yaml",), {"converted": 28}),
        ("netplan-wifi-pairs", "/etc/netplan/a.yaml", ("*.yaml",), {"converted": 33}),
        ("netplan-wifi-pairs", "/etc/wpa_supplicant/wpa_supplicant.conf", ("*.wpa_supplicant.conf",), {"converted": 8}),
    ],
)
def test_every_file_is_converted_or_refused(
    collection: str, place: str, patterns: tuple[str, ...], least: dict[str, int], tmp_path: Path, oracle: Oracle
) -> None:
    counts: Counter[str] = Counter()
    for number, file in enumerate(files(collection, *patterns)):
        settings = read_alone(tmp_path / str(number), place, file.read_bytes())
        check_all(oracle, settings)
        counts[outcome(settings)] += 1
        assert all(problem.reason and problem.source for problem in settings.problems)
    print(collection, dict(counts))
    assert all(counts[kind] >= count for kind, count in least.items()), counts


OURS_ALONE = {
    "connection": ("id", "uuid", "permissions", "timestamp", "read-only", "secondaries"),
    "802-1x": ("ca-cert", "client-cert", "private-key"),
}
"""What is changed on purpose: the id, what only the old system knows, the place of certificates."""


def without_our_own(connection: Connection) -> Connection:
    return {
        group: {key: value for key, value in values.items() if key not in OURS_ALONE.get(group, ())}
        for group, values in connection.items()
    }


def with_old_names(text: str) -> str:
    """A keyfile as libnm before 1.46 reads it: that ignores the new names, which we write in both forms."""
    return re.sub(r"(?m)^controller *=", "master=", re.sub(r"(?m)^port-type *=", "slave-type=", text))


def test_keyfiles_keep_their_meaning(tmp_path: Path, oracle: Oracle) -> None:
    """Also those of ports, which are refused here since each file is read without that of its bridge."""
    counts: Counter[str] = Counter()
    for number, file in enumerate(files("nm-keyfiles", "*")):
        folder = tmp_path / str(number)
        settings = read_alone(folder, f"{KEYFILES}/{file.name}", file.read_bytes())
        counts[outcome(settings)] += 1
        original = oracle.ask(with_old_names(file.read_bytes().decode("utf-8", "surrogateescape")))
        assert "connection" in original or not settings.profiles, (file, original)
        check_all(oracle, settings)
        for profile in networkmanager.read(System(folder)).profiles if "connection" in original else ():
            ours = oracle.ask(write_keyfile(profile, "a").dump())
            assert without_our_own(ours["connection"]) == without_our_own(original["connection"]), file
    print("nm-keyfiles", dict(counts))
    assert counts["converted"] >= 40


def pairs() -> list[tuple[Path, Path]]:
    """The YAML of each test of netplan, and every keyfile that netplan makes of it."""
    return [(file.parent / "00.yaml", file) for file in files("netplan-wifi-pairs", "*.nmconnection")]


def normal(connection: Connection) -> dict[str, Any]:
    """A connection without what means nothing or is told as a problem.

    netplan writes the default of pmf and of wake-on-lan, a psk beside 802.1X that is not used, and capital letters
    that NetworkManager compares without regard to case; a wake-up over Wi-Fi is not carried.
    """
    plain = without_our_own(connection)
    plain.get("802-11-wireless-security", {}).pop("pmf", None)
    if plain.get("802-11-wireless-security", {}).get("key-mgmt") == "wpa-eap":
        plain["802-11-wireless-security"].pop("psk", None)
    plain.get("802-11-wireless", {}).pop("wake-on-wlan", None)
    plain.get("802-3-ethernet", {}).pop("wake-on-lan", None)
    eap = plain.get("802-1x", {})
    eap.update({key: value.lower() for key, value in eap.items() if key == "phase2-auth"})
    return plain


def made_valid(text: str) -> str:
    """An expected keyfile as NetworkManager takes it: it knows small letters only, and wants an inner method."""
    text = re.sub(r"(?m)^(phase2-auth=)(.*)$", lambda match: match[1] + match[2].lower(), text)
    text = re.sub(r" # wokeignore.*", "", text)
    if re.search(r"(?m)^eap=(ttls|peap)$", text) and "phase2-auth" not in text:
        text = text.replace("[802-1x]\n", "[802-1x]\nphase2-auth=mschapv2\n")
    return text


def test_netplan_means_what_netplan_says(tmp_path: Path, oracle: Oracle) -> None:
    compared = refused = 0
    for number, (source, expected) in enumerate(pairs()):
        settings = read_alone(tmp_path / str(number), "/etc/netplan/a.yaml", source.read_bytes())
        answer = oracle.ask(made_valid(expected.read_text()))
        wanted = answer.get("connection")
        ours = [oracle.ask(write_keyfile(p, "a").dump())["connection"] for p in settings.profiles]
        if wanted is None or not ours:
            assert settings.problems or wanted is None, (expected, answer)
            refused += 1
            continue
        assert normal(wanted) in [normal(found) for found in ours], (expected, normal(wanted), settings.problems)
        compared += 1
    print("pairs compared", compared, "refused", refused)
    assert compared >= 20


def test_the_files_for_the_new_system_hold_all_of_it(tmp_path: Path) -> None:
    """Every profile of the collections gets its own file."""
    for number, file in enumerate(files("nm-keyfiles", "*")):
        settings = read_alone(tmp_path / str(number), f"{KEYFILES}/{file.name}", file.read_bytes())
        made = boot_files(Config(), Selection(profiles=settings.profiles), NetworkFacts())
        assert len({made_file.path for made_file in made}) == len(made) >= len(settings.profiles)


def test_system_is_a_folder(tmp_path: Path) -> None:
    """An empty system has no networks and no problems."""
    assert read_networks(System(tmp_path)) == NetworkSettings()
