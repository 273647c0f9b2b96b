# SPDX-License-Identifier: Apache-2.0
"""Builds a look-alike image: table, boot code, file systems, compressed; no mounts, no loop devices, no root rights."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import json
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from balena_migrate.core.progress import Say
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.lab.lookalike.bootpart import fingerprint, identity_files, pi_files
from balena_migrate.workstation.lab.lookalike.bundle import bundle_kernel
from balena_migrate.workstation.lab.lookalike.flasher import files_inside, flash_boot_files, inner_path, plan_flasher
from balena_migrate.workstation.lab.lookalike.grubboot import (
    BOOT_CODE_BYTES,
    GrubCode,
    efi_files,
    grub_files,
    make_boot_code,
)
from balena_migrate.workstation.lab.lookalike.initramfs import make_initramfs
from balena_migrate.workstation.lab.lookalike.layout import Layout, Partition, plan_layout, table_sectors
from balena_migrate.workstation.lab.lookalike.networkmanager import add_network_manager
from balena_migrate.workstation.lab.lookalike.sources import Sources, fetch_sources
from balena_migrate.workstation.lab.lookalike.specs import BootCode, ImageSpec, find_spec
from balena_migrate.workstation.mtools import FatDrive

LIST_NAME = "boot-files.json"
FAKE_TIME_S = 1767225600
"""2026-01-01 00:00 UTC: the time of everything in an image that has a time."""
_WITH_BIOS = (BootCode.GRUB, BootCode.GRUB_BIOS)
_WITH_EFI = (BootCode.GRUB, BootCode.GRUB_EFI)
_CONTAINER = hashlib.sha256(b"balenaOS look-alike").hexdigest()


def build_image(image: ImageSpec | str, cache_dir: Path, progress: Say | None = None) -> Path:
    """Return the compressed image, named like a download; it is built once and kept in the cache.

    Next to it is a list of its boot partition's files, see `expected_boot_files`. Raises LabError for an unknown name,
    CommandError if a program fails or is missing.
    """
    spec = find_spec(image) if isinstance(image, str) else image
    recipe = (spec, _own_digest())
    folder = cached(
        cache_dir,
        f"lookalike-{spec.name}",
        recipe,
        lambda folder: _build(spec, cache_dir, folder, progress or (lambda _: None)),
    )
    return folder / spec.file_name


def expected_boot_files(image: ImageSpec | str, cache_dir: Path) -> dict[str, str]:
    """Path -> SHA-256 of every file in the image's resin-boot."""
    listed = json.loads(build_image(image, cache_dir).with_name(LIST_NAME).read_text())
    return {str(path): str(digest) for path, digest in listed.items()}


def write_image(image: Path, disk: Path) -> None:
    """Write the image to the start of the disk file, which must be all zeros and stays sparse."""
    with gzip.open(image) as source, disk.open("r+b") as target:
        while block := source.read(MIB):
            if block.count(0) == len(block):
                target.seek(len(block), os.SEEK_CUR)
            else:
                target.write(block)


def _own_digest() -> str:
    """The digest of everything in this package: any change to it builds new images."""
    parts = sorted(importlib.resources.files(__package__).iterdir(), key=lambda item: item.name)
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts if part.is_file())).hexdigest()


def _build(spec: ImageSpec, cache_dir: Path, folder: Path, tell: Say) -> None:
    tell(f"fetching a kernel and programs for {spec.board}")
    sources = fetch_sources(spec.board, cache_dir)
    tell(f"building {spec.file_name}")
    with tempfile.TemporaryDirectory(dir=cache_dir) as work:
        if spec.network_manager:
            add_network_manager(Path(work, "rootA"), cache_dir)
        files, raw = _build_raw(spec, sources, Path(work))
        raw = _wrap(spec, files, raw) if spec.flasher else raw
        _compress(raw, folder / spec.file_name)
    _write_list(files, folder / LIST_NAME)


def _write_list(files: dict[str, bytes], target: Path) -> None:
    listed = {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())}
    target.write_text(json.dumps(listed, indent=1) + "\n")


def _build_raw(spec: ImageSpec, sources: Sources, work: Path) -> tuple[dict[str, bytes], Path]:
    """The files of the boot partition, and the raw image in the folder `work`."""
    layout = plan_layout(spec)
    initramfs = make_initramfs(sources.root)
    code = make_boot_code(sources.grub_modules) if spec.boot_code in _WITH_BIOS else None
    files = _boot_files(spec, sources, initramfs, code)
    raw = work / "image.raw"
    _write_table(layout, code, raw)
    _make_boot(spec, layout.labelled("resin-boot"), files_inside(files) if spec.flasher else files, raw)
    root_a = _stage(work / "rootA", _root_files(spec, sources, initramfs))
    (root_a / "boot").symlink_to("current/boot")
    (root_a / "current").symlink_to(f"hostapps/{_CONTAINER}")
    for folder in ("resin-data", "docker"):
        _stage(work / "data" / folder, {})
    _stage(work / "data", {"remove_me_to_reset": b""})
    _make_ext4(layout.labelled("resin-rootA"), raw, "-i", "8192", "-d", str(root_a))
    _make_ext4(layout.labelled("resin-rootB"), raw, "-i", "8192")
    _make_ext4(layout.labelled("resin-state"), raw)
    _make_ext4(layout.labelled("resin-data"), raw, "-i", "8192", "-b", "4096", "-d", str(work / "data"))
    return files, raw


