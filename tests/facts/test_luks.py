# SPDX-License-Identifier: Apache-2.0
"""What unlocks an encrypted root, by its LUKS2 header."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from balena_migrate.core.system import Result, System
from balena_migrate.facts.disks import read_disks
from balena_migrate.facts.luks import parse_luks_tokens, read_luks_tokens

TOKENS = {"0": {"type": "systemd-recovery", "keyslots": ["1"]}, "1": {"type": "systemd-tpm2", "keyslots": ["0"]}}
HEADER_BYTES = 16384


def header(*, version: int = 2, size_bytes: int = HEADER_BYTES, magic: bytes = b"LUKS\xba\xbe") -> bytes:
    head = struct.pack(">6sHQ", magic, version, size_bytes).ljust(4096, b"\0")
    return (head + json.dumps({"keyslots": {}, "tokens": TOKENS}).encode()).ljust(HEADER_BYTES, b"\0")


@pytest.mark.parametrize(
    ("content", "types"),
    [
        (header(), ("systemd-recovery", "systemd-tpm2")),
        (header(version=1), ()),
        (header(magic=b"SKUL\xba\xbe"), ()),
        (header(size_bytes=1 << 40), ()),
        (header(size_bytes=0), ()),
        (header()[:10], ()),
        (header()[:4200], ()),
    ],
)
def test_the_tokens_of_a_header(tmp_path: Path, content: bytes, types: tuple[str, ...]) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sda2").write_bytes(content)
    system = System(tmp_path)
    assert read_luks_tokens(system, "/dev/sda2") == types
    assert read_luks_tokens(system, "/dev/gone") == ()


@pytest.mark.parametrize(
    "area",
    [b"", b"[]", b"{}", b'{"tokens": []}', b'{"tokens": {"0": 1}}', b'{"tokens": {"0": {}}}', b"\xff", b"[" * 100_000],
    ids=range(8),
)
def test_a_damaged_header_has_no_tokens(area: bytes) -> None:
    assert parse_luks_tokens(area) == ()


def test_only_what_is_below_the_root_is_looked_into(tmp_path: Path) -> None:
    def part(name: str, children: list[dict[str, object]]) -> dict[str, object]:
        return {"name": name, "path": f"/dev/{name}", "type": "part", "fstype": "crypto_LUKS", "children": children}

    root: dict[str, object] = {"name": "dm-0", "path": "/dev/mapper/root", "type": "crypt", "fstype": "ext4"}
    disk = {
        "name": "sda",
        "path": "/dev/sda",
        "type": "disk",
        "size": 1,
        "children": [part("sda2", [root]), part("sda3", [])],
    }

    def lsblk(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        return Result(stdout=json.dumps({"blockdevices": [disk]}).encode(), stderr=b"", returncode=0)

    for folder in ("dev", "proc/self"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("sda2", "sda3"):
        (tmp_path / "dev" / name).write_bytes(header())
    mountinfo = "21 1 253:0 / / rw,relatime - ext4 /dev/mapper/root rw\n"
    (tmp_path / "proc/self/mountinfo").write_text(mountinfo)
    devices = read_disks(System(tmp_path, runner=lsblk)).devices
    assert {device.name for device in devices if device.luks_tokens} == {"sda2"}
