# SPDX-License-Identifier: Apache-2.0
"""What loading a module takes, by our index and by kmod's: they agree on the modules of a real Debian kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.initramfs.composed.kernel_modules import (
    KernelModules,
    file_module_name,
    firmware_names,
    read_kernel_modules,
    read_module,
)
from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.lab.disks import mounted_system
from balena_migrate.workstation.lab.guests.debian_pc import DEBIAN_12

pytestmark = pytest.mark.vm

FOLDERS = tuple(
    f"kernel/{name}/"
    for name in (
        *("fs/ext4", "fs/fat", "fs/xfs", "fs/f2fs", "fs/nls", "drivers/ata", "drivers/nvme", "drivers/mmc"),
        *("drivers/usb/host", "drivers/usb/storage", "drivers/virtio", "drivers/watchdog", "drivers/hv"),
        *("drivers/scsi", "drivers/block"),
    )
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of the virtual PC's kernel, as Debian packs them."""
    folder = tmp_path_factory.mktemp("root")
    built = DEBIAN_12.build(DEBIAN_12.disk_mib, cache_folder(), print)
    with mounted_system(built.disk, built.file_systems, read_only=True) as guest:
        (folder / "lib").mkdir()
        subprocess.run(["cp", "-a", guest / "usr/lib/modules", folder / "lib/modules"], check=True)
    return folder


@pytest.fixture(scope="module")
def release(root: Path) -> str:
    (folder,) = (root / "lib/modules").iterdir()
    return folder.name


@pytest.fixture(scope="module")
def modules(root: Path, release: str) -> KernelModules:
    return read_kernel_modules(System(root), release, "")


def by_kmod(root: Path, release: str, name: str) -> list[str]:
    """The modules that modprobe would load, in its order."""
    argv = ["modprobe", "-d", str(root), "-C", "/none", "-S", release, "--show-depends", name]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return [file_module_name(line.split()[1]) for line in text.splitlines() if line.startswith("insmod")]


def test_each_module_takes_what_kmod_takes_in_an_order_that_works(
    root: Path, release: str, modules: KernelModules
) -> None:
    names = sorted(name for name, path in modules.files.items() if path.startswith(FOLDERS))
    assert len(names) > 300
    for name in names:
        ours = [module.name for module in modules.closure([name])]
        assert sorted(ours) == sorted(dict.fromkeys(by_kmod(root, release, name))), name
        for position, module in enumerate(ours):
            assert set(modules.needed[module]) <= set(ours[:position]), f"{module} of {name}"


def test_the_firmware_of_a_module_is_what_modinfo_says(root: Path, release: str, modules: KernelModules) -> None:
    names = [name for name, path in modules.files.items() if path.startswith("kernel/drivers/net/ethernet/")]
    named = 0
    for name in sorted(names):
        path = root / f"lib/modules/{release}" / modules.files[name]
        said = subprocess.run(["modinfo", "-F", "firmware", path], check=True, capture_output=True, text=True).stdout
        found = firmware_names(read_module(System(root), modules.module(name).path))
        assert sorted(found) == sorted(set(said.split("\n")) - {""}), name
        named += len(found)
    assert named > 20


def test_what_is_built_in_is_known(modules: KernelModules) -> None:
    """As Debian 12 has them: the driver of the first serial port, and none of a disk."""
    assert modules.is_built_in("8250") and not modules.is_built_in("ahci")
