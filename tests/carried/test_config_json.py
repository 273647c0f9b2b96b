# SPDX-License-Identifier: Apache-2.0
"""Reading a config.json that anybody may have written, and putting ours together."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balena_migrate.carried.config_json import merged, parse_config_json, read_config_json
from balena_migrate.checks.config_json import FORMS, check_config_json
from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.settings import Config
from tests.support.corpus import corpus

SECRET = "hunter2hunter2"


def test_a_file_in_home_dir_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"deviceType": "raspberrypi", "apiEndpoint": "https://api"}')
    found = read_config_json(System("/"), Config(home_dir=str(tmp_path), config_json="config.json"))
    assert found is not None
    assert (found.origin, found.device_type) == (str(tmp_path / "config.json"), "raspberry-pi")
    assert found.is_managed


def test_no_setting_no_file() -> None:
    assert read_config_json(System("/"), Config()) is None


def test_a_byte_order_mark_is_no_part_of_it() -> None:
    assert parse_config_json(b'\xef\xbb\xbf{"deviceType": "x"}', "f").device_type == "x"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "line 1, column 1"),
        (b"[1]", "not a JSON object"),
        (b'{"apiKey": "' + SECRET.encode() + b'",}', "line 1"),
        (b'{"apiKey": "' + SECRET.encode() + b'\0"}', "Invalid control character"),
        (b'{"apiKey": "' + SECRET.encode() + b'\xff"}', "not UTF-8"),
        ('{"apiKey": "x"}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": NaN}', "NaN, Infinity or an oversized number"),
        (b'{"a": ' + b"1" * 5000 + b"}", "NaN, Infinity or an oversized number"),
        (b'{"apiKey": "' + SECRET.encode() + b'", "apiKey": "x"}', "the key 'apiKey' twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 30 + b"1" + b"}" * 30, "nested too deeply"),
    ],
)
def test_bad_content_is_refused_without_showing_it(content: bytes, reason: str) -> None:
    with pytest.raises(FileError, match=reason) as caught:
        parse_config_json(content, "/boot/config.json")
    assert str(caught.value).startswith("/boot/config.json: ")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("kind", ["huge", "fifo", "folder", "loop", "missing"])
def test_what_is_no_file_of_fair_size_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    if kind == "huge":
        path.touch()
        os.truncate(path, 100 << 20)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    with pytest.raises(FileError):
        read_config_json(System("/"), Config(config_json=str(path)))


def test_values_stay_out_of_repr() -> None:
    found = parse_config_json(json.dumps({"apiKey": SECRET}).encode(), "f")
    assert SECRET not in repr(found)


def test_the_owners_keys_lie_over_the_images_and_ours_over_both() -> None:
    image = b'{"persistentLogging": true, "deviceType": "a", "os": {"fan": {"profile": "quiet"}, "sshKeys": ["image"]}}'
    owner = parse_config_json(b'{"deviceType": "b", "os": {"sshKeys": ["owner"]}, "hostname": "old"}', "f")
    assert json.loads(merged(owner, {"hostname": "new"}, image)) == {
        "persistentLogging": True,
        "deviceType": "b",
        "os": {"fan": {"profile": "quiet"}, "sshKeys": ["owner"]},
        "hostname": "new",
    }


def test_identities_are_not_mixed() -> None:
    """The image's key to another fleet must not stand beside the owner's."""
    image = b'{"apiKey": "other", "uuid": "other", "applicationId": 1, "mixpanelToken": "kept"}'
    owner = parse_config_json(b'{"deviceApiKey": "mine"}', "f")
    assert json.loads(merged(owner, {}, image)) == {"deviceApiKey": "mine", "mixpanelToken": "kept"}


def test_without_an_owners_file_the_images_own_is_kept() -> None:
    image = b'{"apiKey": "k", "applicationId": 1}'
    assert json.loads(merged(None, {"country": "GB"}, image)) == {"apiKey": "k", "applicationId": 1, "country": "GB"}


def test_text_of_any_script_survives() -> None:
    owner = parse_config_json('{"initialDeviceName": "Gerät 7 \\ud83d\\ude00"}'.encode(), "f")
    assert json.loads(merged(owner, {}))["initialDeviceName"] == "Gerät 7 \U0001f600"


def test_real_files_keep_every_value() -> None:
    files = [
        path for path in corpus("balena").rglob("*.json") if "config" in path.name and "apibinder" not in path.name
    ]
    assert len(files) >= 5
    for path in files:
        content = path.read_bytes()
        assert json.loads(merged(parse_config_json(content, path.name), {})) == json.loads(content)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(sorted(FORMS)), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.long
@given(st.dictionaries(st.sampled_from([*sorted(FORMS), "x"]) | st.text(max_size=8), JSON, max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_object_is_judged_and_kept(values: dict[str, object]) -> None:
    """Whatever the values are: no other error than ours, and every value is in the result."""
    try:
        found = parse_config_json(json.dumps(values).encode(), "f")
    except FileError as error:
        assert "nested" in str(error)
        return
    findings = list(check_config_json(found, Config(), image_type="raspberrypi3"))
    assert all(finding.cause for finding in findings)
    assert json.loads(merged(found, {})) == values


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        assert isinstance(parse_config_json(content, "f").values, dict)
    except FileError as error:
        assert str(error).startswith("f: ")
