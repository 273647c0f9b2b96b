# SPDX-License-Identifier: Apache-2.0
"""When stage 1 prepares the image, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.checks.image import HOME_MARGIN_BYTES
from balena_migrate.core.memory import MemoryFacts
from balena_migrate.core.units import MIB
from balena_migrate.facts import Facts
from balena_migrate.image_form import with_best_form
from balena_migrate.images import Image
from balena_migrate.initramfs import Recipe
from balena_migrate.plan import describe, make_plan
from balena_migrate.settings import Config
from balena_migrate.strategies.default import image_parts
from balena_migrate.survey import Survey, accept
from tests.support.facts import pc_facts
from tests.support.findings import blockers, findings
from tests.support.surveys import image_inside, some_image, some_survey, stage1_of

HOME = Config(home_dir="/root")


def image(packed: str, file_mib: int = 100, prepared_mib: int = 80) -> Image:
    name = f"balena-cloud-x-intel-nuc-2.82.11.img.{packed}"
    plain = replace(some_image(name=name), format=packed, file_bytes=file_mib * MIB)
    return replace(plain, prepared_bytes=prepared_mib * MIB)


def device(memory_mib: int = 2048, free_bytes: int = 10_000 * MIB) -> Facts:
    facts = pc_facts()
    mounts = tuple(replace(mount, free_bytes=free_bytes) for mount in facts.disks.mounts)
    memory = MemoryFacts(total_bytes=memory_mib * MIB, available_bytes=memory_mib * MIB)
    return replace(facts, disks=replace(facts.disks, mounts=mounts), memory=memory)


def chosen(image: Image, facts: Facts | None = None) -> Survey:
    return with_best_form(some_survey(facts or device(), HOME, image=image))


@pytest.mark.parametrize("packed", ["gzip", "zstd", "raw", "zip"])
def test_what_is_quick_to_unpack_and_fits_stays_as_it_is(packed: str) -> None:
    survey = some_survey(device(), HOME, image=image(packed))
    assert with_best_form(survey) is survey


@pytest.mark.parametrize("packed", ["xz", "bzip2"])
def test_what_is_slow_to_unpack_is_prepared(packed: str) -> None:
    original = image(packed)
    found = chosen(original).image
    assert found is not None and found.original is original
    assert found.path == Path(f"/root/prepared-balena-cloud-x-intel-nuc-2.82.11.img.{packed}").with_suffix(".zst") or (
        found.path.name.startswith("prepared-")
    )
    assert (found.format, found.file_bytes, found.is_there) == ("zstd", 80 * MIB, False)


def test_a_slow_one_stays_where_there_is_no_room(tmp_path: Path) -> None:
    needed = 80 * MIB + HOME_MARGIN_BYTES
    assert chosen(image("xz"), device(free_bytes=needed)).image != image("xz")
    assert chosen(image("xz"), device(free_bytes=needed - 1)).image == image("xz")


def test_a_raw_image_that_does_not_fit_into_memory_is_prepared() -> None:
    raw = image("raw", file_mib=908, prepared_mib=120)
    short = device(memory_mib=512)
    assert "memory-too-small" in blockers(some_survey(short, HOME, image=raw))
    survey = chosen(raw, short)
    assert survey.image is not None and survey.image.original is raw
    assert "memory-too-small" not in blockers(survey)
    (found,) = (found for found in findings(survey) if found.code == "image-prepared")
    assert (
        "memory is too small for the file as it is (stage 2 would need 1162 MiB, and needs 381 with what is prepared;"
        " this device has 512 MiB): 908 MiB of raw become about 120 MiB of zstd" in found.cause
    )
    assert "HOME_DIR has 10000 MiB free" in found.cause


@pytest.mark.parametrize(
    ("memory_mib", "prepared", "fits"), [(242, False, True), (235, True, True), (215, False, False)]
)
def test_on_a_board_of_256_mib_the_packing_decides(memory_mib: int, prepared: bool, fits: bool) -> None:
    """The lab's image for the Raspberry Pi has 113 MiB, and 87 with zstd; the graphics take the rest of memory."""
    packed = image("gzip", file_mib=113, prepared_mib=87)
    found = with_best_form(some_survey(device(memory_mib), HOME, image=packed, initramfs=Recipe()))
    assert found.image is not None
    assert (found.image.original is not None, "memory-too-small" not in blockers(found)) == (prepared, fits)


def test_nothing_is_prepared_where_it_would_not_fit_either() -> None:
    raw = image("raw", file_mib=908, prepared_mib=600)
    survey = some_survey(device(memory_mib=512), HOME, image=raw)
    assert with_best_form(survey) is survey


def test_an_image_inside_of_a_flasher_image_is_made_by_its_own_way() -> None:
    survey = some_survey(device(memory_mib=64), HOME, image=image_inside())
    assert with_best_form(survey) is survey


def test_the_plan_shows_the_choice_and_makes_the_file_first() -> None:
    accepted = accept(chosen(image("xz")), ())
    stage1 = stage1_of(accepted)
    plan = make_plan(accepted, stage1.actions(), stage1.boot_actions())
    text = describe(plan)
    assert "The image: stage 1 prepares the image, as xz is slow to unpack: 100 MiB of xz become about 80 MiB" in text
    assert "prepare the image (/root/prepared-" in text
    assert text.index("prepare the image") < text.index("compose the new boot partition")


def test_the_memory_that_unpacking_takes_counts() -> None:
    plain = image("zstd")
    large = replace(plain, unpacking_bytes=66 * MIB)
    assert dict(image_parts(large)) == {**dict(image_parts(plain)), "unpacking it": 66 * MIB}
    memory = next(found for found in findings(some_survey(device(), HOME, image=large)) if found.code == "memory")
    assert "66 (unpacking it)" in memory.cause
