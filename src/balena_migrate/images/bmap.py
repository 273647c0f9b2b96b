# SPDX-License-Identifier: Apache-2.0
"""Block maps as bmaptool has them: an XML file that lies beside an image, with a checksum for each range in use.

Such a map says whether a download is what its maker had. It never decides what is written: it may be of another
image, or call blocks unused that a file system uses (bmap-tools' issues 75 and 128).

The format is version 2.0 (bmap-tools, BmapCreate.py); its checksum is of the file with zeros in the checksum's place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from balena_migrate.core.block_map import Range
from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images.pieces import Piece

if TYPE_CHECKING:
    from hashlib import _Hash

SUFFIX = ".bmap"
BLOCK_BYTES = 4096
FILE_LIMIT_BYTES = 16 * MIB
"""A map of 2 TiB in pieces of 4 MiB has 50 MB; that of an image has some ten KiB."""

SHA256_DIGITS = 64

_ALGORITHMS = ("sha256", "sha1")
_USELESS = "remove it, or fetch it again together with its image"


@dataclass(frozen=True, kw_only=True)
class CheckedRange:
    """A part of the image, and the checksum of its bytes in hexadecimal digits."""

    range: Range
    checksum: str


class Checksums:
    """The checksums of these ranges of an image, which are in order, by its pieces, which come one after another."""

    def __init__(self, ranges: Iterable[Range], algorithm: str) -> None:
        self._left = list(ranges)[::-1]
        self._algorithm = algorithm
        self._digest = self._new()

    @property
    def is_done(self) -> bool:
        """Whether all ranges have passed."""
        return not self._left

    def take(self, piece: Piece) -> list[CheckedRange]:
        """Look at the next piece; gives the ranges that end in it."""
        found: list[CheckedRange] = []
        while self._left and self._left[-1].start_bytes < piece.end_bytes:
            here = self._left[-1]
            part = piece.part(here.start_bytes, here.end_bytes)
            self._digest.update(part.data if part else b"")
            if here.end_bytes > piece.end_bytes:
                break
            found.append(CheckedRange(range=self._left.pop(), checksum=self._digest.hexdigest()))
            self._digest = self._new()
        return found

    def _new(self) -> _Hash:
        return hashlib.new(self._algorithm, usedforsecurity=False)


@dataclass(frozen=True, kw_only=True)
class Bmap:
    """A block map with checksums. Its ranges are in order."""

    name: str
    """Of its file."""
    size_bytes: int
    """Of the image."""
    algorithm: str
    """By the name that hashlib has for it."""
    ranges: tuple[CheckedRange, ...]

    def checked(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The same pieces, which are without gaps. Raises ImageError, at the latest behind the last one, where the
        image differs from what the map says of it."""
        checksums, end = Checksums((part.range for part in self.ranges), self.algorithm), 0
        wanted = iter(self.ranges)
        for piece in pieces:
            end = piece.end_bytes
            for found in checksums.take(piece):
                if found != next(wanted):
                    place = f"from byte {found.range.start_bytes} to {found.range.end_bytes}"
                    raise self._error(f"differs {place} from what its block map {self.name} says")
            yield piece
        if end != self.size_bytes or not checksums.is_done:
            raise self._error(f"has {end} bytes, and {self.size_bytes} by its block map {self.name}")

    def _error(self, reason: str) -> ImageError:
        return ImageError(reason, hint=f"download the image and {self.name} again; without the map it is not compared")


def bmap_name(name: str) -> str:
    """The name of the bmap of an image's file."""
    return name + SUFFIX


def find_bmap(image: Path) -> Path | None:
    """The block map beside an image file, under the names that bmaptool looks for: image.img.gz.bmap, image.img.bmap
    or image.bmap."""
    names, stem = [image.name], image.name
    while (shorter := stem.rpartition(".")[0]) and len(names) < 3:
        names.append(shorter)
        stem = shorter
    found = (image.with_name(bmap_name(name)) for name in names)
    return next((path for path in found if path.is_file()), None)


def read_bmap(path: Path) -> Bmap:
    """The block map in a file. Raises ImageError as parse_bmap does, OSError as open() does."""
    with path.open("rb") as file:
        return parse_bmap(file.read(FILE_LIMIT_BYTES + 1), path.name)


