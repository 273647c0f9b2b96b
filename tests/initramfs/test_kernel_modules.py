# SPDX-License-Identifier: Apache-2.0
"""The index of a kernel's modules, and what loading one takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.initramfs.composed import kernel_modules
from balena_migrate.initramfs.composed.kernel_modules import (
    KernelModules,
    find_firmware,
    firmware_names,
    parse_aliases,
    parse_parameters,
    parse_softdeps,
    read_kernel_modules,
    read_module,
)
from tests.initramfs.device import RELEASE, make_device, make_modules, write


def index(root: Path, command_line: str = "") -> KernelModules:
    return read_kernel_modules(make_device(root), RELEASE, command_line)


def names(modules: KernelModules, *wanted: str) -> list[str]:
    return [module.name for module in modules.closure(wanted)]


def test_what_a_module_needs_comes_before_it(tmp_path: Path) -> None:
    assert names(index(tmp_path), "ahci") == ["scsi_mod", "libata", "libahci", "ahci"]


def test_soft_dependencies_are_taken_by_name_and_by_alias(tmp_path: Path) -> None:
    found = names(index(tmp_path), "ext4")
    assert set(found) == {"mbcache", "jbd2", "crc32c_generic", "crc32c_intel", "ext4"}
    assert found[-1] == "ext4"


def test_soft_dependencies_in_a_circle_end(tmp_path: Path) -> None:
    modules = KernelModules(
        folder="/m",
        files={"a": "a.ko", "b": "b.ko"},
        needed={},
        softdeps=parse_softdeps("softdep a pre: b\nsoftdep b pre: a post: a\n"),
    )
    assert sorted(names(modules, "a", "b")) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pci:v00008086d1sv2", ("ahci",)),
        ("pci:v1", ()),
        ("fs-ext4", ("ext4",)),
        ("char-major-10-7", ("odd",)),
        ("acpiPNP:x", ("odd",)),
        ("ab", ("odd", "ext4")),
        ("", ()),
    ],
)
def test_an_alias_may_be_a_pattern(name: str, expected: tuple[str, ...]) -> None:
    lines = ("pci:v00008086d*sv* ahci", "fs-ext4 ext4", "char-major-10-* odd", "acpi*:x odd", "[a-c]b ext4", "a? odd")
    aliases = parse_aliases("".join(f"alias {line}\n" for line in (*lines, "ab gone")))
    files = {name: f"{name}.ko" for name in ("ahci", "ext4", "odd")}
    assert sorted(KernelModules(folder="/m", files=files, aliases=aliases).find(name)) == sorted(expected)


def test_a_name_is_compared_with_few_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    # Compared with all of a kernel's 20,000, the names of one device took 40 s.
    compared: list[tuple[str, str]] = []

    def compare(name: str, pattern: str) -> bool:
        compared.append((name, pattern))
        return False

    monkeypatch.setattr(kernel_modules, "fnmatchcase", compare)
    lines = "".join(f"alias {kind}{number:04X}* ahci\n" for number in range(10_000) for kind in ("usb:v", "acpi*:"))
    aliases = parse_aliases(f"{lines}alias crypto-crc32c ext4\nalias crypto-aes ext4\n")
    KernelModules(folder="/m", files={"ext4": "ext4.ko"}, aliases=aliases).find("crypto-crc32c")
    assert compared == [("crypto-crc32c", "crypto-crc32c")]


def test_what_is_built_in_or_unknown_is_no_module(tmp_path: Path) -> None:
    modules = index(tmp_path)
    assert modules.find("configfs") == () and modules.is_built_in("configfs")
    assert modules.find("btrfs") == () and not modules.is_built_in("btrfs")


def test_a_kernel_without_a_folder_of_modules_has_none(tmp_path: Path) -> None:
    system = make_device(tmp_path)
    assert read_kernel_modules(system, "5.0", "") == KernelModules(folder="")


def test_aliases_of_what_is_built_in_are_known(tmp_path: Path) -> None:
    system = make_device(tmp_path)
    write(tmp_path, f"lib/modules/{RELEASE}/modules.builtin.modinfo", "x.alias=crypto-crc32c\0x.license=GPL\0")
    assert read_kernel_modules(system, RELEASE, "").is_built_in("crypto-crc32c")


@pytest.mark.parametrize(
    ("configuration", "command_line", "expected"),
    [
        ("options usb-storage quirks=1:2:u\n", "", {"usb_storage": "quirks=1:2:u"}),
        ("# options a b=1\noptions a b=1 \\\n c=2\n", "", {"a": "b=1   c=2"}),
        ("options a b=1\n", "ro a.b=2 root=LABEL=a.b", {"a": "b=1 b=2", "root=LABEL=a": None}),
        ("", 'quiet dyndbg="file a.c +p" x.y="a b"', {"x": "y=a b"}),
        ("", "usbhid.mousepoll=0 usb-storage.delay_use=5", {"usbhid": "mousepoll=0", "usb_storage": "delay_use=5"}),
    ],
)
def test_parameters_come_from_modprobe_d_and_from_the_command_line(
    configuration: str, command_line: str, expected: dict[str, str | None]
) -> None:
    found = {name: text.strip() for name, text in parse_parameters(configuration, command_line).items()}
    assert {name: found.get(name) for name in expected} == expected


def test_a_file_in_etc_hides_the_same_name_in_lib(tmp_path: Path) -> None:
    write(tmp_path, "etc/modprobe.d/a.conf", "options ahci mine=1\n")
    write(tmp_path, "lib/modprobe.d/a.conf", "options ahci theirs=1\n")
    write(tmp_path, "lib/modprobe.d/b.conf", "options ahci more=1\n")
    assert index(tmp_path).module("ahci").parameters.split() == ["mine=1", "more=1"]


@pytest.mark.parametrize("name", ["ahci", "sd_mod", "ext4"])
def test_modules_are_unpacked(tmp_path: Path, name: str) -> None:
    modules = index(tmp_path)
    system = make_device(tmp_path / "again")
    assert read_module(system, modules.module(name).path) == f"the module {name}".encode()


def test_a_damaged_module_is_an_error_with_its_name(tmp_path: Path) -> None:
    system = make_device(tmp_path)
    path = read_kernel_modules(system, RELEASE, "").module("ext4").path
    (tmp_path / path.lstrip("/")).write_bytes(b"\xfd7zXZ\0damaged")
    with pytest.raises(FileError, match=r"ext4\.ko\.xz.*cannot be unpacked"):
        read_module(system, path)


def test_firmware_is_found_where_the_kernel_looks(tmp_path: Path) -> None:
    make_modules(tmp_path)
    system = make_device(tmp_path / "device")
    module = b"ELF\0license=GPL\0firmware=a/one.bin\0firmware=two.bin\0firmware=gone.bin\0\0"
    assert firmware_names(module) == ("a/one.bin", "two.bin", "gone.bin")
    root = tmp_path / "device"
    write(root, "lib/firmware/a/one.bin.xz", "")
    write(root, f"lib/firmware/{RELEASE}/two.bin", "")
    write(root, "lib/firmware/two.bin", "")
    found = [find_firmware(system, name, RELEASE) for name in firmware_names(module)]
    assert found == [("/lib/firmware/a/one.bin.xz",), (f"/lib/firmware/{RELEASE}/two.bin",), ()]
