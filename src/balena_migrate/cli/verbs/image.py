# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate image inspect` and `image extract`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rich_click as click

from balena_migrate.cli.options import device_system, json_option
from balena_migrate.cli.output import print_json, progress
from balena_migrate.cli.sections import format_sections, image_sections
from balena_migrate.core.errors import UsageError
from balena_migrate.images import Identity, Image
from balena_migrate.images.partitions import Partition, PartitionTable


@dataclass(frozen=True, kw_only=True)
class ImageOutput:
    """What an image is; for `image extract`, the one that was taken out."""

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
    """Inspect a balenaOS image, or take it out of a flasher image."""


@image.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Read an image to its last byte and print what it is."""
    from balena_migrate.images.scan import read_image

    with work_folder() as folder, progress("image") as report:
        show(read_image(file, folder, report), as_json=as_json)


@image.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@json_option
def extract(file: Path, output: Path, as_json: bool) -> None:
    """Take the system image out of a flasher image and print what it is.

    OUTPUT is the new file, packed with gzip, such as os.img.gz. Nothing else is written to the disk but copies of the
    boot partitions, which are removed in the end.
    """
    from balena_migrate.images.flasher import extract as write_image
    from balena_migrate.images.flasher import read_system_image
    from balena_migrate.images.scan import read_image

    if output.exists():
        raise UsageError(f"{output} already exists", hint="name a new file")
    system = device_system()
    with work_folder() as folder:
        with progress("flasher image") as report:
            found = read_image(file, folder, report)
        with progress("system image") as report:
            inside = read_system_image(found, output, folder, system, report)
        with progress(f"writing {output.name}") as report, system.replacing(output.absolute(), mode=0o600) as target:
            write_image(inside, target, report)
        with progress("reading it back") as report:
            show(read_image(output, folder, report), as_json=as_json)


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory(prefix="balena-migrate-", dir="/var/tmp") as folder:
        yield Path(folder)


def show(found: Image, *, as_json: bool) -> None:
    """Print what an image is."""
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