def parse_bmap(content: bytes, name: str) -> Bmap:
    """The block map with this content and name. Raises ImageError if it is damaged, or has no checksums."""
    try:
        if len(content) > FILE_LIMIT_BYTES:
            raise ValueError(f"it has more than {FILE_LIMIT_BYTES} bytes")
        return _parse(content, name)
    except (ValueError, LookupError, ElementTree.ParseError) as error:
        reason = f"has a block map beside it that cannot be used, {name}: {error}"
        raise ImageError(reason, hint=_USELESS) from None


def _parse(content: bytes, name: str) -> Bmap:
    if b"<!DOCTYPE" in content:
        raise ValueError("it has a document type, which no block map has")  # and entities, which may explode
    root = ElementTree.fromstring(content)
    version = root.get("version", "")
    if root.tag != "bmap" or version not in ("1.3", "1.4", "2.0"):
        raise ValueError(f"its version is {version or 'unknown'}; with checksums are 1.3, 1.4 and 2.0")
    algorithm = _text(root, "ChecksumType") if version != "1.3" else "sha1"
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"its checksums are {algorithm}, which is unknown here")
    _check_file(content, _text(root, "BmapFileChecksum" if version != "1.3" else "BmapFileSHA1"), algorithm)
    size_bytes, block_bytes = int(_text(root, "ImageSize")), int(_text(root, "BlockSize"))
    if size_bytes < 0 or block_bytes <= 0:
        raise ValueError("its sizes are impossible")
    attribute = "chksum" if version != "1.3" else "sha1"
    ranges = tuple(_range(item, attribute, block_bytes, size_bytes) for item in root.findall("./BlockMap/Range"))
    ends = [0, *(item.range.end_bytes for item in ranges)]
    if any(item.range.start_bytes < end for item, end in zip(ranges, ends, strict=False)):
        raise ValueError("its ranges are not in order")
    return Bmap(name=name, size_bytes=size_bytes, algorithm=algorithm, ranges=ranges)


def _text(root: ElementTree.Element, tag: str) -> str:
    found = root.findtext(tag)
    if found is None:
        raise ValueError(f"it has no {tag}")
    return found.strip()


def _check_file(content: bytes, checksum: str, algorithm: str) -> None:
    blank = content.replace(checksum.encode(), b"0" * len(checksum), 1)
    if not checksum or hashlib.new(algorithm, blank, usedforsecurity=False).hexdigest() != checksum:
        raise ValueError("its own checksum is wrong")


def _range(item: ElementTree.Element, attribute: str, block_bytes: int, size_bytes: int) -> CheckedRange:
    first, _, last = (item.text or "").strip().partition("-")
    start_bytes = int(first) * block_bytes
    end_bytes = min((int(last or first) + 1) * block_bytes, size_bytes)
    if not 0 <= start_bytes < end_bytes:
        raise ValueError(f"its range {first}-{last} is not in the image")
    return CheckedRange(range=Range(start_bytes, end_bytes), checksum=item.get(attribute, "").lower())


# Writing ------------------------------------------------------------------------------------------------------------


def dump_bmap(size_bytes: int, ranges: Sequence[CheckedRange]) -> bytes:
    """The content of a block map of version 2.0, with the SHA-256 of ranges that begin at multiples of BLOCK_BYTES."""
    numbers = [(part.range.start_bytes // BLOCK_BYTES, -(-part.range.end_bytes // BLOCK_BYTES) - 1) for part in ranges]
    root = ElementTree.Element("bmap", version="2.0")
    blank = "0" * SHA256_DIGITS
    heads = {
        "ImageSize": size_bytes,
        "BlockSize": BLOCK_BYTES,
        "BlocksCount": -(-size_bytes // BLOCK_BYTES),
        "MappedBlocksCount": sum(last - first + 1 for first, last in numbers),
        "ChecksumType": "sha256",
        "BmapFileChecksum": blank,
    }
    for tag, value in heads.items():
        ElementTree.SubElement(root, tag).text = str(value)
    block_map = ElementTree.SubElement(root, "BlockMap")
    for (first, last), part in zip(numbers, ranges, strict=True):
        text = str(first) if first == last else f"{first}-{last}"
        ElementTree.SubElement(block_map, "Range", chksum=part.checksum).text = text
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, xml_declaration=True, encoding="utf-8") + b"\n"
    return content.replace(blank.encode(), hashlib.sha256(content).hexdigest().encode(), 1)
