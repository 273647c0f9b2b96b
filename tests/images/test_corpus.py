# SPDX-License-Identifier: Apache-2.0
"""Images and file systems that others made, with sfdisk and blkid as the second opinion."""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
import random
import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.formats import magic_bytes, read_chunks, sniff_format
from balena_migrate.images.partitions import HEAD_BYTES, TableKind
from balena_migrate.images.partitions.table import read_table
from balena_migrate.images.scan import read_image
from tests.support.corpus import corpus
from tests.support.tables import reader, rows, with_right_sums

pytestmark = pytest.mark.processes


def unpack(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(raw)
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


def tables() -> list[Path]:
    folder = corpus("disk-images")
    found = [*folder.glob("util-linux*/**/images-pt/*.xz"), *folder.glob("coreos*/fixtures/*.xz")]
    return sorted([*found, *folder.glob("balena-os*/**/*.gz"), *folder.glob("npm*/*.gz")])


def sfdisk_rows(path: Path) -> list[tuple[int, int, int, str]] | None:
    """As sfdisk sees it; None where that is neither an MBR nor GPT."""
    done = subprocess.run(["sfdisk", "--json", path], capture_output=True, text=True)
    if done.returncode:
        return None
    table = json.loads(done.stdout)["partitiontable"]
    if table["label"] not in ("dos", "gpt"):
        return None
    return [
        (int(p["node"].removeprefix(str(path))), p["start"], p["size"], p["type"].zfill(2)) for p in table["partitions"]
    ]


def test_partition_tables_are_as_sfdisk_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "disk-"
    compared = 0
    for source in tables():
        raw = unpack(source)
        path.write_bytes(raw)
        expected = sfdisk_rows(path)
        if expected is None:
            with pytest.raises(ImageError):
                read_table(reader(raw))
        elif source.name != "gpt-4096.xz":  # sfdisk takes that for a disk with sectors of 512 bytes
            assert rows(read_table(reader(raw))) == expected, source.name
            compared += 1
    assert compared >= 7


def test_a_gpt_with_sectors_of_4096_bytes() -> None:
    raw = unpack(corpus("disk-images") / "coreos+coreos-installer/fixtures/gpt-4096.xz")
    table = read_table(reader(raw))
    assert (table.kind, table.sector_bytes) == (TableKind.GPT, 4096)
    assert table.partitions
    assert all(p.end_bytes <= len(raw) for p in table.partitions)


def test_the_mbr_of_a_real_device_without_the_rest_of_it() -> None:
    raw = (corpus("disk-images") / "balena-io-modules+partitioninfo/tests/mbr/rpi.data").read_bytes()
    with pytest.raises(ImageError, match="extended boot record at byte 394264576 is damaged or missing"):
        read_table(reader(raw))


def test_every_file_is_an_image_or_an_image_error(tmp_path: Path) -> None:
    refused = 0
    for source in sorted(path for path in corpus("disk-images").rglob("*") if path.is_file()):
        try:
            read_image(source, tmp_path, lambda done, total: None)
        except ImageError as error:
            assert str(source) in str(error)
            refused += 1
    assert refused


@pytest.mark.long
@pytest.mark.parametrize(("ending", "name"), [("xz", "xz"), ("gz", "gzip")])
def test_files_that_others_packed_are_known_by_their_content_and_unpacked(ending: str, name: str) -> None:
    sources = sorted(corpus("disk-images").rglob(f"*.{ending}"))
    assert sources
    for source in sources:
        with source.open("rb") as file:
            known = sniff_format(file.read(magic_bytes()))
            file.seek(0)
            content = b"".join(piece.data for piece in read_chunks(file, known, MIB))
        assert known.name == name
        assert content == unpack(source), source


def blkid(path: Path, tag: str) -> str:
    done = subprocess.run(["blkid", "-p", "-o", "value", "-s", tag, path], capture_output=True)
    return done.stdout.decode("cp437").rstrip("\n")


def test_labels_are_as_blkid_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "fs"
    labels = set()
    for source in sorted(corpus("disk-images").glob("util-linux*/**/images-fs/*.xz")):
        raw = unpack(source)
        path.write_bytes(raw)
        if blkid(path, "VERSION") not in ("FAT16", "FAT32"):
            with pytest.raises(ImageError):
                Fat(reader(raw))
            continue
        fat = Fat(reader(raw))
        assert fat.label == (blkid(path, "LABEL") or blkid(path, "LABEL_FATBOOT")), source.name
        labels.add(fat.label)
    assert len(labels) > 2


def test_damaged_tables_that_others_made_end_in_a_table_or_an_image_error() -> None:
    chance, read = random.Random(4), 0
    for source in tables():
        raw = unpack(source)[:HEAD_BYTES]
        places = (16, 66, 512 + 92, 1024 + 512, 4096 + 92, len(raw))
        for _ in range(40):
            damaged = bytearray(raw)
            for _ in range(chance.randrange(1, 6)):
                damaged[chance.randrange(min(chance.choice(places), len(raw)))] = chance.randrange(256)
            start = 446 if chance.randrange(2) else 510
            damaged[start : start + 16] = raw[start : start + 16]
            with contextlib.suppress(ImageError):
                read += read_table(reader(with_right_sums(damaged))) is not None
    assert read
