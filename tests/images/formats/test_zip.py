# SPDX-License-Identifier: Apache-2.0
"""zip archives: which member is the image, and headers that lie."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import deque

import pytest

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import GIB, MIB
from balena_migrate.images.formats import format_named, read_chunks
from balena_migrate.images.formats import zip as zip_format

ZIP = format_named("zip")
IMAGE = bytes(510) + b"\x55\xaa" + bytes(range(256)) * 40
README = "a README\n"


def unpack(raw: bytes) -> bytes:
    return b"".join(piece.data for piece in read_chunks(io.BytesIO(raw), ZIP, MIB))


def archive(*members: tuple[str, bytes | str], method: int = zipfile.ZIP_DEFLATED, piped: bool = False) -> bytes:
    """An archive with these members; `piped` is one whose sizes follow the contents."""
    file = _Pipe() if piped else io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


class _Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, place: int, whence: int = 0) -> int:
        raise OSError("a pipe")

    def tell(self) -> int:
        raise OSError("a pipe")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_image_may_have_small_things_beside_it(method: int) -> None:
    others = (("a/", b""), ("a/README.txt", README), ("__MACOSX/._os.img", b"\x00\x05\x16\x07" * 30))
    raw = archive(*others, ("a/os.img", IMAGE), ("a/os.bmap", b"<bmap/>"), method=method)
    assert unpack(raw) == IMAGE
    assert unpack(archive(("any name", IMAGE), method=method)) == IMAGE


def test_sizes_that_follow_the_content() -> None:
    raw = archive(("README", README), ("os.img", IMAGE), ("empty", b""), piped=True)
    assert b"PK\x07\x08" in raw
    assert unpack(raw) == IMAGE
    # The signature of a data descriptor is optional (APPNOTE.TXT, 4.3.9.3); the directory has then moved.
    with pytest.raises(ImageError, match="directory"):
        unpack(raw.replace(b"PK\x07\x08", b"", 1))


def test_what_is_stored_without_its_size_cannot_be_read_forward() -> None:
    with pytest.raises(ImageError, match=r"os\.img, which is stored without its size"):
        unpack(archive(("os.img", IMAGE), method=zipfile.ZIP_STORED, piped=True))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ((("a.img", IMAGE), ("b.img", IMAGE)), r"two disk images, a\.img and b\.img"),
        ((("README", README), ("notes", "x")), r"no disk image: there is only README, notes"),
        ((("os.img", b"\x1f\x8b\x08 packed"),), r"no disk image: there is only os\.img \(a gzip file\)"),
        ((), "no disk image"),
    ],
)
def test_which_is_the_image_is_clear_or_the_archive_is_refused(
    members: tuple[tuple[str, bytes | str], ...], reason: str
) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        unpack(archive(*members))
    assert caught.value.hint


def test_a_name_is_shown_without_what_a_terminal_would_take_for_a_command() -> None:
    with pytest.raises(ImageError, match=r"only a\?\[2Jb"):
        unpack(archive(("a\x1b[2Jb", README)))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(method: int) -> None:
    with pytest.raises(ImageError, match=f"packed with method {method}"):
        unpack(archive(("os.img", IMAGE), method=method))


def test_an_encrypted_member_is_refused() -> None:
    raw = bytearray(archive(("os.img", IMAGE)))
    raw[6] |= 1
    with pytest.raises(ImageError, match=r"os\.img, which is encrypted"):
        unpack(bytes(raw))


def test_what_is_beside_the_image_is_limited_in_size_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_format, "OTHER_LIMIT_BYTES", 5000)
    assert unpack(archive(("other", bytes(5000)), ("os.img", IMAGE))) == IMAGE
    with pytest.raises(ImageError, match="other, which is no disk image and has more than"):
        unpack(archive(("other", bytes(5001)), ("os.img", IMAGE)))
    many = [(f"{number}", b"") for number in range(99)]
    assert unpack(archive(*many, ("os.img", IMAGE))) == IMAGE
    with pytest.raises(ImageError, match="more than 100 members"):
        unpack(archive(*many, ("os.img", IMAGE), ("one", b"")))


# Where the fields are, from the start of each header: APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16.
LOCAL = {"method": 8, "crc": 14, "packed size": 18, "size": 22}
CENTRAL = {"method": 10, "crc": 16, "packed size": 20, "size": 24, "place": 42}
END = {"disk": 4, "entries here": 8, "entries": 10, "directory size": 12, "directory place": 16}


@pytest.mark.parametrize(
    ("signature", "offset"),
    [(b"PK\x03\x04", place) for place in LOCAL.values()]
    + [(b"PK\x01\x02", place) for place in (*CENTRAL.values(), 46)]
    + [(b"PK\x05\x06", place) for place in list(END.values())[1:]],
)
@pytest.mark.parametrize("change", [1, 0xFF])
def test_a_header_that_lies_is_noticed(signature: bytes, offset: int, change: int) -> None:
    """The member's method, checksum, sizes, place and name, and where the directory is."""
    raw = bytearray(archive(("os.img", IMAGE)))
    raw[raw.rindex(signature) + offset] ^= change
    with pytest.raises(ImageError):
        unpack(bytes(raw))


def test_a_descriptor_that_lies_is_noticed() -> None:
    raw = archive(("os.img", IMAGE), piped=True)
    start = raw.index(b"PK\x07\x08")
    for place in range(start, start + 16):
        with pytest.raises(ImageError, match="size and checksum that follow it"):
            unpack(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])


def test_a_size_is_not_exceeded_by_much_before_it_is_noticed() -> None:
    """A header that promises a small image in front of one without end."""
    raw = bytearray(archive(("os.img", IMAGE + bytes(50 * MIB))))
    raw[22:26] = (1000).to_bytes(4, "little")
    pieces = read_chunks(io.BytesIO(bytes(raw)), ZIP, MIB)
    with pytest.raises(ImageError, match="larger than its header says"):
        next(pieces)


@pytest.mark.long
def test_a_member_of_more_than_4_gib() -> None:
    """zip64. Zeros that are packed once and repeated: a full flush forgets what was before it (zlib.h, deflate)."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    first = packer.compress(IMAGE[:512] + bytes(64 * MIB - 512)) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = bytes(64 * MIB)
    again = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    count = 4 * GIB // len(zeros)
    crc = zlib.crc32(bytes(IMAGE[:512]) + zeros[512:])
    for _ in range(count):
        crc = zlib.crc32(zeros, crc)
    content = first + again * count + packer.flush()
    size = len(zeros) * (count + 1)
    head = struct.pack("<HHHHHIIIHH", 45, 0, 8, 0, 0x21, crc, 0xFFFFFFFF, 0xFFFFFFFF, 6, 20)
    sizes = struct.pack("<HHQQ", 1, 16, size, len(content))
    local = b"PK\x03\x04" + head + b"os.img" + sizes + content
    central = b"PK\x01\x02\x2d\0" + head + bytes(14) + b"os.img" + sizes
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    raw = local + central + b"PK\x05\x06" + end
    (known,) = zipfile.ZipFile(io.BytesIO(raw)).infolist()
    assert known.file_size == size > 4 * GIB
    assert sum(piece.size_bytes for piece in read_chunks(io.BytesIO(raw), ZIP, MIB)) == size
    lying = raw.replace(struct.pack("<Q", size), struct.pack("<Q", size - 4 * GIB), 1)
    with pytest.raises(ImageError, match="larger than its header says"):
        deque(read_chunks(io.BytesIO(lying), ZIP, MIB), maxlen=0)
