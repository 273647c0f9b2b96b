# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate image inspect`, `image prepare` and `image extract`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rich_click as click

from balena_migrate.cli.options import device_system, json_option
from balena_migrate.cli.output import print_json, progress
from balena_migrate.cli.scratch import scratch_folder
from balena_migrate.cli.sections import boots_with, format_sections, image_sections
from balena_migrate.core.errors import UsageError
from balena_migrate.images import Identity, Image
from balena_migrate.images.bmap import bmap_name
from balena_migrate.images.partitions import Partition, PartitionTable
from balena_migrate.images.window import EMMC, SD_CARD, SSD, expected_window


@dataclass(frozen=True, kw_only=True)
class ImageOutput:
    """What an image is; for `image extract`, the one that was taken out; for `image prepare`, the new one."""

    path: str
    compression: str
    """How the file is packed."""
    file_bytes: int
    sha256: str
    """Of the file as it is."""
    size_bytes: int
    """On the disk."""
    write_bytes: int
    """What of it is written: all but what is free in its own file systems."""
    bmap: str
    """The name of the bmap beside the file, with which it was compared; empty if there is none."""
    firmware: tuple[str, ...]
    """The kinds of firmware that can start it, for people."""
    memory_bytes: int
    """What stage 2 needs, besides its initramfs, the backup and the kernel's own."""
    windows_s: dict[str, float]
    """By kind of medium, the seconds that writing it and reading it back are expected to take."""
    table: PartitionTable
    boot: Partition
    data: Partition
    identity: Identity
    format: int = 1


DOCUMENT = ImageOutput


@click.group()
def image() -> None:
    """Inspect a balenaOS image, or make another form of it."""


@image.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Read an image to its last byte and print what it is."""
    from balena_migrate.images.scan import read_image

    with scratch_folder() as folder, progress("image") as report:
        show(read_image(file, folder, report), as_json=as_json)


@image.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path), required=False)
@json_option
def prepare(file: Path, output: Path | None, as_json: bool) -> None:
    """Make the smallest and fastest form of an image, and print what it is.

    That is zstd, with zeros where the image's file systems are free, and a bmap beside it, for bmaptool and to check
    downloads. Without OUTPUT it is FILE with .zst in place of its ending. Both files are read back and compared.
    """
    from balena_migrate.images.prepare import prepare as write_image
    from balena_migrate.images.prepare import prepared_name
    from balena_migrate.images.scan import read_image

    output = (output or file.with_name(prepared_name(file.name))).absolute()
    bmap = output.with_name(bmap_name(output.name))
    for path in (output, bmap):
        if path.exists():
            raise UsageError(f"{path} already exists", hint="name a new file as OUTPUT")
    system = device_system()
    with scratch_folder() as folder:
        with progress("image") as report:
            found = read_image(file, folder, report)
        with removed_on_error(output, bmap):
            with progress(f"writing {output.name}") as report, system.replacing(output, mode=0o600) as target:
                system.write_file(bmap, write_image(found, target, report), mode=0o600)
            with progress("reading it back") as report:
                show(read_image(output, folder, report), as_json=as_json)


@contextlib.contextmanager
def removed_on_error(*paths: Path) -> Iterator[None]:
    """These files are removed where the block fails."""
    try:
        yield
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise


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
    with scratch_folder() as folder:
        with progress("flasher image") as report:
            found = read_image(file, folder, report)
        with progress("system image") as report:
            inside = read_system_image(found, output, folder, system, report)
        with progress(f"writing {output.name}") as report, system.replacing(output.absolute(), mode=0o600) as target:
            write_image(inside, target, report)
        with progress("reading it back") as report:
            show(read_image(output, folder, report), as_json=as_json)


def show(found: Image, *, as_json: bool) -> None:
    """Print what an image is."""
    if as_json:
        print_json(output_of(found))
    else:
        click.echo(format_sections(image_sections(found)))


def output_of(found: Image) -> ImageOutput:
    """The image for a machine."""
    from balena_migrate.strategies.default import image_parts

    return ImageOutput(
        path=str(found.path),
        compression=found.format,
        file_bytes=found.file_bytes,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        write_bytes=found.write_bytes,
        bmap=found.bmap,
        firmware=tuple(boots_with(found.identity)),
        memory_bytes=sum(size for _, size in image_parts(found)),
        windows_s={medium.name: expected_window(medium, found.write_bytes)[0] for medium in (SD_CARD, EMMC, SSD)},
        table=found.table,
        boot=found.boot,
        data=found.data,
        identity=found.identity,
    )
