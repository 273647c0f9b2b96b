# SPDX-License-Identifier: Apache-2.0
"""The initramfs that we compose: its content as cpio(1) and zstd(1) see it, and how it is packed."""

from __future__ import annotations

import gzip
import io
import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.paths import WORK_DIR
from balena_migrate.core.system import System
from balena_migrate.initramfs import Needs, WayBack, builder_named, builders
from balena_migrate.initramfs._cpio import read_names
from balena_migrate.initramfs.composed import packing
from balena_migrate.initramfs.composed.kernel_config import parse_kernel_config, read_kernel_config
from balena_migrate.settings import InitramfsName
from tests.initramfs.device import RELEASE, make_device, make_modules, write

NEEDS = Needs(
    kernel_release=RELEASE,
    kernel_command_line="root=UUID=1 ro ahci.mobile_lpm_policy=0",
    devices=("sda1",),
    file_systems=("ext4",),
)
BUILDER = builder_named(InitramfsName.COMPOSED)
SECRETLESS = b'{"format": 1}\n'
GOOD_CONFIG = "CONFIG_BLK_DEV_INITRD=y\nCONFIG_DEVTMPFS=y\nCONFIG_RD_GZIP=y\n# CONFIG_RD_LZO is not set\n"

pytestmark = pytest.mark.processes


@pytest.fixture
def device(tmp_path: Path) -> System:
    root = tmp_path / "device"
    make_device(root)
    make_modules(root, {"ahci": b"\0firmware=ahci.fw\0"})
    write(root, "lib/firmware/ahci.fw", "firmware")
    (root / WORK_DIR.lstrip("/")).mkdir(parents=True)
    (root / "boot").mkdir()
    return System(root)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    (folder / "lib").mkdir(parents=True)
    (folder / "stage2").write_bytes(b"#!/bin/sh\n")
    (folder / "stage2").chmod(0o755)
    (folder / "lib/x").write_bytes(b"x" * 100_000)
    (folder / "busybox").write_bytes(b"busybox")
    return folder


def built(device: System, base: Path, way_back: WayBack | None = None) -> bytes:
    """The file that was built."""
    size = BUILDER.build(device, BUILDER.find(device, NEEDS), base, SECRETLESS, "/boot/i", way_back)
    content = device.read_bytes("/boot/i")
    assert size.packed_bytes == len(content)
    return content


def unpacked(archive: bytes, folder: Path) -> Path:
    """What cpio(1) makes of the archive, without the device node that only root can make."""
    folder.mkdir()
    argv = ["cpio", "-id", "--quiet", "--nonmatching", "dev/console"]
    subprocess.run(argv, input=archive, cwd=folder, check=True, capture_output=True)
    return folder


def test_each_builder_has_a_name_of_the_setting() -> None:
    assert {builder.name for builder in builders()} == set(InitramfsName)


def test_the_archive_has_all_that_stage_2_needs(device: System, base: Path, tmp_path: Path) -> None:
    root = unpacked(gzip.decompress(built(device, base)), tmp_path / "unpacked")
    assert (root / "init").stat().st_mode & 0o777 == 0o755
    assert (root / "balena-migrate/base/stage2").stat().st_mode & 0o777 == 0o755
    assert (root / "etc/balena-migrate-stage2.conf").read_bytes() == SECRETLESS
    assert (root / "etc/balena-migrate-stage2.conf").stat().st_mode & 0o777 == 0o600
    assert (root / "lib/firmware/ahci.fw").read_text() == "firmware"
    for name in ("dev", "proc", "root", "run", "sys"):
        assert (root / name).is_dir()


def test_the_list_of_modules_is_in_order_and_has_their_parameters(device: System, base: Path, tmp_path: Path) -> None:
    root = unpacked(gzip.decompress(built(device, base)), tmp_path / "unpacked")
    lines = (root / "etc/balena-migrate-modules").read_text().splitlines()
    paths = [line.partition(" ")[0] for line in lines]
    assert "/balena-migrate/modules/ahci.ko mobile_lpm_policy=0" in lines
    order = [paths.index(f"/balena-migrate/modules/{name}.ko") for name in ("scsi_mod", "libata", "ahci")]
    assert order == sorted(order)
    assert all((root / path.lstrip("/")).is_file() for path in paths)
    assert (root / "balena-migrate/modules/ext4.ko").read_bytes() == b"the module ext4"


