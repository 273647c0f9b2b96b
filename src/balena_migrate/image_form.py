# SPDX-License-Identifier: Apache-2.0
"""Which form of the image stage 2 gets: the file as it is, or one that stage 1 prepares from it on the device.

It prepares where the format is slow to unpack, for that time would be spent after the line, and where memory is too
small for the file as it is, and large enough for its prepared form. Either needs room in HOME_DIR.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from balena_migrate.checks.image import HOME_MARGIN_BYTES
from balena_migrate.checks.strategy import check_strategy, expected_sizes
from balena_migrate.findings import is_refused
from balena_migrate.images import Image
from balena_migrate.images.formats import format_named
from balena_migrate.images.formats.zstd import FORMAT as ZSTD
from balena_migrate.images.formats.zstd import SMALL_FRAMES_MEMORY_BYTES
from balena_migrate.images.prepare import prepared_name
from balena_migrate.survey import Survey

PREPARED = "prepared-"
"""How the name of the file begins that stage 1 makes, in HOME_DIR."""


def with_best_form(survey: Survey) -> Survey:
    """The survey with the image as stage 2 will get it; where stage 1 has to prepare that, `original` is the file.

    Nothing is made here.
    """
    image = survey.image
    if image is None or image.inside:
        return survey
    prepared = replace(survey, image=_prepared(survey, image))
    helps = format_named(image.format).is_slow or (not _fits_memory(survey) and _fits_memory(prepared))
    return prepared if helps and _has_room(prepared) else survey


def _prepared(survey: Survey, image: Image) -> Image:
    path = Path(survey.config.in_home(PREPARED + prepared_name(image.path.name)))
    return replace(
        image,
        path=path,
        format=ZSTD.name,
        file_bytes=image.prepared_bytes,
        unpacking_bytes=SMALL_FRAMES_MEMORY_BYTES,
        sha256="",
        bmap="",
        original=image,
    )


def _fits_memory(survey: Survey) -> bool:
    return not is_refused(check_strategy(survey, expected_sizes(survey)))


def _has_room(survey: Survey) -> bool:
    home, image = survey.home, survey.image
    return home is not None and image is not None and image.file_bytes + HOME_MARGIN_BYTES <= home.free_bytes
