# SPDX-License-Identifier: Apache-2.0
"""composed: we put the initramfs together ourselves, with none of the device's programs.

It has the kit's base part, the kernel modules that this device needs, and an init of our own. That starts stage 2,
which loads the modules, finds the root file system by its UUID, and mounts it (balena_migrate.stage2.boot).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

from balena_migrate.core.errors import FileError
from balena_migrate.core.paths import STAGE2_CONFIG, STAGE2_MODULES, WORK_DIR
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.findings import BLOCKS, Code, Finding, blocker
from balena_migrate.initramfs import InitramfsSize, Module, Needs, Recipe, WayBack
from balena_migrate.initramfs._cpio import Archive
from balena_migrate.initramfs.composed.choice import CODES as CHOICE_CODES
from balena_migrate.initramfs.composed.choice import choose
from balena_migrate.initramfs.composed.kernel_config import read_kernel_config
from balena_migrate.initramfs.composed.kernel_modules import find_firmware, firmware_names, read_module
from balena_migrate.initramfs.composed.packing import pack
from balena_migrate.settings import InitramfsName

BASE = "balena-migrate/base"
BUSYBOX = "busybox"
MODULES = "balena-migrate/modules"
WAY_BACK = "balena-migrate/way-back"
MOUNT_POINTS = ("dev", "proc", "root", "run", "sys")
NEEDED_OPTIONS = {
    "BLK_DEV_INITRD": "it cannot start from an initramfs",
    "DEVTMPFS": "there would be no device nodes",
}

PACKED_FACTOR = {".ko": 0.5, ".gz": 1.1, ".xz": 1.2, ".zst": 1.1}
"""How much of a module's file is left in the initramfs, at most, by its ending: modules are unpacked, then packed with
all else (measured for 300 modules of Debian 12, whose files are plain: 0.22 to 0.41)."""
UNPACKED_FACTOR = {".ko": 1.0, ".gz": 5.0, ".xz": 7.0, ".zst": 6.0}
"""How much larger a module is than its file, at most (measured for 41 modules of Debian 12 for disks and file systems:
4.1 with gzip -9, 5.7 with xz, 5.1 with zstd -19, for all of them together)."""

CODES = (
    *CHOICE_CODES,
    Code(
        "kernel-without-initramfs",
        BLOCKS,
        "The running kernel's configuration says that stage 2 cannot start from an initramfs with it.",
        "Install a kernel of the distribution, and reboot into it.",
    ),
)


@dataclass(frozen=True)
class Composed:
    """The builder that is used unless the settings name another."""

    name: InitramfsName = InitramfsName.COMPOSED
    programs: tuple[str, ...] = ()
    codes: tuple[Code, ...] = CODES

    def find(self, system: System, needs: Needs) -> Recipe:
        choice = choose(system, needs)
        config = read_kernel_config(system, needs.kernel_release)
        taken, devices = choice.modules, ", ".join(needs.devices)
        names = ", ".join(module.name for module in taken) or "none"
        text = (
            f"composed of the kit and the kernel modules for {devices or 'the root disk'}"
            f" ({', '.join(needs.file_systems)}) and the watchdogs: {names}"
        )
        return Recipe(
            needs=needs,
            modules=taken,
            text=text,
            size=InitramfsSize(
                packed_bytes=sum(_estimate(system, module, PACKED_FACTOR) for module in taken),
                unpacked_bytes=sum(_estimate(system, module, UNPACKED_FACTOR) for module in taken),
            ),
            size_text=f"{len(taken)} kernel modules",
            findings=(*choice.findings, *_judge(config)),
        )

    def build(
        self, system: System, recipe: Recipe, kit_base: Path, handover: bytes, path: str, way_back: WayBack | None
    ) -> InitramfsSize:
        plain, packed = f"{WORK_DIR}/initramfs.cpio", f"{WORK_DIR}/initramfs"
        with system.replacing(plain) as file:
            archive = Archive(file)
            write_archive(system, archive, recipe, kit_base, handover, way_back)
        pack(system, plain, packed, read_kernel_config(system, recipe.needs.kernel_release))
        system.remove_file(plain)
        # It is made on the root file system and copied, since the boot partition may be too small for two.
        system.copy(packed, path)
        system.remove_file(packed)
        return InitramfsSize(packed_bytes=system.stat(path).st_size, unpacked_bytes=archive.size_bytes)


def _judge(config: Mapping[str, str] | None) -> Iterator[Finding]:
    if config is None:
        return
    for option, why in NEEDED_OPTIONS.items():
        if config.get(option) != "y":
            cause = f"the running kernel was built without CONFIG_{option}: {why}"
            yield blocker("kernel-without-initramfs", cause, "install a kernel of the distribution, and reboot into it")


def _estimate(system: System, module: Module, factors: Mapping[str, float]) -> int:
    """A multiple of the file's size, by its ending; 0 for a file that is missing, which is a finding."""
    try:
        size = system.stat(module.path).st_size
    except FileError:
        return 0
    return round(size * factors.get(PurePosixPath(module.path).suffix, 1.0))


