# SPDX-License-Identifier: Apache-2.0
"""Builds a look-alike image: table, boot code, file systems, compressed; no mounts, no loop devices, no root rights."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.resources
import lzma
import os
import shutil
import tempfile
from pathlib import Path

from balena_migrate.core.progress import Say
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.images.pieces import is_zeros
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.lab.diskstate import read_disk_state
from balena_migrate.workstation.lab.lookalike.bootpart import fingerprint, identity_files, pi_files
from balena_migrate.workstation.lab.lookalike.bundle import bundle_kernel
from balena_migrate.workstation.lab.lookalike.content import (
    STAGED,
    Content,
    list_content,
    read_content,
    write_content,
)
from balena_migrate.workstation.lab.lookalike.ext4 import FAKE_TIME_S, make_ext4
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
from balena_migrate.workstation.lab.lookalike.realfiles import add_files, fetch_real_files, fill_data, fill_root
from balena_migrate.workstation.lab.lookalike.sources import Sources, fetch_sources
from balena_migrate.workstation.lab.lookalike.specs import BootCode, ImageSpec, find_spec
from balena_migrate.workstation.mtools import FatDrive

CONTENT_NAME = "content.json"
_WITH_BIOS = (BootCode.GRUB, BootCode.GRUB_BIOS)
_WITH_EFI = (BootCode.GRUB, BootCode.GRUB_EFI)
_STATE_FILES_BYTES = 2 * MIB
"""A real image has none in resin-state; without any, nobody would see that its blocks are lost."""
_CONTAINER = hashlib.sha256(b"balenaOS look-alike").hexdigest()


def build_image(image: ImageSpec | str, cache_dir: Path, progress: Say | None = None) -> Path:
    """Return the compressed image, named like a download; it is built once and kept in the cache.

    Next to it is a list of its files, see `image_content`. Raises LabError for an unknown name,
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


def image_content(image: ImageSpec | str, cache_dir: Path) -> Content:
    """What was put into the image."""
    return read_content(build_image(image, cache_dir).with_name(CONTENT_NAME))


def write_image(image: Path, disk: Path) -> None:
    """Write the image to the start of the disk file, which must be all zeros and stays sparse."""
    with gzip.open(image) as source, disk.open("r+b") as target:
        while block := source.read(MIB):
            if is_zeros(block):
                target.seek(len(block), os.SEEK_CUR)
            else:
                target.write(block)


def _own_digest() -> str:
    """The digest of everything in this package: any change to it builds new images."""
    parts = sorted(importlib.resources.files(__package__).iterdir(), key=lambda item: item.name)
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts if part.is_file())).hexdigest()


def _build(spec: ImageSpec, cache_dir: Path, folder: Path, tell: Say) -> None:
    tell(f"fetching a kernel and programs for {spec.board}")
    sources, real_files = fetch_sources(spec.board, cache_dir), fetch_real_files(cache_dir)
    tell(f"building {spec.file_name}")
    with tempfile.TemporaryDirectory(dir=cache_dir) as work:
        if spec.network_manager:
            add_network_manager(Path(work, "rootA"), cache_dir)
        files, raw = _build_raw(spec, sources, real_files, Path(work))
        write_content(list_content(files, Path(work), _used_bytes(raw)), folder / CONTENT_NAME)
        raw = _wrap(spec, files, raw) if spec.flasher else raw
        _compress(raw, folder / spec.file_name, xz=spec.xz)


def _used_bytes(raw: Path) -> int:
    return sum(part.used_bytes or 0 for part in read_disk_state(raw).parts)


def _build_raw(spec: ImageSpec, sources: Sources, real_files: Path, work: Path) -> tuple[dict[str, bytes], Path]:
    """The files of the boot partition, and the raw image in the folder `work`."""
    layout = plan_layout(spec)
    initramfs = make_initramfs(sources.root)
    code = make_boot_code(sources.grub_modules) if spec.boot_code in _WITH_BIOS else None
    files = _boot_files(spec, sources, initramfs, code)
    raw = work / "image.raw"
    _write_table(layout, code, raw)
    _make_boot(spec, layout.labelled("resin-boot"), files_inside(files) if spec.flasher else files, raw)
    _stage_root(spec, _root_files(spec, sources, initramfs), real_files, work)
    _stage_others(spec, real_files, work)
    folders = {label: ("-d", str(work / name)) for label, name in STAGED.items()}
    make_ext4(layout.labelled("resin-rootA"), raw, "-i", "8192", *folders["resin-rootA"])
    make_ext4(layout.labelled("resin-rootB"), raw, "-i", "8192")
    make_ext4(layout.labelled("resin-state"), raw, *folders["resin-state"])
    make_ext4(layout.labelled("resin-data"), raw, "-i", "8192", "-b", "4096", *folders["resin-data"])
    return files, raw


def _stage_root(spec: ImageSpec, files: dict[str, bytes], real_files: Path, work: Path) -> None:
    root_a = _stage(work / STAGED["resin-rootA"], files)
    (root_a / "boot").symlink_to("current/boot")
    (root_a / "current").symlink_to(f"hostapps/{_CONTAINER}")
    fill_root(root_a, _CONTAINER, real_files, spec.root_files_bytes)
    _set_times(root_a)


def _stage_others(spec: ImageSpec, real_files: Path, work: Path) -> None:
    state, data = work / STAGED["resin-state"], work / STAGED["resin-data"]
    add_files(real_files, state / "root-overlay", _STATE_FILES_BYTES)
    _set_times(state)
    fill_data(data, _CONTAINER, real_files, spec.data_files_bytes)
    (data / "resin-data").mkdir()
    _stage(data, {"remove_me_to_reset": b""})


def _wrap(spec: ImageSpec, files: dict[str, bytes], raw: Path) -> Path:
    """A flasher image beside the raw image, which moves into it."""
    layout, flasher = plan_flasher(raw.stat().st_size), raw.with_name("flasher.raw")
    _write_table(layout, None, flasher)
    _make_boot(spec, layout.labelled("flash-boot"), flash_boot_files(spec, files), flasher)
    root = _stage(raw.with_name("flash-rootA"), {"etc/os-release": files["os-release"], inner_path(spec): b""})
    raw.replace(root / inner_path(spec))
    _stage(root, {})
    make_ext4(layout.labelled("flash-rootA"), flasher, "-i", "8192", "-d", str(root))
    make_ext4(layout.labelled("flash-rootB"), flasher, "-i", "8192")
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
    _set_times(folder)
    return folder


def _set_times(folder: Path) -> None:
    for item in (*folder.rglob("*"), folder):
        os.utime(item, (FAKE_TIME_S, FAKE_TIME_S), follow_symlinks=False)


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


def _compress(raw: Path, target: Path, *, xz: bool) -> None:
    """Compress at the fastest level, without name and time: the bytes are reproducible."""
    with raw.open("rb") as source, target.open("wb") as file, contextlib.ExitStack() as held:
        packed: gzip.GzipFile | lzma.LZMAFile
        if xz:
            packed = held.enter_context(lzma.LZMAFile(file, "w", preset=0))
        else:
            packed = held.enter_context(gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=0))
        shutil.copyfileobj(source, packed, MIB)
