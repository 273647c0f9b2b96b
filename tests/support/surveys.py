# SPDX-License-Identifier: Apache-2.0
"""Surveys of devices that do not exist, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from balena_migrate.carried.backup import BackupPlan
from balena_migrate.core.architectures import Architecture
from balena_migrate.core.kit import Kit
from balena_migrate.core.progress import Report
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.facts import Facts
from balena_migrate.images import Identity, Image, ImageKind, Inside
from balena_migrate.images.efi_program import X86_64
from balena_migrate.images.partitions import Partition, PartitionTable, TableKind
from balena_migrate.images.patches import Patches
from balena_migrate.initramfs import initramfs_tools
from balena_migrate.settings import Config
from balena_migrate.stage1 import Stage1
from balena_migrate.survey import Accepted, Payload, Survey, survey_needs
from tests.support.facts import pc_facts

BOOT = Partition(number=1, start_bytes=4 * MIB, size_bytes=40 * MIB, type="0e", bootable=True)
DATA = Partition(number=6, start_bytes=712 * MIB, size_bytes=196 * MIB, type="83")
KIT = Kit(path=Path("/none"), architecture=Architecture.AMD64)


def some_image(
    *, slug: str = "intel-nuc", name: str = "balena-cloud-x-intel-nuc-2.82.11.img.gz", **identity: Any
) -> Image:
    values = {
        "kind": ImageKind.RAW,
        "label": "resin-boot",
        "slug": slug,
        "aliases": (),
        "arch": "aarch64" if slug.startswith("raspberry") else "amd64",
        "machine": "genericx86-64",
        "os_version": "2.82.11+rev1",
        "files": ("EFI/BOOT/bootx64.efi", "config.json", "grub/grub.cfg"),
        "has_bios_boot_code": True,
        "efi_machine": X86_64,
    }
    return Image(
        path=Path("/root") / name,
        format="gzip",
        file_bytes=100 * MIB,
        sha256="00",
        size_bytes=908 * MIB,
        table=PartitionTable(kind=TableKind.DOS, id="1", partitions=(BOOT, DATA)),
        boot=BOOT,
        start_file=Path("/none"),
        identity=Identity(**{**values, **identity}),
    )


def image_inside(folder: Path = Path("/root"), **more: Any) -> Image:
    """An image that is still inside of a flasher image; `more` are fields of Inside."""
    values = {
        "flasher": folder / "flasher.img.gz",
        "flasher_bytes": 1024 * MIB,
        "size_bytes": 908 * MIB,
        "runs": (),
        "sha256": "00",
        "patches": Patches(size_bytes=908 * MIB, blocks=()),
        **more,
    }
    return replace(some_image(), path=folder / "extracted-flasher.img.gz", inside=Inside(**values))


def some_backup(*, expected_bytes: int = 0) -> BackupPlan:
    """A plain backup of that size."""
    return BackupPlan(
        name="backup.tgz", name_on_data="migration-backup.tgz", left_out={}, expected_bytes=expected_bytes
    )


def some_survey(facts: Facts | None = None, config: Config | None = None, **more: Any) -> Survey:
    """A PC of whose survey all is well, and which makes its initramfs itself; `more` are fields of Survey."""
    config, facts = config or Config(), facts or pc_facts()
    values = {
        "image": some_image(),
        "kit": KIT,
        "kit_base_bytes": 20 * MIB,
        "initramfs": initramfs_tools.BUILDER.find(System("/none"), survey_needs(config, facts)),
        "work_dir": Path("/none"),
        **more,
    }
    return Survey(config=config, facts=facts, **values)


def carrying(facts: Facts | None = None, config: Config | None = None, **payload: Any) -> Survey:
    """The same with a payload of these fields."""
    return some_survey(facts, config, payload=Payload(**payload))


@contextmanager
def no_progress(title: str) -> Iterator[Report]:
    yield lambda done, total: None


def stage1_of(accepted: Accepted) -> Stage1:
    """Stage 1 that says nothing."""
    return Stage1(accepted, progress=no_progress, say=lambda text: None)
