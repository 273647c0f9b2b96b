# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import zipfile

from tests.images.formats import Sample


def pack(image: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("image.img", image)
    return file.getvalue()


SAMPLE = Sample(
    pack=pack,
    commands=(
        "zip -q one.zip image; cat one.zip",
        "zip -q -0 two.zip image; cat two.zip",
        # To a pipe, with sizes behind the content; from one, with zip64 fields.
        "zip -q - image | cat",
        "cat image | zip -q - - | cat",
    ),
)