def write_archive(
    system: System, archive: Archive, recipe: Recipe, kit_base: Path, handover: bytes, way_back: WayBack | None
) -> None:
    """The initramfs, uncompressed. Raises FileError, CommandError or OSError.

    Of a torn file the kernel unpacks the beginning. So init comes behind all that it needs to lead back: where it is
    missing, a kernel with its root's drivers built in starts the old system by itself.
    """
    for folder in (*MOUNT_POINTS, "balena-migrate", "etc", BASE):
        archive.folder(folder)
    # The kernel opens it for init's output before anything is mounted.
    archive.character_device("dev/console", 5, 1)
    archive.copy(f"{BASE}/{BUSYBOX}", kit_base / BUSYBOX)
    firmware = dict(_write_modules(system, archive, recipe.modules))
    _write_firmware(system, archive, firmware, recipe.needs.kernel_release)
    if way_back:
        _write_way_back(archive, way_back)
    archive.file("init", _script("init.sh"), mode=0o755)
    archive.file(STAGE2_CONFIG.lstrip("/"), handover, mode=0o600)
    for path in sorted(kit_base.iterdir()):
        if path.name != BUSYBOX:
            archive.copy(f"{BASE}/{path.name}", path)
    archive.end()


def _write_way_back(archive: Archive, way_back: WayBack) -> None:
    archive.folder(WAY_BACK)
    archive.file(f"{WAY_BACK}/put-back", _script("way_back.sh"))
    archive.file(f"{WAY_BACK}/device", f"UUID={way_back.uuid}\n".encode())
    archive.file(f"{WAY_BACK}/name", f"{way_back.name}\n".encode())
    archive.file(f"{WAY_BACK}/content", way_back.content)


def _script(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


def _write_modules(system: System, archive: Archive, modules: tuple[Module, ...]) -> Iterator[tuple[str, None]]:
    """Yields the firmware files that the modules name. Their list has a line each: file, parameters."""
    archive.folder(MODULES)
    lines = []
    for module in modules:
        content = read_module(system, module.path)
        archive.file(f"{MODULES}/{module.name}.ko", content)
        lines.append(f"/{MODULES}/{module.name}.ko {module.parameters}".rstrip() + "\n")
        yield from ((name, None) for name in firmware_names(content))
    archive.file(STAGE2_MODULES.lstrip("/"), "".join(lines).encode("utf-8", "surrogateescape"))


def _write_firmware(system: System, archive: Archive, names: Mapping[str, None], release: str) -> None:
    """Those of the firmware files that are there, at their own paths; a driver asks only for some of what it names."""
    folders: set[PurePosixPath] = {PurePosixPath("etc")}
    done: set[str] = set()
    for name in names:
        for path in find_firmware(system, name, release):
            if path in done:
                continue
            done.add(path)
            inner = PurePosixPath(path.lstrip("/"))
            for parent in reversed(inner.parents):
                if parent not in folders and str(parent) != ".":
                    archive.folder(str(parent))
                    folders.add(parent)
            archive.file(str(inner), system.read_bytes(path, limit_bytes=64 * MIB))


BUILDER = Composed()
