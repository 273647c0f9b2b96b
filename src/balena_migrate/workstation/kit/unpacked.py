# SPDX-License-Identifier: Apache-2.0
"""What a kit's archive would unpack: a .tar.gz, or the one behind the script of a self-extracting file."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from balena_migrate.core.digest import Digester
from balena_migrate.core.errors import FileError
from balena_migrate.core.kit import SUMS_FILE
from balena_migrate.core.kit_sums import LIST_LIMIT_BYTES, Comparison, Entry, compare, parse_sums
from balena_migrate.core.units import MIB

AGAIN = "copy it again, or build it again"

_SCRIPT = b"#!/bin/sh\n"
_SCRIPT_LIMIT_BYTES = MIB
_SUM = re.compile(rb"\{ sum=(?P<sum>[0-9a-f]{64})\n")
_PAYLOAD_LINE = re.compile(rb"^payload_line=(?P<number>[0-9]{1,4})$", re.MULTILINE)


def check_archive(path: Path) -> Comparison:
    """The kit in the archive beside its list; nothing is unpacked. Raises FileError for a damaged archive."""
    found: list[Entry] = []
    text = ""
    try:
        with path.open("rb") as file:
            skip_script(path, file)
            unpacked = gzip.GzipFile(fileobj=file)
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                for entry, content in read_members(archive):
                    found.append(entry)
                    text = content or text
            while unpacked.read(MIB):  # its checksum is behind tar's end
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise FileError(path, f"is no kit, or is damaged: {error}", hint=AGAIN) from None
    if not text:
        raise FileError(path, f"has no {SUMS_FILE}: it is no kit, or one of an earlier version", hint=AGAIN)
    return compare(parse_sums(text), found)


def skip_script(path: Path, file: BinaryIO) -> None:
    """The file is at the first byte of its .tar.gz. Raises FileError where the sum of a self-extracting file is wrong.

    That sum covers every byte behind it; who changes the file on purpose can change the sum, too.
    """
    if file.read(len(_SCRIPT)) != _SCRIPT:
        file.seek(0)
        return
    named = _SUM.match(file.readline())
    start = file.tell()
    line = _PAYLOAD_LINE.search(file.read(_SCRIPT_LIMIT_BYTES))
    file.seek(start)
    digester = Digester()
    shutil.copyfileobj(file, digester, MIB)
    if named is None or line is None or digester.digest().sha256 != named["sum"].decode():
        raise FileError(path, "is damaged or incomplete: its SHA-256 does not match", hint=AGAIN)
    file.seek(0)
    for _ in range(int(line["number"]) - 1):
        file.readline()


def read_members(archive: tarfile.TarFile) -> Iterator[tuple[Entry, str]]:
    """What tar would create, below the one folder in which all of it is; with the text of the list, else "".

    A name outside of that folder is an entry with its own name, which no list has.
    """
    top: tuple[str, ...] = ()
    for member in archive:
        parts = PurePosixPath(member.name).parts
        top = top or parts[:1]
        inside = parts[:1] == top != ("/",) and ".." not in parts
        name = "/".join(parts[1:]) if inside else member.name
        if member.isdir() and inside:
            continue
        yield from _read(archive, member, name)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Iterator[tuple[Entry, str]]:
    if member.issym():
        yield Entry(name=name, target=member.linkname), ""
        return
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        yield Entry(name=name), ""
        return
    digester, text = Digester(), b""
    while block := content.read(MIB):
        digester.write(block)
        if name == SUMS_FILE and len(text) < LIST_LIMIT_BYTES:
            text += block
    entry = Entry(name=name, digest=digester.digest(), executable=bool(member.mode & 0o100))
    yield entry, text.decode("utf-8", "replace")
