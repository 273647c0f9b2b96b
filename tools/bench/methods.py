# SPDX-License-Identifier: Apache-2.0
"""Who writes the image: our engine, and what others use for it. Each with what the disk holds afterwards."""

from __future__ import annotations

import json
import xml.etree.ElementTree
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.block_map import Range
from balena_migrate.core.errors import CommandError, ImageError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.core.values import to_json
from balena_migrate.images.formats import magic_bytes, read_chunks, sniff_format
from bench import flash
from bench.image import BenchImage
from bench.process import Pipeline, Usage
from bench.target import Target

DD, BMAPTOOL, ETCHER = "gzip | dd", "bmaptool", "etcher-like"
SHIPPED, PREPARED = "ours, as shipped", "ours, prepared"

ETCHER_SCRIPT = """set -e
gzip -dc "$1" | dd of="$2" bs=4M conv=fsync status=none
dd if="$2" bs=4M iflag=direct status=none | { gzip -dc "$1" | cmp - /dev/fd/3; } 3<&0"""
"""What balenaEtcher does, with faster programs: all is written, and all is read back and compared. The second `gzip`
takes the place of its digest of what it wrote. cmp ends early, and so fails, where one of its sides ends early."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one run took; `write_s` is the time until all was written, before the read-back ended."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    write_s: float


@dataclass(frozen=True, kw_only=True)
class Method:
    """`ranges` has to be on the disk afterwards as it is in the image."""

    name: str
    write: Callable[[Target], Trial]
    ranges: tuple[Range, ...]


def all_methods(image: BenchImage, work: Path) -> Iterator[Method]:
    """All methods that work here; `work` is for files of theirs."""
    everything = (Range(0, image.size_bytes),)
    mapped = bmap_ranges(image.bmap.read_text(), image.size_bytes)
    yield Method(name=DD, write=lambda target: _run(target, dd(image, target)), ranges=everything)
    yield Method(name=BMAPTOOL, write=lambda target: _run(target, bmaptool(image.packed, image, target)), ranges=mapped)
    yield Method(
        name=f"{BMAPTOOL}, .zst",
        write=lambda target: _run(target, bmaptool(image.prepared, image, target)),
        ranges=mapped,
    )
    yield Method(name=ETCHER, write=lambda target: _run(target, etcher(image, target)), ranges=everything)
    handed = work / "handed.json"
    handed.write_text(json.dumps(to_json(flash.Handed(size_bytes=image.size_bytes, block_map=image.block_map))))
    for name, form in ((SHIPPED, image.packed), (PREPARED, image.prepared)):
        if _is_supported(form):
            yield Method(name=name, write=ours(form, handed), ranges=image.used)


def _is_supported(form: Path) -> bool:
    """Whether the image's format can be read by this version, with this Python."""
    try:
        with form.open("rb") as source:
            packed = sniff_format(source.read(magic_bytes()))
            source.seek(0)
            next(read_chunks(source, packed, 1))
    except ImageError:
        return False
    return True


def _run(target: Target, pipeline: Pipeline) -> Trial:
    usage = target.run(pipeline)
    return _trial(usage, usage.wall_s)


# What they run ------------------------------------------------------------------------------------------------------


def dd(image: BenchImage, target: Target) -> Pipeline:
    return [["gzip", "-dc", image.packed], ["dd", f"of={target.device}", "bs=4M", "conv=fsync", "status=none"]]


def bmaptool(form: Path, image: BenchImage, target: Target) -> Pipeline:
    return [["bmaptool", "--quiet", "copy", "--bmap", image.bmap, form, target.device]]


def etcher(image: BenchImage, target: Target) -> Pipeline:
    return [["sh", "-c", ETCHER_SCRIPT, "sh", image.packed, target.device]]


def ours(form: Path, handed: Path) -> Callable[[Target], Trial]:
    def write(target: Target) -> Trial:
        usage = target.run([[target.python, flash.__file__, form, target.device, handed]])
        result = json.loads(usage.output)
        if not result["reads_directly"]:
            raise SystemExit("bench: ours read back through the page cache: O_DIRECT was refused")
        return _trial(usage, result["write_s"])

    return write


def _trial(usage: Usage, write_s: float) -> Trial:
    return Trial(wall_s=usage.wall_s, cpu_s=usage.cpu_s, peak_bytes=usage.peak_bytes, write_s=write_s)


# What is right ------------------------------------------------------------------------------------------------------


def bmap_ranges(text: str, size_bytes: int) -> tuple[Range, ...]:
    """The ranges that a block map of version 2.0 names: "0-15", or "7", in blocks."""
    root = xml.etree.ElementTree.fromstring(text)
    block_bytes = int(root.findtext("BlockSize") or 0)
    found = []
    for element in root.iter("Range"):
        first, _, last = (element.text or "").strip().partition("-")
        end = (int(last or first) + 1) * block_bytes
        found.append(Range(int(first) * block_bytes, min(end, size_bytes)))
    return tuple(found)


def check(method: Method, image: BenchImage, target: Target) -> None:
    """The disk holds what the method had to write, and its file systems are in order. Raises SystemExit otherwise: a
    fast wrong one is not compared."""
    target.flush()
    wrong = first_difference(image.raw, target.file, method.ranges)
    if wrong is not None:
        raise SystemExit(f"bench: {method.name} did not write the image: byte {wrong} is wrong")
    for start in image.starts:
        try:
            System().run(["e2fsck", "-fn", f"{target.file}?offset={start}"])
        except CommandError as error:
            raise SystemExit(f"bench: {method.name} left a damaged file system at byte {start}: {error}") from None


def first_difference(one: Path, other: Path, ranges: Iterable[Range]) -> int | None:
    """Where the two files differ first within the ranges, to a block of 1 MiB."""
    with one.open("rb") as left, other.open("rb") as right:
        for part in ranges:
            for start in range(part.start_bytes, part.end_bytes, MIB):
                length = min(MIB, part.end_bytes - start)
                left.seek(start)
                right.seek(start)
                if left.read(length) != right.read(length):
                    return start
    return None
