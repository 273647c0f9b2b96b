# SPDX-License-Identifier: Apache-2.0
"""The list of a kit's files with their SHA-256, and what of a kit is not as the list says.

The list has the form of sha256sum(1): in the kit's folder, `sha256sum --check base/SHA256SUMS` compares as well. It
names every file but itself and its signature. A link has the sum of the file to which it leads, which is in the kit.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.digest import Digest
from balena_migrate.core.errors import FileError
from balena_migrate.core.kit import SUMS_FILE, is_program
from balena_migrate.core.signature import SIGNATURE_SUFFIX
from balena_migrate.core.system import System, errors_at
from balena_migrate.core.units import MIB

BASE = "base/"
UNLISTED = (SUMS_FILE, SUMS_FILE + SIGNATURE_SUFFIX)
LIST_LIMIT_BYTES = 4 * MIB

_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<name>[^\\\n]+)")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a kit has under a name, relative to the kit: a file, a link, or something that no kit has.

    `digest` is a file's, and None for all else; `target` is where a link leads, as it is written there.
    """

    name: str
    digest: Digest | None = None
    executable: bool = False
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A kit beside its list. Without faults, each file of the list is there and is as it was when the kit was made."""

    files: int
    """How many were compared."""
    size_bytes: int
    faults: tuple[str, ...]
    """What is wrong: a file, and what of it."""


def format_sums(entries: Iterable[Entry]) -> str:
    """The list, sorted by name. Raises FileError for what no kit has, or a name that the list cannot hold."""
    found = {entry.name: entry for entry in entries}
    sums = {name: _sum_of(entry, found) for name, entry in found.items() if name not in UNLISTED}
    lines = []
    for name, sha256 in sorted(sums.items()):
        line = f"{sha256}  {name}"
        if not _LINE.fullmatch(line):
            raise FileError(name, "is no file that a kit may have")
        lines.append(line + "\n")
    return "".join(lines)


def parse_sums(text: str) -> dict[str, str]:
    """SHA-256 by name. Raises FileError for a line that is none of a list, and where a name is there twice."""
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match["name"] in sums:
            raise FileError(SUMS_FILE, f"line {number} is none of a list of files")
        sums[match["name"]] = match["sha256"]
    if not sums:
        raise FileError(SUMS_FILE, "the list is empty")
    return sums


def compare(sums: Mapping[str, str], entries: Iterable[Entry]) -> Comparison:
    """All entries of a kit, or of a part of it, beside the lines of the list that are about it."""
    found: dict[str, Entry] = {}
    faults = []
    for entry in entries:
        if entry.name in found:
            faults.append(f"{entry.name} is there twice")
        found[entry.name] = entry
    names = sorted({*sums, *found} - {*UNLISTED})
    faults += [fault for name in names if (fault := _find_fault(name, sums, found))]
    digests = [entry.digest for name, entry in found.items() if entry.digest and name not in UNLISTED]
    return Comparison(files=len(names), size_bytes=sum(digest.size_bytes for digest in digests), faults=tuple(faults))


def _find_fault(name: str, sums: Mapping[str, str], found: Mapping[str, Entry]) -> str:
    """What is wrong with this name; "" if it is as the list says."""
    if name not in found:
        return f"{name} is missing"
    if name not in sums:
        return f"{name} was added: the list does not have it"
    entry = found[name]
    sha256 = _sum_of(entry, found)
    if sha256 is None and entry.target is not None:
        return f"{name} is a link to {entry.target}, which is no file of the kit"
    if sha256 is None:
        return f"{name} is no file"
    if sha256 != sums[name]:
        return f"{name} was changed: its SHA-256 is another"
    if is_program(name) and entry.target is None and not entry.executable:
        return f"{name} is not executable"
    return ""


def _sum_of(entry: Entry, found: Mapping[str, Entry]) -> str | None:
    """Of a link, that of the file to which it leads; None where that is outside of the kit or is no file."""
    if entry.target is not None:
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), entry.target))
        entry = found.get(inside, entry)
    return entry.digest.sha256 if entry.digest else None


# A kit in a folder ---------------------------------------------------------------------------------------------------


def check_folder(folder: Path, part: str = "") -> Comparison:
    """The kit in a folder beside its list, or only what is in the part `base/`. Raises FileError without a list."""
    text = System().read_text((folder / SUMS_FILE).absolute(), limit_bytes=LIST_LIMIT_BYTES)
    sums = {name: sha256 for name, sha256 in parse_sums(text).items() if name.startswith(part)}
    return compare(sums, read_folder(folder, part))


def read_folder(folder: Path, part: str = "") -> Iterator[Entry]:
    """All that is in the folder, in its part `base/` or in all of it; no link is followed. Raises FileError."""
    with errors_at(folder):
        for here, folders, files in os.walk(folder / part, onerror=_raise):
            for path in (Path(here, name) for name in (*folders, *files)):
                status = path.lstat()
                if not stat.S_ISDIR(status.st_mode):
                    yield _read(path, path.relative_to(folder).as_posix(), status.st_mode)


def _read(path: Path, name: str, mode: int) -> Entry:
    if stat.S_ISLNK(mode):
        return Entry(name=name, target=os.readlink(path))
    if not stat.S_ISREG(mode):
        return Entry(name=name)
    return Entry(name=name, digest=System().digest(path.absolute()), executable=bool(mode & stat.S_IXUSR))


def _raise(error: OSError) -> None:
    raise error