def _wrap(spec: ImageSpec, files: dict[str, bytes], raw: Path) -> Path:
    """A flasher image beside the raw image, which moves into it."""
    layout, flasher = plan_flasher(raw.stat().st_size), raw.with_name("flasher.raw")
    _write_table(layout, None, flasher)
    _make_boot(spec, layout.labelled("flash-boot"), flash_boot_files(spec, files), flasher)
    root = _stage(raw.with_name("flash-rootA"), {"etc/os-release": files["os-release"], inner_path(spec): b""})
    raw.replace(root / inner_path(spec))
    _stage(root, {})
    _make_ext4(layout.labelled("flash-rootA"), flasher, "-i", "8192", "-d", str(root))
    _make_ext4(layout.labelled("flash-rootB"), flasher, "-i", "8192")
    return flasher


def _boot_files(spec: ImageSpec, sources: Sources, initramfs: bytes, code: GrubCode | None) -> dict[str, bytes]:
    files = identity_files(spec)
    if code:
        files |= grub_files(sources.grub_modules, code)
    if spec.boot_code in _WITH_EFI:
        files |= efi_files(sources.grub_efi_modules)
    if spec.boot_code is BootCode.NONE:
        files[spec.kernel_name] = bundle_kernel(sources.kernel.read_bytes(), initramfs)
    if spec.boot_code is BootCode.FIRMWARE:
        files |= pi_files(spec, sources, initramfs)
    return files | {f"{'balenaos' if spec.renamed else 'resinos'}.fingerprint": fingerprint(files)}


def _root_files(spec: ImageSpec, sources: Sources, initramfs: bytes) -> dict[str, bytes]:
    """A "hostapp" root file system: the system is a container, and links point to the active one."""
    files = {"etc/machine-id": b"", "counter": b"1\n", f"hostapps/{_CONTAINER}/boot/init": b""}
    if spec.boot_code in (*_WITH_BIOS, *_WITH_EFI):
        kernel = bundle_kernel(sources.kernel.read_bytes(), initramfs)
        files[f"hostapps/{_CONTAINER}/boot/{spec.kernel_name}"] = kernel
    return files


def _write_table(layout: Layout, code: GrubCode | None, raw: Path) -> None:
    with raw.open("wb") as file:
        file.truncate(layout.size_bytes)
        for offset, sector in table_sectors(layout).items():
            file.seek(offset)
            file.write(sector)
        if code:
            file.seek(0)
            file.write(code.boot[:BOOT_CODE_BYTES])
            file.seek(SECTOR_BYTES)
            file.write(code.core)


def _stage(folder: Path, files: dict[str, bytes]) -> Path:
    """Write these files into the folder, all with the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    for item in (*folder.rglob("*"), folder):
        os.utime(item, (FAKE_TIME_S, FAKE_TIME_S), follow_symlinks=False)
    return folder


def _make_boot(spec: ImageSpec, part: Partition, files: dict[str, bytes], raw: Path) -> None:
    folder = _stage(raw.with_name("boot"), files)
    sector = str(part.start_bytes // SECTOR_BYTES)
    argv: list[str | Path] = ["mkfs.fat", "--invariant", "-F", str(spec.fat_bits), "-S", str(SECTOR_BYTES)]
    # The firmware's FAT32 has one sector per cluster; with more, 40 MiB are too few clusters for a FAT32.
    argv += ["-s", "1"] if spec.fat_bits == 32 else []
    argv += ["-n", part.label, "--offset", sector, raw, str(part.size_bytes // 1024)]
    System().run(argv)
    FatDrive(image=raw, offset_bytes=part.start_bytes).copy_in(sorted(folder.iterdir()), keep_times=True)
    shutil.rmtree(folder)


def _make_ext4(part: Partition, raw: Path, *options: str) -> None:
    """Create an ext4 file system in the image, without metadata_csum_seed, which GRUB 2.06 cannot read."""
    ident = str(uuid.uuid5(uuid.NAMESPACE_OID, part.label))
    extended = f"offset={part.start_bytes},hash_seed={ident},root_owner=0:0,nodiscard"
    argv: list[str | Path] = ["env", f"E2FSPROGS_FAKE_TIME={FAKE_TIME_S}", "mke2fs", "-q", "-F", "-t", "ext4"]
    argv += ["-O", "^metadata_csum_seed", "-L", part.label, "-U", ident, "-E", extended, *options]
    System().run([*argv, raw, f"{part.size_bytes // 1024}k"])


def _compress(raw: Path, target: Path) -> None:
    """Compress at the fastest level (most of an image is zeros), without name and time: the bytes are reproducible."""
    with (
        raw.open("rb") as source,
        target.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed,
    ):
        shutil.copyfileobj(source, packed, MIB)
