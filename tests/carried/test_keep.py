# SPDX-License-Identifier: Apache-2.0
"""What of a device's identity is found, and put into config.json."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from balena_migrate.carried.config_json import merged, parse_config_json
from balena_migrate.carried.keep import (
    PreservedSettings,
    config_edits,
    parse_authorized_keys,
    parse_hostname,
    parse_ntp_conf,
    parse_timesyncd_conf,
    read_preserved,
)
from balena_migrate.checks.keep import check
from balena_migrate.core.errors import ConfigError
from balena_migrate.core.system import System
from balena_migrate.findings import Severity
from balena_migrate.settings import Config, Keep, parse_settings
from tests.support.surveys import carrying

RSA = "ssh-rsa AAAAB3NzaC1yc2E= me@work"
ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"
ALL = Config(keep=tuple(Keep))


def device(tmp_path: Path, files: dict[str, str]) -> System:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return System(tmp_path)


def test_a_device_with_everything(tmp_path: Path) -> None:
    system = device(
        tmp_path,
        {
            "etc/hostname": "# comment\ngate-7\n",
            "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
            "etc/passwd": "root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n"
            "eve:x:1001:1001::/home/eve:/bin/bash\nbroken\n",
            "root/.ssh/authorized_keys": f"{RSA}\n",
            "home/pi/.ssh/authorized_keys": f"{ED}\n{RSA}\n",
            "home/eve/.ssh/authorized_keys": "ssh-rsa AAAAeve\n",
            "etc/chrony/chrony.conf": "pool 2.debian.pool.ntp.org iburst\nserver time.example.com iburst\n",
            "etc/systemd/timesyncd.conf": "[Time]\nNTP=10.0.0.1 time.example.com\n",
        },
    )
    kept = read_preserved(
        system, ALL, user="pi", country="GB", name_servers=("127.0.0.53", "10.0.0.2", "fe80::1", "2001:db8::1")
    )
    assert kept == PreservedSettings(
        hostname="gate-7",
        ssh_keys=(RSA, ED),
        time_servers=("time.example.com", "10.0.0.1"),
        dns_servers=("10.0.0.2", "2001:db8::1"),
        country="GB",
        machine_id="0123456789abcdef0123456789abcdef",
    )


def test_nothing_is_read_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/hostname")
    assert read_preserved(System(tmp_path), Config(), country="GB", name_servers=("10.0.0.1",)) == PreservedSettings()


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    kept = read_preserved(System(tmp_path), ALL)
    assert len(kept.problems) == 6
    codes = [(f.code, f.severity) for f in check(carrying(config=ALL, preserved=kept))]
    assert codes.count(("keep-missing", Severity.WARNING)) == 6
    assert ("keep-ssh-host-keys", Severity.WARNING) in codes


def test_hostile_files_are_told(tmp_path: Path) -> None:
    system = device(tmp_path, {"etc/passwd": "root:x:0:0::/root:/bin/sh", "etc/machine-id": "uninitialized\n"})
    os.mkfifo(tmp_path / "etc/hostname")
    (tmp_path / "etc/ntp.conf").symlink_to("ntp.conf")
    (tmp_path / "root/.ssh/authorized_keys").mkdir(parents=True)
    kept = read_preserved(system, ALL)
    assert len(kept.problems) == 6 and not kept.hostname


@pytest.mark.parametrize("name", ["my_host", "-x", "a" * 64, "a b", "a;reboot", "\u00fcber"])
def test_host_names_that_balena_os_cannot_take_are_told(tmp_path: Path, name: str) -> None:
    kept = read_preserved(device(tmp_path, {"etc/hostname": name}), Config(keep=(Keep.HOSTNAME,)))
    assert kept.hostname == "" and len(kept.problems) == 1


def test_hostname_comments() -> None:
    assert parse_hostname("\n# x\n  box  \nother\n") == "box"
    assert parse_hostname("") == ""


def test_keys_with_options_stay_and_forced_commands_go() -> None:
    text = (
        f"# comment\n\n{RSA}\n"
        f'from="10.0.0.0/8,::1" {ED} x\n'
        f"no-port-forwarding,command=\"echo 'Please login as ubuntu';sleep 10\" {RSA}\n"
        "not a key\n"
        "ssh-rsa AAAA\x07 x\n"
        "sk-ssh-ed25519@openssh.com AAAAGnNr x\n"
        "ecdsa-sha2-nistp256 AAAAE2Vj x\n"
    )
    keys, refused = parse_authorized_keys(text)
    assert keys == (
        RSA,
        f'from="10.0.0.0/8,::1" {ED} x',
        "sk-ssh-ed25519@openssh.com AAAAGnNr x",
        "ecdsa-sha2-nistp256 AAAAE2Vj x",
    )
    assert refused == 3


def test_time_servers() -> None:
    lines = (
        "server 127.127.1.0",
        "Server a.example.com",
        "pool",
        "#server x",
        "pool c.example.com iburst",
        "server a_b",
    )
    assert parse_ntp_conf("\n".join(lines)) == (("a.example.com", "c.example.com"), ())
    assert parse_timesyncd_conf("NTP=a b\n#NTP=c\nFallbackNTP=d\n") == ("a", "b")
    assert parse_timesyncd_conf("NTP=a\nNTP=\nNTP=b\n") == ("b",)


@pytest.mark.parametrize(
    ("line", "hosts"),
    [
        ("server -6 ntp6.depot.example iburst", ("ntp6.depot.example",)),
        ("server -4 ntp4.depot.example", ("ntp4.depot.example",)),
        ("pool -6 pool.depot.example iburst", ("pool.depot.example",)),
        ("server fd12:3456::7b iburst nts", ("fd12:3456::7b",)),
        ("server ntp.depot.example ipv6 iburst", ("ntp.depot.example",)),
        ("servers pool.depot.example", ("pool.depot.example",)),
        ("server 192.0.2.7 weight 5 trusted", ("192.0.2.7",)),
        ("server fe80::1%eth0", ()),
        ("server -6", ()),
        ("! server ntp.depot.example", ()),
        ("server ntp.depot.example # port 124 was tried", ("ntp.depot.example",)),
        ("peer ntp2.depot.example", ()),
        ("constraints from https://www.depot.example", ()),
    ],
)
def test_a_time_server_in_every_form(line: str, hosts: tuple[str, ...]) -> None:
    assert parse_ntp_conf(line) == (hosts, ())


@pytest.mark.parametrize("options", ["port 11123", "iburst key 7"])
def test_a_time_server_that_config_json_cannot_describe_is_told(tmp_path: Path, options: str) -> None:
    files = {"etc/chrony.conf": f"server clock.depot.example {options}\nserver ntp.depot.example\n"}
    kept = read_preserved(device(tmp_path, files), Config(keep=(Keep.TIME_SERVERS,)))
    assert kept.time_servers == ("ntp.depot.example",)
    assert "clock.depot.example has a port or a key of its own" in kept.problems[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/chrony/chrony.conf", "pool ntp.depot.example iburst\n"),
        ("etc/chrony/sources.d/depot.sources", "server ntp.depot.example\n"),
        ("etc/ntp.conf", "server -6 ntp.depot.example\n"),
        ("etc/ntpsec/ntp.conf", "pool 0.debian.pool.ntp.org\nserver -4 ntp.depot.example iburst\n"),
        ("etc/ntpsec/ntp.d/depot.conf", "server ntp.depot.example\n"),
        ("etc/openntpd/ntpd.conf", "servers ntp.depot.example\nsensor *\n"),
        ("etc/systemd/timesyncd.conf", "[Time]\nNTP=ntp.depot.example\n"),
        ("etc/systemd/timesyncd.conf", "[Time]\nFallbackNTP=0.debian.pool.ntp.org ntp.depot.example\n"),
        ("etc/systemd/network/depot.network", "[Match]\nName=d*\n[Network]\nNTP=ntp.depot.example\n"),
        ("run/systemd/network/10-netplan-d.network", "[Network]\nNTP=ntp.depot.example\n"),
        ("var/lib/connman/depot.config", "[service_depot]\nType=wifi\nTimeservers=ntp.depot.example\n"),
        ("var/lib/connman/wifi_d_managed_psk/settings", "[wifi_d_managed_psk]\nTimeservers=ntp.depot.example;\n"),
        ("etc/connman/main.conf", "[General]\nFallbackTimeservers=ntp.depot.example\n"),
    ],
)
def test_the_files_of_every_time_service(tmp_path: Path, path: str, text: str) -> None:
    kept = read_preserved(device(tmp_path, {path: text}), Config(keep=(Keep.TIME_SERVERS,)))
    assert (kept.time_servers, kept.problems) == (("ntp.depot.example",), ())


def test_a_drop_in_discards_what_timesyncd_conf_says(tmp_path: Path) -> None:
    files = {
        "etc/systemd/timesyncd.conf": "[Time]\nNTP=old.depot.example",
        "etc/systemd/timesyncd.conf.d/10-depot.conf": "[Time]\nNTP=\nNTP=new.depot.example\n",
    }
    kept = read_preserved(device(tmp_path, files), Config(keep=(Keep.TIME_SERVERS,)))
    assert kept.time_servers == ("new.depot.example",)


def test_the_time_servers_of_a_link_count_before_the_fallback(tmp_path: Path) -> None:
    files = {
        "etc/systemd/timesyncd.conf": "[Time]\nFallbackNTP=fallback.depot.example",
        "etc/systemd/network/d.network": "[Network]\nNTP=old.depot.example\n",
        "etc/systemd/network/d.network.d/10.conf": "[Network]\nNTP=\nNTP=new.depot.example\n",
    }
    kept = read_preserved(device(tmp_path, files), Config(keep=(Keep.TIME_SERVERS,)))
    assert kept.time_servers == ("new.depot.example",)


@pytest.mark.parametrize("host", ["ntp.ubuntu.com", "2.ntp.ubuntu.com", "ntp-bootstrap.ubuntu.com"])
def test_a_distributions_own_time_servers_are_left_to_its_users(tmp_path: Path, host: str) -> None:
    files = {"etc/chrony/sources.d/ubuntu-ntp-pools.sources": f"pool {host} iburst maxsources 1 nts prefer\n"}
    kept = read_preserved(device(tmp_path, files), Config(keep=(Keep.TIME_SERVERS,)))
    assert kept.time_servers == () and len(kept.problems) == 1


def test_edits_lie_over_the_owners_file() -> None:
    owner = parse_config_json(json.dumps({"hostname": "x", "os": {"sshKeys": [RSA], "fan": {}}}).encode(), "f")
    kept = PreservedSettings(
        hostname="gate", ssh_keys=(ED, RSA), time_servers=("a", "b"), dns_servers=("10.0.0.1",), country="GB"
    )
    edits = config_edits(kept, Config(change_device_type=True), owner, "nuc")
    assert json.loads(merged(owner, edits)) == {
        "deviceType": "intel-nuc",
        "hostname": "gate",
        "ntpServers": "a b",
        "dnsServers": "10.0.0.1",
        "country": "GB",
        "os": {"sshKeys": [RSA, ED], "fan": {}},
    }


def test_nothing_kept_nothing_edited() -> None:
    assert config_edits(PreservedSettings(), Config(), None, "intel-nuc") == {}


def test_the_setting_knows_its_words() -> None:
    assert parse_settings('KEEP="hostname ssh-keys hostname"', "f") == {"keep": (Keep.HOSTNAME, Keep.SSH_KEYS)}
    with pytest.raises(ConfigError, match="must consist of words from: hostname"):
        parse_settings("KEEP=name", "f")
