# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate image inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import balena_migrate
from tests.support.images import make_image

pytestmark = pytest.mark.processes


def test_image_inspect_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "image.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    done = balena_migrate("image", "inspect", tmp_path / "image.zip")
    assert done.returncode == 3
    assert "is a zip archive" in done.stderr


def test_image_inspect_prints_a_table_and_the_layout_to_scale(tmp_path: Path) -> None:
    (tmp_path / "os.img").write_bytes(make_image(tmp_path))
    done = balena_migrate("image", "inspect", tmp_path / "os.img")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "  device type      raspberrypi3" in lines
    assert "  size on disk     20 MiB" in lines
    assert ["1", "1", "MiB", "8", "MiB", "0e", "resin-boot"] in [line.split() for line in lines]
    assert lines[-1].strip() == f"...1{31 * '-'}2------3-------....5---....6-------........"
    assert "\x1b" not in done.stdout and "(" not in done.stdout


def test_json_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "os.img").write_bytes(make_image(tmp_path))
    found = json.loads(balena_migrate("image", "inspect", tmp_path / "os.img", "--json").stdout)
    assert (found["format"], found["compression"], found["size_bytes"]) == (1, "raw", 20 << 20)
    assert (found["boot"]["number"], found["data"]["number"]) == (1, 6)
    assert found["identity"]["slug"] == "raspberrypi3"
