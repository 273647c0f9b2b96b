# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate image inspect` and `image extract`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import balena_migrate
from tests.support.flasher import OLD_NAME, flasher_image, make_ext4
from tests.support.images import make_image

pytestmark = pytest.mark.processes


def test_image_inspect_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "image.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    done = balena_migrate("image", "inspect", tmp_path / "image.7z")
    assert done.returncode == 3
    assert "is a 7-zip archive" in done.stderr


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


@pytest.fixture
def flasher(tmp_path: Path) -> Path:
    root = make_ext4(tmp_path / "root", {OLD_NAME: bytes(make_image(tmp_path))})
    (tmp_path / "flasher.img").write_bytes(flasher_image(tmp_path, root))
    return tmp_path / "flasher.img"


def test_image_extract_takes_the_image_out_of_a_flasher(flasher: Path) -> None:
    output = flasher.with_name("os.img.gz")
    done = balena_migrate("image", "extract", flasher, output)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(output)
    assert "  kind             raw" in done.stdout.splitlines()
    assert balena_migrate("image", "inspect", output).stdout == done.stdout
    assert output.stat().st_mode & 0o777 == 0o600


def test_json_of_an_image_that_was_taken_out(flasher: Path) -> None:
    found = json.loads(balena_migrate("image", "extract", flasher, flasher.with_name("os.img.gz"), "--json").stdout)
    assert (found["compression"], found["size_bytes"], found["identity"]["kind"]) == ("gzip", 20 << 20, "raw")


def test_image_extract_replaces_no_file(flasher: Path) -> None:
    done = balena_migrate("image", "extract", flasher, flasher)
    assert (done.returncode, "already exists" in done.stderr) == (2, True)


def test_image_extract_leaves_nothing_behind_where_it_fails(tmp_path: Path) -> None:
    (tmp_path / "os.img").write_bytes(make_image(tmp_path))
    before = set(tmp_path.iterdir())
    done = balena_migrate("image", "extract", tmp_path / "os.img", tmp_path / "new.img.gz")
    assert (done.returncode, "is not a flasher image" in done.stderr) == (3, True)
    missing = balena_migrate("image", "extract", tmp_path / "os.img", tmp_path / "no/new.img.gz", "--json")
    assert (missing.returncode, json.loads(missing.stdout)["exit_status"]) == (3, 3)
    assert set(tmp_path.iterdir()) == before
