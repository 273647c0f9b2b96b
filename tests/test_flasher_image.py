# SPDX-License-Identifier: Apache-2.0
"""A flasher image as IMAGE_NAME: what is surveyed, planned, made and undone."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core import journal
from balena_migrate.core.changes import ActionName
from balena_migrate.core.handover import parse_handover
from balena_migrate.core.paths import PATCHES, STAGE2_CONFIG, WORK_DIR
from balena_migrate.core.system import System
from balena_migrate.findings import Finding
from balena_migrate.images import Image, ImageKind
from balena_migrate.images.scan import read_image
from balena_migrate.plan import describe, make_plan
from balena_migrate.settings import Config
from balena_migrate.survey import accept, find_image, read_image_config
from tests.support.facts import pc_facts
from tests.support.flasher import NEW_NAME, flasher_image, make_ext4
from tests.support.images import BOOT_FILES, make_image
from tests.support.surveys import image_inside, no_progress, some_survey, stage1_of
from tests.support.system import device_with

pytestmark = pytest.mark.processes

FLASHER = "flasher.img.gz"
EXTRACTED = "extracted-flasher.img.gz"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """HOME_DIR with a flasher image."""
    folder = tmp_path / "home"
    folder.mkdir()
    root = make_ext4(tmp_path / "root.ext4", {NEW_NAME: bytes(make_image(tmp_path))})
    (folder / FLASHER).write_bytes(gzip.compress(flasher_image(tmp_path, root), 1))
    return folder


def found_in(home: Path, name: str = FLASHER) -> Image | Finding:
    return find_image(System(), Config(home_dir=str(home), image_name=name), home.parent, no_progress)


def image_in(home: Path) -> Image:
    image = found_in(home)
    assert isinstance(image, Image)
    return image


def test_the_survey_finds_the_image_inside_and_writes_nothing(home: Path) -> None:
    image = image_in(home)
    assert (image.identity.kind, image.identity.label) == (ImageKind.RAW, "resin-boot")
    assert image.path == home / EXTRACTED
    assert read_image_config(image) == b'{"apiKey": "APIKEY", "deviceType": "intel-nuc"}', (
        "the flasher's, which was made for a fleet"
    )
    assert [path.name for path in home.iterdir()] == [FLASHER]


def test_a_flasher_image_without_a_system_image_is_a_finding(home: Path, tmp_path: Path) -> None:
    raw = flasher_image(tmp_path, make_ext4(tmp_path / "empty.ext4", {"opt/x": b""}))
    (home / "empty.img").write_bytes(raw)
    found = found_in(home, "empty.img")
    assert isinstance(found, Finding)
    assert found.code == "image" and "0 system images in /opt" in found.cause


def test_the_plan_takes_the_image_out_before_anything_large_is_made() -> None:
    accepted = accept(some_survey(image=image_inside()), ())
    stage1 = stage1_of(accepted)
    plan = make_plan(accepted, stage1.actions(), stage1.boot_actions())
    assert [action.name for action in plan.actions][:3] == [ActionName.WORK_DIR, ActionName.IMAGE, ActionName.PATCHES]
    assert "2. take the system image out of the flasher image (/root/extracted-flasher.img.gz)" in describe(plan)


def test_stage_1_takes_the_image_out_and_undo_removes_it(home: Path, tmp_path: Path) -> None:
    accepted = accept(some_survey(image=image_in(home)), ())
    (action,) = (action for action in stage1_of(accepted).actions() if action.name is ActionName.IMAGE)
    (tmp_path / "var/lib").mkdir(parents=True)
    system = System(tmp_path)
    journal.apply(system, (replace(action, path=f"/home/{EXTRACTED}"),), print, arm=True)  # type: ignore[type-var]
    made = read_image(home / EXTRACTED, tmp_path, lambda done, total: None)
    assert made.identity == accepted.image.identity
    assert (home / EXTRACTED).stat().st_mode & 0o777 == 0o600, "it holds config.json with its keys"
    journal.undo(system, print)
    assert [path.name for path in home.iterdir()] == [FLASHER]


def test_stage_2_gets_the_image_that_was_taken_out(tmp_path: Path) -> None:
    facts = pc_facts()
    accepted = accept(some_survey(facts, image=image_inside()), ())
    system = device_with(tmp_path, facts.disks)
    for folder in ("etc", "root", WORK_DIR.lstrip("/")):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / PATCHES.lstrip("/")).write_bytes(b"patches")
    (tmp_path / "root" / EXTRACTED).write_bytes(b"the image")
    (action,) = (action for action in stage1_of(accepted).actions() if action.path == STAGE2_CONFIG)
    action.apply(system)
    stored = parse_handover(system.read_text(STAGE2_CONFIG)).image
    assert (stored.path, stored.size_bytes) == (f"/root/{EXTRACTED}", len(b"the image"))
    assert stored.sha256 == hashlib.sha256(b"the image").hexdigest()


def test_an_image_that_is_no_flasher_is_used_as_it_is(home: Path, tmp_path: Path) -> None:
    (home / "os.img").write_bytes(make_image(tmp_path, BOOT_FILES))
    image = found_in(home, "os.img")
    assert isinstance(image, Image)
    assert (image.inside, image.path) == (None, home / "os.img")
