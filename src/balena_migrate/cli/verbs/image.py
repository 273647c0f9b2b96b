# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate image inspect`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import rich_click as click

from balena_migrate.cli.options import json_option
from balena_migrate.cli.output import print_json, progress
from balena_migrate.cli.sections import format_sections, image_sections
from balena_migrate.images import Identity, Image
from balena_migrate.images.partitions import Partition, PartitionTable


@dataclass(frozen=True, kw_only=True)
class ImageOutput:
    """What an image is."""

    path: str
    compression: str
    """How the file is packed."""
    file_bytes: int
    sha256: str
    """Of the file as it is."""
    size_bytes: int
    """On the disk."""
    table: PartitionTable
    boot: Partition
    data: Partition
    identity: Identity
    format: int = 1


DOCUMENT = ImageOutput


@click.group()
def image() -> None:
    """Inspect a balenaOS image."""


@image.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Read an image to its last byte and print what it is."""
    from balena_migrate.images.scan import read_image

    with tempfile.TemporaryDirectory(prefix="balena-migrate-", dir="/var/tmp") as folder, progress("image") as report:
        found = read_image(file, Path(folder), report)
    if as_json:
        print_json(output_of(found))
    else:
        click.echo(format_sections(image_sections(found)))


def output_of(found: Image) -> ImageOutput:
    """The image for a machine."""
    return ImageOutput(
        path=str(found.path),
        compression=found.format,
        file_bytes=found.file_bytes,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        table=found.table,
        boot=found.boot,
        data=found.data,
        identity=found.identity,
    )
