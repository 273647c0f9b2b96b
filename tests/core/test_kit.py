# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.core.kit import find_kit, find_kit_in


def test_every_architecture_has_a_row() -> None:
    assert set(PLATFORMS) == set(Architecture)


def test_no_machine_takes_two_kits() -> None:
    machines = [machine for platform in PLATFORMS.values() for machine in platform.machines]
    assert len(machines) == len(set(machines))


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
