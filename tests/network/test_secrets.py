# SPDX-License-Identifier: Apache-2.0
"""No secret is shown: in no output, no finding, no log and no message about a damaged file, in no encoding."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from balena_migrate import checks
from balena_migrate.cli.output import show_findings
from balena_migrate.cli.verbs.network import show_network
from balena_migrate.cli.verbs.plan import planned
from balena_migrate.core.units import MIB
from balena_migrate.core.values import to_json
from balena_migrate.facts.network import NetworkFacts
from balena_migrate.findings import blocker
from balena_migrate.network.select import Selection, boot_files
from balena_migrate.plan import describe, make_plan
from balena_migrate.settings import Config, Keep, Probe
from balena_migrate.survey import accept, survey_with
from tests.support.facts import pc_facts
from tests.support.network import Device, read_networks
from tests.support.surveys import KIT, some_image, stage1_of

SECRET = "Zx9 q&Kw7?pL2"
"""Of signs that other encodings write otherwise."""
WORD = "Zx9qKw7pL2"
"""The same for places that take no blanks."""
KEY = "c0ffee" * 10 + "f00d"

WPA = f"""country=GB
network={{
 ssid="home"
 psk="{SECRET}"
}}
network={{
 ssid="key"
 psk={KEY}
}}
network={{
 ssid="work"
 key_mgmt=WPA-EAP
 eap=TTLS
 identity="me"
 password="{SECRET}"
 private_key_passwd="{SECRET}"
}}
network={{
 ssid="old"
 key_mgmt=NONE
 wep_key0="{WORD[:5]}"
}}
"""
KEYFILE = f"""[connection]
id=a
type=wifi
[wifi]
ssid=nm
[wifi-security]
key-mgmt=wpa-psk
psk={SECRET}
[ipv4]
method=auto
"""
NETPLAN = f"""network:
  modems: {{cdc-wdm0: {{apn: a, username: me, password: "{SECRET}", pin: "{WORD}"}}}}
  wifis:
    wlan0:
      access-points:
        netplan: {{password: "{SECRET}"}}
        sae: {{auth: {{key-management: sae, password: "{SECRET}"}}}}
"""
LOGIN = f'network={{{{\n key_mgmt=IEEE8021X\n eap={{}}\n identity="i"\n password="{SECRET}"\n}}}}\n'
PLACES = {
    "/etc/wpa_supplicant/wpa_supplicant.conf": WPA,
    "/etc/NetworkManager/system-connections/a": KEYFILE,
    "/etc/netplan/a.yaml": NETPLAN,
    "/etc/wpa_supplicant/wpa_supplicant-wired-a.conf": LOGIN.format("PEAP"),
    "/etc/wpa_supplicant/wpa_supplicant-wired-b.conf": LOGIN.format("SIM"),
    "/etc/network/interfaces": f"auto w\niface w inet dhcp\n wpa-ssid i\n wpa-psk {SECRET}\n",
    "/var/lib/connman/a.config": f"[service_a]\nType=wifi\nName=connman\nPassphrase={SECRET}\n",
    "/var/lib/iwd/iwd.psk": f"[Security]\nPassphrase={SECRET}\nPreSharedKey={KEY}\n",
    "/etc/redsocks.conf": f'redsocks {{\n type = socks5; ip = 192.0.2.1;\n port = 1080;\n password = "{WORD}";\n}}\n',
    "/etc/environment": f"https_proxy=http://me:{WORD}@192.0.2.1:3128/\n",
}


def forms(secret: str) -> Iterator[str]:
    """A secret as it is, and as programs write it."""
    data = secret.encode()
    yield from (secret, quote(secret), quote(secret, safe=""), quote(secret).replace("%20", "+"), data.hex())
    yield from (json.dumps(secret)[1:-1], "".join(f"{byte};" for byte in data))
    for blanks in range(3):  # wherever it starts in a longer text
        yield base64.b64encode(bytes(blanks) + data)[4 if blanks else 0 : -4].decode()


def leaks(text: str) -> list[str]:
    return [form for secret in (SECRET, WORD, KEY) for form in forms(secret) if form.lower() in text.lower()]


def test_the_search_finds_what_it_searches_for() -> None:
    for text in (SECRET, quote(SECRET), SECRET.encode().hex(), base64.b64encode(f"user:{SECRET}".encode()).decode()):
        assert leaks(f"before {text} after")


@pytest.fixture
def full(device: Device) -> Device:
    for place, text in PLACES.items():
        device.put(place, text)
    device.put("/etc/balena-migrate.conf", 'MIGRATE_ALL_WIFIS="TRUE"\n')
    fleet = {"apiEndpoint": "https://api.example.com", "apiKey": WORD, "deviceApiKey": WORD, "hostname": [WORD]}
    device.put("/home/fleet.json", json.dumps(fleet))
    return device


@pytest.mark.parametrize("as_json", [True, False])
def test_what_the_command_network_shows(
    full: Device, as_json: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    show_network(full.system, None, {}, as_json=as_json)
    captured = capsys.readouterr()
    assert "home" in captured.out and "netplan" in captured.out
    assert leaks(captured.out + captured.err + caplog.text) == []


def test_what_check_and_plan_show(
    full: Device, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = Config(
        home_dir="/home", config_json="fleet.json", migrate_all_wifis=True, keep=tuple(Keep), skip_checks=tuple(Probe)
    )
    blind = survey_with(full.system, config, pc_facts(), blocker("image", "not read"), kit=None, work_dir=Path("/none"))
    survey = replace(blind, image=some_image(), kit=KIT, kit_base_bytes=MIB, problems=())
    findings = checks.run(survey)
    show_findings(findings)
    accepted = accept(survey, ())
    stage1 = stage1_of(accepted)
    plan = make_plan(accepted, stage1.actions(), stage1.boot_actions())
    captured = capsys.readouterr()
    assert {"config-json-value", "network-detail-not-carried"} <= {finding.code for finding in findings}
    shown = (describe(plan), json.dumps(to_json(planned(plan))), repr((accepted, plan)))
    texts = (captured.out, captured.err, caplog.text, *shown)
    assert [leaks(text) for text in texts] == [[]] * len(texts)


def test_a_command_is_named_without_its_arguments_and_variables(device: Device) -> None:
    text = f"auto w\niface w inet dhcp\n up KEY={WORD} x\n pre-up join {WORD}\n wireless-{WORD} {WORD}\n"
    device.put("/etc/network/interfaces", text)
    problems = read_networks(device.system).problems
    assert len(problems) == 3 and not leaks(repr(problems))


def test_the_files_for_the_new_system_hold_them_and_their_repr_does_not(full: Device) -> None:
    files = boot_files(Config(), Selection(profiles=read_networks(full.system).profiles), NetworkFacts())
    assert leaks("".join(file.content.decode() for file in files)) and not leaks(repr(files))


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_messages_about_damaged_files(device: Device, place: str, data: st.DataObject) -> None:
    """Where a line break or a sign is lost, a secret may end up in a value, or as a key, that could be shown.

    Only what a message says of it is looked at: a secret that became the name of a network is shown as its subject.
    """
    good = PLACES[place]
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 3)))
    device.put(place, good[:start] + data.draw(st.sampled_from(["", " ", "\n", '"', "[", "=", ":"])) + good[end:])
    reasons = [problem.reason for problem in read_networks(device.system).problems]
    assert leaks(" ".join(reasons)) == []
