# SPDX-License-Identifier: Apache-2.0
"""What programs and shared libraries need to start, read from their ELF headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one ELF file asks for."""

    loader: str | None
    """The dynamic loader's path (PT_INTERP); None for libraries and static programs."""
    libraries: tuple[str, ...]
    """The names of the libraries that it is linked with (DT_NEEDED)."""


def read_needs(file: Path) -> Needs:
    """The needs of a program or library. Raises elftools' ELFError if the file is not ELF."""
    loader: str | None = None
    libraries: tuple[str, ...] = ()
    with file.open("rb") as stream:
        for segment in ELFFile(stream).iter_segments():
            if isinstance(segment, InterpSegment):
                loader = segment.get_interp_name()
            elif isinstance(segment, DynamicSegment):
                # pyelftools adds this attribute at run time.
                libraries = tuple(tag.needed for tag in segment.iter_tags("DT_NEEDED"))  # type: ignore[attr-defined]
    return Needs(loader=loader, libraries=libraries)


def find_libraries(
    files: Iterable[Path], find: Callable[[str], Path], *, loaded: Iterable[str] = (), without: Iterable[str] = ()
) -> dict[str, Path]:
    """All libraries that the files need, directly or through others, and the `loaded` ones, by name.

    `find` returns the file of a library and raises an error if there is none. Libraries `without` are not looked for.
    """
    excluded = frozenset(without)
    found: dict[str, Path] = {}
    todo = [*loaded, *(name for file in files for name in read_needs(file).libraries)]
    while todo:
        name = todo.pop()
        if name not in found and name not in excluded:
            found[name] = find(name)
            todo.extend(read_needs(found[name]).libraries)
    return dict(sorted(found.items()))
