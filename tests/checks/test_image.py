# SPDX-License-Identifier: Apache-2.0
"""The image is for this device, by its content."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.findings import Severity
from balena_migrate.images import Image, ImageKind
from balena_migrate.images.partitions import PartitionTable, TableKind
from tests.support.findings import blockers, findings
from tests.support.surveys import BOOT, DATA, some_image, some_survey


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (some_image(slug="raspberrypi3"), "image-device-type"),
        (some_image(slug="generic-amd64"), "image-device-type"),
        (some_image(slug=""), "image-device-type"),
        (some_image(kind=ImageKind.FLASHER), "image-flasher"),
    ],
)
def test_an_image_for_something_else_is_refused_by_its_content(wrong: Image, code: str) -> None:
    assert blockers(some_survey(image=wrong)) == [code]


def test_a_gpt_image_does_not_boot_from_bios() -> None:
    gpt = replace(some_image(), table=PartitionTable(kind=TableKind.GPT, id="g", partitions=(BOOT, DATA)))
    assert blockers(some_survey(image=gpt)) == ["image-needs-uefi"]


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("resin-raspberrypi3-2.15.1.img.gz", True),
        ("resin-genericx86-64-2.15.1.img.gz", False),
        ("my-image.img.gz", False),
    ],
)
def test_a_name_that_speaks_of_another_device_is_a_warning(name: str, warned: bool) -> None:
    found = [f.severity for f in findings(some_survey(image=some_image(name=name))) if f.code == "image-name"]
    assert found == ([Severity.WARNING] if warned else [])
