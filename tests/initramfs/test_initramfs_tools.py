# SPDX-License-Identifier: Apache-2.0
"""The initramfs that the device's own mkinitramfs makes: what it is asked for, and what it made, by our own reader."""

from __future__ import annotations

import gzip
import stat
import subprocess
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import pytest

from balena_migrate.core.errors import CommandError, FileError
from balena_migrate.core.paths import INITRAMFS_CONFIG, WORK_DIR
from balena_migrate.core.system import Result, System
from balena_migrate.initramfs import InitramfsSize, Needs
from balena_migrate.initramfs.initramfs_tools import BUILDER, IN_INITRAMFS, check_content, root_device_named

RELEASE = "3.13.0-170-generic"
NEEDS = Needs(kernel_release=RELEASE, file_systems=("ext4", "vfat"), usb_storage=True, small_boot_partition=True)
MICROCODE = ("kernel/x86/microcode/GenuineIntel.bin",)
PLAIN_ROOT = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
KERNELS_ROOT = "22 1 179:2 / / rw - ext4 /dev/root rw,data=ordered\n"


def cpio(folder: Path, names: Sequence[str]) -> bytes:
    """An archive of empty files as mkinitramfs makes it, which lists what find(1) says."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).touch()
    found = subprocess.run(["find", "."], cwd=folder, check=True, capture_output=True).stdout
    argv = ["cpio", "--quiet", "-o", "-H", "newc"]
    return subprocess.run(argv, cwd=folder, input=found, check=True, capture_output=True).stdout


def device(root: Path, made: Callable[[], bytes], mountinfo: str = PLAIN_ROOT) -> tuple[System, list[str]]:
    """A device whose mkinitramfs makes this, and says what it saw."""
    for folder in (WORK_DIR, "etc/initramfs-tools/conf.d", "boot", "dev", "proc/self", "kit/base", "sys/dev/block"):
        (root / folder.lstrip("/")).mkdir(parents=True)
    (root / "etc/initramfs-tools/initramfs.conf").write_text("MODULES=most\nCOMPRESS=lz4\nCOMPRESSLEVEL=12\n")
    (root / "proc/self/mountinfo").write_text(mountinfo)
    (root / "dev/mmcblk0p2").touch()
    (root / "sys/dev/block/179:2").symlink_to("../../devices/mmc0/block/mmcblk0/mmcblk0p2")
    seen: list[str] = []

    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        target = root / argv[argv.index("-o") + 1].lstrip("/")
        target.write_bytes(made())
        link = root / "dev/root"
        seen.extend((*argv, f"/dev/root -> {link.readlink() if link.is_symlink() else None}"))
        return Result(stdout=b"", stderr=b"", returncode=0)

    return System(root, runner=runner), seen


def build(system: System) -> InitramfsSize:
    return BUILDER.build(system, BUILDER.find(system, NEEDS), system.real("/kit/base"), b"{}", "/boot/initramfs", None)


def whole(folder: Path) -> bytes:
    return gzip.compress(cpio(folder / "main", IN_INITRAMFS))


@pytest.mark.processes
def test_it_is_made_in_our_folder_and_packed_with_gzip_whatever_the_device_has_set(tmp_path: Path) -> None:
    system, seen = device(tmp_path / "root", lambda: whole(tmp_path))
    assert build(system) == InitramfsSize(
        packed_bytes=len(whole(tmp_path)), unpacked_bytes=len(gzip.decompress(whole(tmp_path)))
    )
    assert seen[:3] == ["env", f"TMPDIR={WORK_DIR}", "mkinitramfs"]
    files = sorted(system.real(f"{INITRAMFS_CONFIG}/conf.d").iterdir())
    script = f". '{INITRAMFS_CONFIG}/initramfs.conf'; . '{files[-1]}'; echo $COMPRESS:$COMPRESSLEVEL:$MODULES"
    script = script.replace(INITRAMFS_CONFIG, str(system.real(INITRAMFS_CONFIG)), 1)
    said = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout
    assert said == "gzip::dep\n"
    assert {path.name for path in system.real(WORK_DIR).iterdir()} == {"initramfs-tools"}


@pytest.mark.processes
def test_the_microcode_in_front_is_read_over(tmp_path: Path) -> None:
    """mkinitramfs pads it to whole blocks of 512 bytes."""
    early = cpio(tmp_path / "early", MICROCODE)
    system, _ = device(tmp_path / "root", lambda: early + bytes(-len(early) % 4096) + whole(tmp_path))
    padded = len(early) + -len(early) % 4096
    assert build(system) == InitramfsSize(
        packed_bytes=padded + len(whole(tmp_path)), unpacked_bytes=padded + len(gzip.decompress(whole(tmp_path)))
    )


@pytest.mark.processes
@pytest.mark.parametrize("missing", IN_INITRAMFS)
def test_one_that_would_just_boot_the_old_system_is_refused(tmp_path: Path, missing: str) -> None:
    rest = [name for name in IN_INITRAMFS if name != missing]
    system, _ = device(tmp_path / "root", lambda: gzip.compress(cpio(tmp_path / "main", rest)))
    with pytest.raises(CommandError, match=f"without {missing}$"):
        build(system)
    assert not system.exists("/boot/initramfs")


@pytest.mark.processes
def test_one_that_is_damaged_is_refused_at_every_length(tmp_path: Path) -> None:
    content = whole(tmp_path)
    system, _ = device(tmp_path / "root", lambda: content)
    for length in range(0, len(content) - 1, 7):
        system.write_file("/boot/torn", content[:length])
        with pytest.raises((FileError, CommandError)):
            check_content(system, "/boot/torn")
    system.write_file("/boot/other", b"\x28\xb5\x2f\xfd" + content)
    with pytest.raises(FileError, match="other"):
        check_content(system, "/boot/other")
    assert [path.name for path in system.glob("/boot/*")] == ["other", "torn"]


@pytest.mark.processes
def test_where_the_kernel_mounted_the_root_itself_mkinitramfs_finds_its_device(tmp_path: Path) -> None:
    """As on a Raspberry Pi without an initramfs: MODULES=dep looks for /dev/root, of which there is no file."""
    system, seen = device(tmp_path / "root", lambda: whole(tmp_path), KERNELS_ROOT)
    build(system)
    assert seen[-1] == "/dev/root -> mmcblk0p2"
    assert not system.exists("/dev/root")


def test_the_link_is_taken_away_where_mkinitramfs_fails_too(tmp_path: Path) -> None:
    system, _ = device(tmp_path, lambda: b"", KERNELS_ROOT)
    link = tmp_path / "dev/root"

    def fail() -> None:
        with root_device_named(system):
            assert link.resolve() == tmp_path / "dev/mmcblk0p2"
            raise CommandError(["mkinitramfs"], 1, "")

    with pytest.raises(CommandError):
        fail()
    assert not link.is_symlink()


@pytest.mark.parametrize("mountinfo", [PLAIN_ROOT, KERNELS_ROOT.replace("179:2", "0:17"), KERNELS_ROOT + PLAIN_ROOT])
def test_no_link_is_made_where_none_is_needed_or_none_would_be_right(tmp_path: Path, mountinfo: str) -> None:
    system, _ = device(tmp_path, lambda: b"", mountinfo)
    with root_device_named(system):
        assert list((tmp_path / "dev").iterdir()) == [tmp_path / "dev/mmcblk0p2"]


def test_a_link_of_the_devices_own_is_left_alone(tmp_path: Path) -> None:
    system, _ = device(tmp_path, lambda: b"", KERNELS_ROOT)
    (tmp_path / "dev/root").symlink_to("mmcblk0p2")
    with root_device_named(system):
        pass
    assert (tmp_path / "dev/root").is_symlink()


@pytest.mark.processes
def test_the_hook_asks_for_one_module_at_a_time(tmp_path: Path) -> None:
    """Ubuntu 14.04's manual_add_modules looks at its first argument only."""
    functions = tmp_path / "hook-functions"
    functions.write_text('manual_add_modules() { echo "$1" >>"$DESTDIR/modules"; }\n')
    ours = tmp_path / "config/balena-migrate"
    (ours / "base").mkdir(parents=True)
    (ours / "base/stage2").touch()
    (ours / "stage2.conf").touch()
    (ours / "modules").write_text("uas usb_storage vfat\n")
    (tmp_path / "made").mkdir()
    folder = resources.files("balena_migrate.initramfs.initramfs_tools")
    hook = tmp_path / "hook"
    hook.write_text(
        folder.joinpath("hook.sh").read_text().replace("/usr/share/initramfs-tools/hook-functions", str(functions))
    )
    environment = {"CONFDIR": str(tmp_path / "config"), "DESTDIR": str(tmp_path / "made"), "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", hook], env=environment, check=True)
    wanted = ["ext4", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "uas", "usb_storage", "vfat"]
    assert (tmp_path / "made/modules").read_text().split() == wanted
    assert stat.S_ISREG((tmp_path / "made/balena-migrate/base/stage2").stat().st_mode)
