# SPDX-License-Identifier: Apache-2.0
"""The kits themselves, each started in a root that holds nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from balena_migrate import VERSION
from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.kit.archive import packed_size_bytes
from balena_migrate.workstation.kit.assemble import assemble
from balena_migrate.workstation.kit.packages import unpack_packages, unpack_wheel
from balena_migrate.workstation.kit.programs import Tree
from balena_migrate.workstation.kit.recipe import WHEEL_FILES
from tests.images.formats import READABLE, of_file
from tests.support.kit_root import Root, enter

pytestmark = pytest.mark.kit

BASE_LIMIT_BYTES = 15 << 20

IMPORTS = """
import bz2, ctypes, decimal, fcntl, hashlib, json, lzma, mmap, ssl, tarfile, urllib.request, uuid, zipfile, zlib
import click, rich.console, rich.logging, rich.progress, rich.table, rich_click, yaml, zstandard
"""

START_PROGRAMS = """
import json, subprocess
from balena_migrate.core.kit import find_kit
for name, argv in find_kit().programs().items():
    done = subprocess.run([*argv, "true" if name == "busybox" else "--version"], capture_output=True, text=True)
    print(json.dumps([name, done.returncode, done.stderr]))
"""

FIND_KIT = """
import json
from balena_migrate.core.kit import find_kit
kit = find_kit()
print(json.dumps([kit.architecture, str(kit.base), kit.programs()]))
"""


def programs_of(root: Root) -> dict[str, list[str]]:
    done = root.run_python(FIND_KIT)
    assert done.stderr == ""
    architecture, base, programs = json.loads(done.stdout)
    assert (architecture, base) == (root.kit.architecture, "/kit/base")
    return dict(programs)


def test_commands_start(root: Root) -> None:
    for name, option, answer in (
        ("balena-migrate", "--version", VERSION),
        ("balena-stage1", "--help", "Usage: balena-stage1 "),
    ):
        done = root.run("/kit/base/busybox", "sh", f"/kit/{name}", option)
        assert (done.returncode, done.stderr) == (0, "")
        assert answer in done.stdout


@pytest.mark.parametrize(("initramfs", "missing"), [("composed", False), ("initramfs-tools", True)])
def test_check_looks_at_the_device(root: Root, initramfs: str, missing: bool) -> None:
    """All facts are gathered with what the kit has; a device without a single file is refused.

    It has no program either, which only mkinitramfs' way misses.
    """
    words = ("check", "--json", "--initramfs", initramfs)
    done = root.run("/kit/base/busybox", "sh", "/kit/balena-migrate", *words)
    assert (done.returncode, done.stderr) == (1, "")
    findings = json.loads(done.stdout)["findings"]
    codes = {finding["code"] for finding in findings if finding["severity"] == "blocker"}
    assert "image" in codes and ("programs-missing" in codes) is missing


def test_everything_can_be_imported(root: Root) -> None:
    done = root.run_python(IMPORTS)
    assert (done.returncode, done.stderr) == (0, "")


def test_public_authorities_are_known(root: Root) -> None:
    source = (
        "import ssl; print(len(ssl.create_default_context(cafile='/kit/more/ssl/ca-certificates.crt').get_ca_certs()))"
    )
    assert int(root.run_python(source).stdout) > 100


def test_every_program_starts(root: Root) -> None:
    """All libraries of every program are there: each prints its version and no complaint."""
    done = root.run_python(START_PROGRAMS)
    assert (done.returncode, done.stderr) == (0, "")
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) > 10
    assert [end for end in ends if end[1:] != [0, ""]] == []


def test_names_that_the_code_calls_are_there(root: Root) -> None:
    names = {"blkid", "cpio", "lsblk", "mattrib", "mcopy", "mdir", "mmd", "mtype", "sfdisk", "tar", "zstd"}
    assert names <= set(programs_of(root))


def test_mtools_convert_names(root: Root, tmp_path: Path) -> None:
    """A file with a long name goes into a FAT file system and comes back, which needs the code page."""
    subprocess.run(["mkfs.vfat", "-C", root.path / "fat.img", "4096"], check=True, capture_output=True)
    (root.path / "text").write_text("hello\n")
    programs = programs_of(root)
    copied = root.run(*programs["mcopy"], "-i", "/fat.img", "/text", "::/a-long-name.text")
    assert (copied.returncode, copied.stderr) == (0, "")
    assert root.run(*programs["mtype"], "-i", "/fat.img", "::/a-long-name.text").stdout == "hello\n"
    (root.path / "fat.img").unlink()


def test_stage2_starts_from_the_base_part_alone(root: Root, tmp_path: Path) -> None:
    """Without a hand-over stage 2 says so and leads back to the old system."""
    shutil.copytree(root.kit.base, tmp_path / "balena-migrate/base", symlinks=True)
    argv = ("/balena-migrate/base/busybox", "sh", "/balena-migrate/base/stage2", "/root")
    done = enter(tmp_path, root.kit.architecture, *argv)
    assert done.returncode == 0
    assert "/etc/balena-migrate-stage2.conf" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


UNPACK = """
import sys
from balena_migrate.images import fast_zlib
from balena_migrate.images.formats import magic_bytes, read_chunks, sniff_format
for path in sys.argv[1:]:
    with open(path, "rb", buffering=0) as file:
        known = sniff_format(file.read(magic_bytes()))
        file.seek(0)
        crc = 0
        for chunk in read_chunks(file, known, 1 << 20):
            crc = fast_zlib.zlib.crc32(chunk.data, crc)
    print(known.name, crc)