def test_init_comes_behind_all_that_it_needs_to_lead_back_and_before_the_rest(device: System, base: Path) -> None:
    """The kernel unpacks the beginning of a torn initramfs; without an init it may start the old system by itself."""
    way_back = WayBack(uuid="AAAA-0001", name="config.txt", content=b"as it was\n")
    names = [str(name) for name in read_names(io.BytesIO(gzip.decompress(built(device, base, way_back))))]
    init = names.index("init")
    needed = ("etc/balena-migrate-modules", "balena-migrate/modules/ahci.ko", "balena-migrate/way-back/put-back")
    for name in ("dev/console", "balena-migrate/base/busybox", *needed):
        assert names.index(name) < init, name
    rest = ["etc/balena-migrate-stage2.conf", *(f"balena-migrate/base/{name}" for name in ("lib", "lib/x", "stage2"))]
    assert names[init + 1 :] == rest
    assert len(names) == len(set(names))


def test_what_init_puts_back_is_there_only_where_it_is_needed(device: System, base: Path, tmp_path: Path) -> None:
    root = unpacked(gzip.decompress(built(device, base)), tmp_path / "without")
    assert not (root / "balena-migrate/way-back").exists()
    way_back = WayBack(uuid="AAAA-0001", name="config.txt", content=b"as it was\n")
    folder = unpacked(gzip.decompress(built(device, base, way_back)), tmp_path / "with") / "balena-migrate/way-back"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "put-back"} == {
        "device": b"UUID=AAAA-0001\n",
        "name": b"config.txt\n",
        "content": b"as it was\n",
    }
    init = (root / "init").read_text()
    assert "WAY_BACK=/balena-migrate/way-back/put-back\n" in init and (folder / "put-back").is_file()


def test_nothing_but_the_initramfs_is_left_behind(device: System, base: Path) -> None:
    built(device, base)
    assert [path.name for path in device.files_below(WORK_DIR)] == []


@pytest.mark.parametrize("config", [None, {"RD_GZIP": "y"}, {"RD_ZSTD": "m"}])
def test_what_the_kernel_may_not_unpack_is_not_used(device: System, config: dict[str, str] | None) -> None:
    device.write_file("/boot/plain", b"content" * 1000)
    packing.pack(device, "/boot/plain", "/boot/packed", config)
    assert gzip.decompress(device.read_bytes("/boot/packed")) == b"content" * 1000


def test_a_kernel_that_knows_zstd_gets_it(tmp_path: Path) -> None:
    content = b"".join(str(number).encode() for number in range(200_000))
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(content)
    packing.pack(System(), str(plain), str(packed), {"RD_ZSTD": "y"})
    unpacked = subprocess.run(["zstd", "-d", "-c", packed], check=True, capture_output=True).stdout
    assert unpacked == content


def test_the_kernels_configuration_is_that_of_the_running_one_where_it_shows_it(device: System) -> None:
    assert read_kernel_config(device, RELEASE) is None
    device.write_file(f"/boot/config-{RELEASE}", GOOD_CONFIG.encode())
    found = read_kernel_config(device, RELEASE)
    assert found == parse_kernel_config(GOOD_CONFIG) and "RD_LZO" not in found
    device.write_file("/proc/config.gz", gzip.compress(b"CONFIG_RD_ZSTD=y\n"))
    assert read_kernel_config(device, RELEASE) == {"RD_ZSTD": "y"}


@pytest.mark.parametrize("option", ["BLK_DEV_INITRD", "DEVTMPFS"])
def test_a_kernel_that_cannot_start_from_an_initramfs_is_refused(device: System, option: str) -> None:
    device.write_file(f"/boot/config-{RELEASE}", GOOD_CONFIG.encode())
    assert BUILDER.find(device, NEEDS).findings == ()
    device.write_file(f"/boot/config-{RELEASE}", GOOD_CONFIG.replace(f"CONFIG_{option}=y", "").encode())
    assert [finding.code for finding in BUILDER.find(device, NEEDS).findings] == ["kernel-without-initramfs"]


def test_the_size_in_memory_is_that_of_the_archive(device: System, base: Path) -> None:
    size = BUILDER.build(device, BUILDER.find(device, NEEDS), base, SECRETLESS, "/boot/i", None)
    assert size.unpacked_bytes == len(gzip.decompress(device.read_bytes("/boot/i")))


@pytest.mark.parametrize(("name", "factor"), [("ahci", 1), ("sd_mod", 5), ("ext4", 7)])
def test_modules_are_expected_to_be_larger_than_their_files(device: System, name: str, factor: int) -> None:
    """By a multiple for each way to pack them: none, gzip, xz."""
    before = BUILDER.find(device, NEEDS)
    (path,) = (module.path for module in before.modules if module.name == name)
    device.write_file(path, device.read_bytes(path) + bytes(100_000))
    after = BUILDER.find(device, NEEDS)
    assert after.size.unpacked_bytes - before.size.unpacked_bytes == factor * 100_000
