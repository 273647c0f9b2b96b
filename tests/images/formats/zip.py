# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import zipfile

from tests.images.formats import Sample, flip

NAME = "image.img"
IN_THE_DATA = 30 + len(NAME) + 8
"""Behind the local header, among the codes that all that follows is packed with. A flip further on may go unnoticed
with good reason: within a run of zeros, a copy from another distance is the same."""


def pack(image: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(NAME, image)
    return file.getvalue()


SAMPLE = Sample(
    pack=pack,
    damage=lambda packed: flip(packed, IN_THE_DATA),
    commands=(
        "zip -q one.zip image; cat one.zip",
        "zip -q -0 two.zip image; cat two.zip",
        # To a pipe, with sizes behind the content; from one, with zip64 fields.
        "zip -q - image | cat",
        "cat image | zip -q - - | cat",
    ),
)