print(fast_zlib.zlib.__name__)
"""


def test_the_base_part_alone_unpacks_every_format(root: Root, tmp_path: Path) -> None:
    shutil.copytree(root.kit.base, tmp_path / "base", symlinks=True)
    content = bytes(510) + b"\x55\xaa" + bytes(range(256)) * 9000
    for name in READABLE:
        (tmp_path / name).write_bytes(of_file(name)[1].pack(content))
    python = ("/base/ld.so", "--inhibit-cache", "--argv0", "/base/bin/python3", "--library-path", "/base/lib")
    done = enter(tmp_path, root.kit.architecture, *python, "/base/bin/python3", "-I", "-S", "-c", UNPACK, *READABLE)
    assert done.stderr == ""
    library = "zlib_ng.zlib_ng" if root.kit.architecture in WHEEL_FILES else "zlib"
    crc = zlib.crc32(content)
    assert done.stdout.splitlines() == [*(f"{of_file(name)[0].name} {crc}" for name in READABLE), library]


def test_the_licences_of_the_decoders_are_there(root: Root) -> None:
    licences = {path.name for path in (root.kit.more / "licenses").iterdir()}
    assert {"liblzma5", "libbz2-1.0", "libzstd1", "python3-zstandard"} <= licences
    assert sum(name.startswith("zlib_ng") for name in licences) == 2 * (root.kit.architecture in WHEEL_FILES)


def test_base_part_is_small(root: Root) -> None:
    assert packed_size_bytes(root.kit.base) < BASE_LIMIT_BYTES


def test_kit_names_no_place_of_the_build(root: Root) -> None:
    """Nothing in a kit depends on where it was built."""
    home = os.fsencode(Path(__file__).parents[3])
    for path in root.kit.path.rglob("*"):
        assert path.is_dir() or home not in path.read_bytes(), path


def test_the_kit_verifies_itself(root: Root) -> None:
    """All of it is listed, and starting it has added nothing."""
    root.run("/kit/base/busybox", "sh", "/kit/balena-migrate", "--help")
    done = root.run("/kit/base/busybox", "sh", "/kit/balena-migrate", "kit", "verify", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr, found["faults"]) == (0, "", [])
    assert found["files"] == sum(path.is_file() for path in root.kit.path.rglob("*")) - 1 > 500
    shutil.copytree(root.kit.path, root.path / "damaged", symlinks=True)
    (root.path / "damaged/base/lib/libc.so.6").unlink()
    done = root.run("/kit/base/busybox", "sh", "/kit/balena-migrate", "kit", "verify", "/damaged")
    assert (done.returncode, done.stdout) == (3, "base/lib/libc.so.6 is missing\n")
    shutil.rmtree(root.path / "damaged")


def test_same_source_gives_the_same_kit(tmp_path: Path) -> None:
    tree = unpack_packages(Architecture.AMD64, cache_folder(), print)
    wheel = unpack_wheel(Architecture.AMD64, cache_folder(), print)
    for name in ("one", "two"):
        packages = Tree(path=tree, wheel=wheel, platform=PLATFORMS[Architecture.AMD64])
        assemble(packages, Architecture.AMD64, tmp_path / name)
    subprocess.run(["diff", "-r", tmp_path / "one", tmp_path / "two"], check=True)
