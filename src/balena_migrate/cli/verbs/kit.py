# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate kit build` and `kit list` on a workstation, and `kit verify` on a device, too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rich_click as click

from balena_migrate.cli.options import json_option
from balena_migrate.cli.output import print_json, printable, say
from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.core.errors import ExitStatus, UsageError
from balena_migrate.core.kit import SUMS_FILE, Kit, find_kit, find_kit_in
from balena_migrate.core.kit_sums import Comparison, check_folder
from balena_migrate.core.signature import check_signature, sign, signature_of
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB, in_mib

INSTALL = "install balena-migrate[lab] there"


@dataclass(frozen=True, kw_only=True)
class VerifyOutput:
    """What `kit verify` compared; the exit status is 3 where something is wrong."""

    path: str
    intact: bool
    """Whether every file of the list is there as it was when the kit was made, and no other."""
    signed: bool
    """Whether a key of the file that --key names has signed it; false where none was named."""
    files: int
    size_bytes: int
    faults: tuple[str, ...]
    """What is wrong: a file, and what of it."""
    format: int = 1


DOCUMENT = VerifyOutput

output_option = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("dist"),
    show_default=True,
    help="The folder that holds the kits.",
)


@click.group()
def kit() -> None:
    """Build the kits that run on devices, and verify them.

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
@click.option("--sign-with", metavar="KEY", help="Sign each kit, in each form, with this key of GnuPG's: FORM.sig.")
@output_option
def build_command(architectures: tuple[str, ...], self_extracting: bool, sign_with: str | None, output: Path) -> None:
    """Build kits as folders and as .tar.gz files."""
    with on_workstation():
        from balena_migrate.workstation.cache import cache_folder
        from balena_migrate.workstation.kit.archive import write_archive
        from balena_migrate.workstation.kit.build import build_kit
        from balena_migrate.workstation.kit.self_extracting import write_self_extracting

    output.mkdir(parents=True, exist_ok=True)
    for architecture in architectures or tuple(Architecture):
        built = build_kit(architecture, kit_folder(output, architecture), cache_folder(), click.echo)
        sign_if_asked(built.path / SUMS_FILE, sign_with)
        archive = built.path.with_suffix(".tar.gz")
        with archive.open("wb") as stream:
            write_archive(built.path, stream, built.path.name)
        sign_if_asked(archive, sign_with)
        if self_extracting:
            write_self_extracting(built, archive, built.path.with_suffix(".run"))
            sign_if_asked(built.path.with_suffix(".run"), sign_with)
        click.echo(describe(built, archive))


@kit.command("list")
@output_option
def list_command(output: Path) -> None:
    """Print the architectures, their machines, and which kits are built."""
    for architecture, platform in PLATFORMS.items():
        found = find_kit_in(kit_folder(output, architecture))
        state = "not built" if found is None else str(found.path)
        click.echo(f"{architecture:6} {', '.join(platform.machines):24} {state}")


@kit.command("verify")
@click.argument("path", metavar="[KIT]", type=click.Path(exists=True, path_type=Path), required=False)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with public keys, as `gpg --export` writes it: one of them must have signed the kit.",
)
@json_option
def verify_command(path: Path | None, key: Path | None, as_json: bool) -> None:
    """Compare a kit with the list of its files.

    KIT is a folder, a .tar.gz or a .run file; without it, the kit that this command runs from. Every file must be
    there as it was when the kit was made, and no other.
    """
    path = path or own_kit()
    if key:
        check_signature(System(), path / SUMS_FILE if path.is_dir() else path, key)
    found = compared(path)
    if as_json:
        print_json(verify_output(path, found, signed=key is not None))
    else:
        signed = f", and a key of {key} has signed it" if key else ""
        intact = f"{path}: {found.files} files with {in_mib(found.size_bytes)} are as they were made{signed}"
        click.echo("\n".join(map(printable, found.faults or (intact,))))
    if found.faults:
        wrong = f"{len(found.faults)} of {found.files} files are not as they were made"
        say(f"error: {path}: {wrong} (copy the kit again, or build it again)")
        raise SystemExit(ExitStatus.FAILED)


def verify_output(path: Path, found: Comparison, *, signed: bool) -> VerifyOutput:
    """The comparison for a machine."""
    return VerifyOutput(
        path=str(path),
        intact=not found.faults,
        signed=signed,
        files=found.files,
        size_bytes=found.size_bytes,
        faults=found.faults,
    )


def own_kit() -> Path:
    """The kit that we run from. Raises UsageError where there is none."""
    found = find_kit()
    if found is None:
        raise UsageError("this command does not run from a kit", hint="name a kit: balena-migrate kit verify KIT")
    return found.path


def compared(path: Path) -> Comparison:
    """The kit beside its list. Raises FileError for what is no kit."""
    if path.is_dir():
        return check_folder(path)
    with on_workstation():
        from balena_migrate.workstation.kit.unpacked import check_archive
    return check_archive(path)


@contextlib.contextmanager
def on_workstation() -> Iterator[None]:
    """Imports what only a workstation has. Raises UsageError on a device, which has the kit but not what builds it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"this runs on a workstation: {error.name} is missing here", hint=INSTALL) from None


def sign_if_asked(file: Path, key: str | None) -> None:
    """The file has a signature beside it, where a key is named; else none, not even that of an earlier file."""
    if key:
        sign(System(), file, key)
    else:
        signature_of(file).unlink(missing_ok=True)


def kit_folder(output: Path, architecture: str) -> Path:
    return output / f"balena-migrate-{architecture}"


def describe(kit: Kit, archive: Path) -> str:
    """The sizes of a kit and of the part that goes into the initramfs, plain and packed."""
    from balena_migrate.workstation.kit.archive import packed_size_bytes, size_bytes

    return (
        f"{kit.architecture:6} {_mib(size_bytes(kit.path))}, packed {_mib(archive.stat().st_size)};"
        f" base {_mib(size_bytes(kit.base))}, packed {_mib(packed_size_bytes(kit.base))}"
    )


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
