# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.core.architectures import PLATFORMS, Architecture, kit_architecture
from balena_migrate.core.errors import MigrateError
from balena_migrate.core.kit import find_kit, find_kit_in


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [
        ("x86_64", "amd64"),
        ("i386", "i386"),
        ("i686", "i386"),
        ("aarch64", "arm64"),
        ("armv8l", "armhf"),
        ("armv7l", "armhf"),
        ("armv6l", "armel"),
    ],
)
def test_kit_for_a_machine(machine: str, architecture: str) -> None:
    assert kit_architecture(machine) == architecture


def test_no_kit_for_other_machines() -> None:
    with pytest.raises(MigrateError, match=r"riscv64 \(there are kits for amd64"):
        kit_architecture("riscv64")


def test_every_architecture_has_a_row() -> None:
    assert set(PLATFORMS) == set(Architecture)


def make_kit(folder: Path) -> Path:
    for name in ("base/bin/python3", "base/bin/blkid", "base/busybox", "more/bin/tar", "more/bin/mtools"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "more/bin/mcopy").symlink_to("mtools")
    (folder / "base/architecture").write_text("armhf\n")
    return folder


def test_programs_start_through_the_loader(tmp_path: Path) -> None:
    kit = find_kit_in(make_kit(tmp_path))
    assert kit is not None
    assert kit.architecture is Architecture.ARMHF
    programs = kit.programs()
    assert sorted(programs) == ["blkid", "busybox", "mcopy", "mtools", "tar"]
    base, more = f"{tmp_path}/base", f"{tmp_path}/more"
    loader = (f"{base}/ld.so", "--inhibit-cache", "--argv0")
    libraries = ("--library-path", f"{base}/lib:{more}/lib")
    assert programs["tar"] == (*loader, "tar", *libraries, f"{more}/bin/tar")
    environment = (f"{base}/busybox", "env", f"GCONV_PATH={more}/lib/gconv")
    assert programs["mcopy"] == (*environment, *loader, "mcopy", *libraries, f"{more}/bin/mcopy")
    assert programs["busybox"] == (f"{base}/busybox",)


def test_base_part_alone_is_a_kit(tmp_path: Path) -> None:
    """As in the initramfs."""
    (make_kit(tmp_path) / "more").rename(tmp_path / "elsewhere")
    kit = find_kit_in(tmp_path)
    assert kit is not None
    assert sorted(kit.programs()) == ["blkid", "busybox"]


def test_ordinary_python_is_no_kit(tmp_path: Path) -> None:
    assert find_kit() is None
    assert find_kit_in(tmp_path) is None
