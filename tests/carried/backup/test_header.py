# SPDX-License-Identifier: Apache-2.0
"""The headers that we make ourselves are those of tarfile, byte for byte."""

from __future__ import annotations

import os
import stat
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balena_migrate.carried.backup import header as header_module
from balena_migrate.carried.backup.header import make_header

NAMES = st.binary(min_size=1, max_size=130).filter(lambda name: b"\0" not in name).map(os.fsdecode)
OWNERS = st.one_of(st.integers(0, 70_000), st.integers(8**7 - 2, 8**7 + 2), st.just(2**32 - 1))
SIZES = st.one_of(st.integers(0, 2000), st.integers(8**11 - 2, 8**11 + 2))
KINDS = st.sampled_from((tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE))


def info_of(mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, mtime, 0))


def of_tarfile(name: str, kind: bytes, info: os.stat_result, size: int, target: str) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    member.mode, member.uid, member.gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
    member.mtime = max(0, int(info.st_mtime))
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


@example("/", tarfile.DIRTYPE, 0, "a", 0, 0, 0, 0)
@given(NAMES, KINDS, SIZES, NAMES, st.integers(0, 0o7777), OWNERS, OWNERS, st.integers(-(2**40), 2**40))
def test_any_header_is_that_of_tarfile(
    name: str, kind: bytes, size: int, link: str, mode: int, uid: int, gid: int, mtime: int
) -> None:
    size = size if kind == tarfile.REGTYPE else 0
    target = link if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    info = info_of(mode, uid, gid, mtime)
    assert make_header(name, kind, info, size=size, target=target) == of_tarfile(name, kind, info, size, target)


def test_the_largest_checksum_is_right() -> None:
    name = os.fsdecode(b"\xff" * 100)
    info = info_of(0o7777, 8**7 - 1, 8**7 - 1, 8**11 - 1)
    for kind, size, target in ((tarfile.REGTYPE, 8**11 - 1, ""), (tarfile.SYMTYPE, 0, name)):
        made = make_header(name, kind, info, size=size, target=target)
        assert made == of_tarfile(name, kind, info, size, target)


def test_the_common_header_does_without_tarfile(monkeypatch: pytest.MonkeyPatch) -> None:
    """tarfile takes as long for a header as reading a small file takes."""
    monkeypatch.setattr(header_module, "_any_header", None)
    made = make_header("etc/hosts", tarfile.REGTYPE, info_of(), size=700)
    assert len(made) == tarfile.BLOCKSIZE


def test_a_folder_that_no_tree_brings_belongs_to_root() -> None:
    member = tarfile.TarInfo.frombuf(make_header("./data", tarfile.DIRTYPE, None), "utf-8", "strict")
    assert (member.name, member.mode, member.uid, member.gid, member.mtime) == ("./data", 0o755, 0, 0, 0)


def test_large_sizes_and_owners_need_no_pax_headers() -> None:
    """A file of more than 8 GiB and an owner above 2^21 are written in GNU tar's base 256."""
    made = make_header("./data/huge", tarfile.REGTYPE, info_of(uid=3_000_000), size=9 << 30)
    assert len(made) == 512 and made[124] == 0x80 and made[108] == 0x80
