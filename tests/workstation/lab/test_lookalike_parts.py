# SPDX-License-Identifier: Apache-2.0
"""The files that a look-alike is put together from."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import System
from balena_migrate.workstation.lab.lookalike.bootpart import fingerprint, identity_files
from balena_migrate.workstation.lab.lookalike.bundle import bundle_kernel
from balena_migrate.workstation.lab.lookalike.grubboot import efi_files, environment_block
from balena_migrate.workstation.lab.lookalike.initramfs import make_initramfs
from balena_migrate.workstation.lab.lookalike.specs import SPECS, find_spec


@pytest.mark.parametrize("name", SPECS)
def test_device_type_and_settings_name_the_same_type(name: str) -> None:
    spec = find_spec(name)
    files = identity_files(spec)
    assert json.loads(files["config.json"])["deviceType"] == spec.device_type
    assert json.loads(files["device-type.json"])["slug"] == spec.device_type
    assert json.loads(files["device-type.json"])["yocto"]["machine"] == spec.machine
    assert f'VERSION="{spec.os_version}"\n'.encode() in files["os-release"]


def test_files_are_named_as_at_their_time() -> None:
    old, new = identity_files(find_spec("intel-nuc-2.15")), identity_files(find_spec("intel-nuc"))
    assert {"resin-image", "system-connections/resin-sample.ignore"} <= set(old)
    assert {"balena-image", "system-connections/balena-sample.ignore"} <= set(new)
    assert find_spec("intel-nuc-2.15").file_name == "resin-intel-nuc-2.15.1+rev2-dev-v7.16.6.img.gz"
    assert find_spec("intel-nuc").file_name == "balena-cloud-lab-intel-nuc-2.82.11+rev1-v12.9.3.img.gz"


def test_an_unknown_image_is_an_error_that_names_the_known() -> None:
    with pytest.raises(LabError, match=r"intel-nuc-2\.15"):
        find_spec("toaster")


def test_fingerprint_lists_all_but_the_settings_sorted_by_path() -> None:
    lines = fingerprint({"b": b"2", "config.json": b"{}", "a/c": b"1"}).decode().splitlines()
    assert lines == [f"{hashlib.md5(b'1').hexdigest()}  /a/c", f"{hashlib.md5(b'2').hexdigest()}  /b"]


def test_grub_environment_is_one_block() -> None:
    block = environment_block()
    assert len(block) == 1024
    assert block.startswith(b"# GRUB Environment Block\n")
    assert b"\nresin_root_part=2\n" in block


@pytest.mark.processes
def test_the_program_for_uefi_has_its_configuration_beside_it() -> None:
    files = efi_files(Path("/usr/lib/grub/x86_64-efi"))
    assert set(files) == {f"EFI/BOOT/{name}" for name in ("bootx64.efi", "grub.cfg", "grubenv", "grub_extraenv")}
    program = files["EFI/BOOT/bootx64.efi"]
    assert program.startswith(b"MZ") and b"/EFI/BOOT\0" in program
    assert files["EFI/BOOT/grubenv"] == environment_block()


def _made_up_kernel(body: bytes, init_size: int) -> bytes:
    setup = bytearray(1024)
    setup[0x1F1] = 1
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<I", setup, 0x260, init_size)
    return bytes(setup) + body


def test_bundled_kernel_starts_with_the_hook_and_holds_both_parts() -> None:
    kernel = _made_up_kernel(b"K" * 500, init_size=1 << 20)
    bundled = bundle_kernel(kernel, b"I" * 99)
    entry = struct.unpack_from("<I", bundled, 0x214)[0] - 0x100000
    assert bundled[1024 : 1024 + entry] == b"K" * 500
    hook = bundled[1024 + entry :]
    # lea esi, [ebx + distance] with ebx = 12 bytes behind the hook's start: there the initramfs begins.
    distance = struct.unpack_from("<i", hook, hook.index(b"\x8d\xb3") + 2)[0]
    assert hook[12 + distance :].startswith(b"I" * 99)
    # lea eax, [ebx + distance]: back to the kernel's first byte.
    assert struct.unpack_from("<i", hook, hook.index(b"\x8d\x83") + 2)[0] == -entry - 12
    assert struct.unpack_from("<I", bundled, 0x1F4)[0] * 16 == len(bundled) - 1024


def test_bundle_refuses_what_cannot_work() -> None:
    with pytest.raises(LabError, match="not a bzImage"):
        bundle_kernel(bytes(2048), b"I")
    with pytest.raises(LabError, match="too large"):
        bundle_kernel(_made_up_kernel(b"K" * 100, init_size=1000), b"I" * 1000)


@pytest.mark.processes
def test_cpio_reads_the_initramfs(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "busybox").write_bytes(b"program")
    archive = make_initramfs(tmp_path)
    listing = System().run(["cpio", "-tv", "--quiet"], data=gzip.decompress(archive)).text.splitlines()
    names = [line.split(maxsplit=8)[-1] for line in listing]
    assert {"bin/busybox", "bin/sh -> busybox", "init", "dev"} <= set(names)
    assert any(line.startswith("crw") and line.endswith("dev/console") for line in listing)
    assert next(line for line in listing if line.endswith(" init")).startswith("-rwxr-xr-x")
    assert archive == make_initramfs(tmp_path)
