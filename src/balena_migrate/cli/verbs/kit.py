# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate kit build` and `balena-migrate kit list`, on a workstation."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.core.errors import UsageError
from balena_migrate.core.kit import Kit, find_kit_in
from balena_migrate.core.units import MIB
from balena_migrate.workstation.kit.archive import packed_size_bytes, size_bytes, write_archive

INSTALL = "install balena-migrate[lab] there"

output_option = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("dist"),
    show_default=True,
    help="The folder that holds the kits.",
)


@click.group()
def kit() -> None:
    """Build the kits that run on devices.

    A kit holds everything that a device needs, as a folder, as an archive, and as one file that unpacks itself.
    """


@kit.command("build")
@click.option(
    "--architecture",
    "architectures",
    multiple=True,
    type=click.Choice([architecture.value for architecture in Architecture]),
    help="Build for this architecture only; repeat the option for several.",
)
@click.option(
    "--self-extracting",
    is_flag=True,
    help="Also write each kit as one .run file, for `sh FILE.run check` on a device.",
)
@output_option
def build_command(architectures: tuple[str, ...], self_extracting: bool, output: Path) -> None:
    """Build kits as folders and as .tar.gz files."""
    try:  # a device has the kit but not what builds it
        from balena_migrate.workstation.cache import cache_folder
        from balena_migrate.workstation.kit.build import build_kit
        from balena_migrate.workstation.kit.self_extracting import write_self_extracting
    except ModuleNotFoundError as error:
        raise UsageError(f"kits are built on a workstation: {error.name} is missing here", hint=INSTALL) from None

    output.mkdir(parents=True, exist_ok=True)
    for architecture in architectures or tuple(Architecture):
        built = build_kit(architecture, kit_folder(output, architecture), cache_folder(), click.echo)
        archive = built.path.with_suffix(".tar.gz")
        with archive.open("wb") as stream:
            write_archive(built.path, stream, built.path.name)
        if self_extracting:
            write_self_extracting(built, archive, built.path.with_suffix(".run"))
        click.echo(describe(built, archive))


@kit.command("list")
@output_option
def list_command(output: Path) -> None:
    """Print the architectures, their machines, and which kits are built."""
    for architecture, platform in PLATFORMS.items():
        found = find_kit_in(kit_folder(output, architecture))
        state = "not built" if found is None else str(found.path)
        click.echo(f"{architecture:6} {', '.join(platform.machines):24} {state}")


def kit_folder(output: Path, architecture: str) -> Path:
    return output / f"balena-migrate-{architecture}"


def describe(kit: Kit, archive: Path) -> str:
    """The sizes of a kit and of the part that goes into the initramfs, plain and packed."""
    return (
        f"{kit.architecture:6} {_mib(size_bytes(kit.path))}, packed {_mib(archive.stat().st_size)};"
        f" base {_mib(size_bytes(kit.base))}, packed {_mib(packed_size_bytes(kit.base))}"
    )


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
