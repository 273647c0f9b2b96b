# SPDX-License-Identifier: Apache-2.0
"""The running kernel's modules: what depmod(8) wrote about them, and what loading one takes.

Sources: modules.dep(5), depmod.d(5), modprobe.d(5), and the kernel's Documentation/kbuild/kbuild.rst (modules.builtin).
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import shlex
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.initramfs import Module

MODULE_FOLDERS = ("/lib/modules", "/usr/lib/modules")
MODPROBE_FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/lib/modprobe.d")
"""modprobe.d(5); a file hides those of the same name in later folders."""
FIRMWARE_FOLDERS = tuple(f"/lib/firmware{below}" for below in ("/updates/{release}", "/updates", "/{release}", ""))
"""Documentation/driver-api/firmware/fw_search_path.rst of the kernel."""
FIRMWARE_ENDINGS = ("", ".zst", ".xz")
ALIAS_START = 3
"""By how many characters the patterns of aliases are told apart."""
DEPTH_LIMIT = 100
"""Of what a module needs, and that in turn: there are no ten in a kernel."""
INDEX_LIMIT_BYTES = 64 * MIB
MODULE_LIMIT_BYTES = 128 * MIB


@dataclass(frozen=True, kw_only=True)
class KernelModules:
    """The index of one kernel's modules. Names have underscores, as the kernel shows them."""

    folder: str
    """"" where there is no folder of this kernel's modules."""
    files: dict[str, str] = field(default_factory=dict)
    """Name -> path below the folder."""
    needed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> names of the modules without which it cannot be loaded, in the order in which they have to be loaded."""
    softdeps: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    """Name -> names or aliases of what should be loaded before it, and after it."""
    aliases: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Pattern and name, by how the pattern starts: by its first characters, or all of it where it has no wildcard."""
    built_in: frozenset[str] = frozenset()
    """Names and aliases of what is part of the kernel itself."""
    parameters: dict[str, str] = field(default_factory=dict)

    def find(self, name: str) -> tuple[str, ...]:
        """The modules of this name, or else of this alias, as modprobe(8) looks for them; none where there are none."""
        plain = module_name(name)
        if plain in self.files:
            return (plain,)
        known = (alias for start in _alias_starts(name) for alias in self.aliases.get(start, ()))
        return tuple(module for pattern, module in known if fnmatchcase(name, pattern) and module in self.files)

    def is_built_in(self, name: str) -> bool:
        return module_name(name) in self.built_in or name in self.built_in

    def closure(self, names: Iterable[str]) -> tuple[Module, ...]:
        """These modules, and all that loading them takes, each once, in an order in which they can be loaded."""
        order: dict[str, None] = {}
        for name in names:
            self._add(name, order, set())
        return tuple(self.module(name) for name in order)

    def module(self, name: str) -> Module:
        return Module(
            name=name,
            path=str(PurePosixPath(self.folder, self.files[name])),
            parameters=self.parameters.get(name, "").strip(),
        )

    def _add(self, name: str, order: dict[str, None], above: set[str]) -> None:
        # Soft dependencies may name each other in a circle, or (in a damaged file) without end.
        if name in order or name in above or name not in self.files or len(above) > DEPTH_LIMIT:
            return
        before, after = self.softdeps.get(name, ((), ()))
        inside = above | {name}
        for other in (*self.needed.get(name, ()), *self._found(before)):
            self._add(other, order, inside)
        order[name] = None
        for other in self._found(after):
            self._add(other, order, inside)

    def _found(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            yield from self.find(name)


def module_name(text: str) -> str:
    """A module's name as the kernel shows it."""
    return text.replace("-", "_")


def file_module_name(path: str) -> str:
    """The name of the module in a file: kernel/fs/fat/nls-x.ko.xz is nls_x."""
    return module_name(path.rpartition("/")[2].partition(".ko")[0])


def read_kernel_modules(system: System, release: str, command_line: str) -> KernelModules:
    """The index of this kernel's modules. Raises FileError where a part of it is there and cannot be read."""
    folder = next((f"{top}/{release}" for top in MODULE_FOLDERS if system.is_file(f"{top}/{release}/modules.dep")), "")
    files, needed = parse_dependencies(_text(system, f"{folder}/modules.dep")) if folder else ({}, {})
    configuration = "\n".join(_modprobe_texts(system))
    softdeps = "\n".join((_text(system, f"{folder}/modules.softdep") if folder else "", configuration))
    return KernelModules(
        folder=folder,
        files=files,
        needed=needed,
        softdeps=parse_softdeps(softdeps),
        aliases=parse_aliases(_text(system, f"{folder}/modules.alias")) if folder else {},
        built_in=_read_built_in(system, folder) if folder else frozenset(),
        parameters=parse_parameters(configuration, command_line),
    )


def _text(system: System, path: str) -> str:
    return system.read_text(path, limit_bytes=INDEX_LIMIT_BYTES) if system.is_file(path) else ""


def _modprobe_texts(system: System) -> Iterator[str]:
    found: dict[str, PurePosixPath] = {}
    for folder in MODPROBE_FOLDERS:
        for path in system.glob(f"{folder}/*.conf"):
            found.setdefault(path.name, path)
    for name in sorted(found):
        yield _text(system, str(found[name]))


def _read_built_in(system: System, folder: str) -> frozenset[str]:
    names = {file_module_name(line) for line in _text(system, f"{folder}/modules.builtin").splitlines()}
    # NUL-terminated "module.key=value"; kernels have it since 5.2.
    for item in _text(system, f"{folder}/modules.builtin.modinfo").split("\0"):
        key, _, value = item.partition("=")
        if key.endswith(".alias"):
            names.add(value)
    return frozenset(names)


def parse_dependencies(text: str) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Of modules.dep: name -> path, and name -> what must be loaded before it, first things first."""
    files: dict[str, str] = {}
    needed: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        path, colon, rest = line.partition(":")
        if colon:
            name = file_module_name(path)
            files[name] = path
            needed[name] = tuple(file_module_name(other) for other in reversed(rest.split()))
    return files, needed


def parse_softdeps(text: str) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Lines "softdep NAME pre: A B post: C"; several lines for a name add up."""
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "softdep":
            continue
        name, kind = module_name(words[1]), ""
        lists: dict[str, list[str]] = {"pre:": [], "post:": []}
        for word in words[2:]:
            if word in lists:
                kind = word
            elif kind:
                lists[kind].append(word)
        before, after = found.get(name, ((), ()))
        found[name] = ((*before, *lists["pre:"]), (*after, *lists["post:"]))
    return found


_WILDCARD = re.compile(r"[*?\[]")


def parse_aliases(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Lines "alias PATTERN NAME", as KernelModules.aliases.

    A kernel has some 20,000 of them, nearly all for hardware; to compare one name with each would take seconds.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "alias":
            pattern = words[1]
            plain = _WILDCARD.split(pattern, 1)[0]
            start = pattern if plain == pattern else plain[:ALIAS_START]
            found.setdefault(start, []).append((pattern, module_name(words[2])))
    return {start: tuple(aliases) for start, aliases in found.items()}


def _alias_starts(name: str) -> tuple[str, ...]:
    """How the patterns start that can be those of this name."""
    return tuple(dict.fromkeys((name, *(name[:length] for length in range(ALIAS_START + 1)))))


_ARGUMENT = re.compile(r"([A-Za-z0-9_-]+)\.(.+)", re.DOTALL)


def parse_parameters(configuration: str, command_line: str) -> dict[str, str]:
    """Name -> parameters: of "options NAME a=1 b=2" in modprobe.d, then of NAME.a=1 on the kernel's command line.

    The kernel itself only heeds the latter for what is built in; modprobe(8) passes them on, and so do we.
    """
    found: dict[str, str] = {}
    for line in configuration.replace("\\\n", " ").splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[0] == "options":
            name = module_name(words[1])
            found[name] = f"{found.get(name, '')} {words[2]}"
    for word in _words(command_line):
        match = _ARGUMENT.fullmatch(word)
        if match:
            name = module_name(match[1])
            found[name] = f"{found.get(name, '')} {match[2]}"
    return found


def _words(command_line: str) -> list[str]:
    """The arguments; the kernel keeps what is in double quotes together."""
    reader = shlex.shlex(command_line, posix=True)
    reader.whitespace_split, reader.commenters, reader.quotes, reader.escape = True, "", '"', ""
    try:
        return list(reader)
    except ValueError:  # a quote without an end
        return command_line.split()


_UNPACKED: Mapping[str, Callable[[io.BytesIO], io.BufferedIOBase]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".xz": lzma.LZMAFile,
}


def read_module(system: System, path: str) -> bytes:
    """The module's ELF file, unpacked. Raises FileError, or CommandError if zstd cannot unpack it."""
    content = system.read_bytes(path, limit_bytes=MODULE_LIMIT_BYTES)
    if path.endswith(".zst"):
        return system.run(["zstd", "-q", "-d", "-c"], data=content).stdout
    packed = io.BytesIO(content)
    unpack = _UNPACKED.get(PurePosixPath(path).suffix)
    try:
        module = (unpack(packed) if unpack else packed).read(MODULE_LIMIT_BYTES + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise FileError(path, f"cannot be unpacked: {error}") from None
    if len(module) > MODULE_LIMIT_BYTES:
        raise FileError(path, f"is larger than {MODULE_LIMIT_BYTES} bytes")
    return module


def firmware_names(module: bytes) -> tuple[str, ...]:
    """The firmware files that a module names: entries "firmware=" of its section .modinfo, which are NUL-terminated."""
    found = re.finditer(rb"firmware=([^\0]+)\0", module)
    names = (entry[1] for entry in found if module.endswith(b"\0", 0, entry.start()))
    return tuple(dict.fromkeys(name.decode("utf-8", "replace") for name in names))


def find_firmware(system: System, name: str, release: str) -> tuple[str, ...]:
    """The paths of a firmware file, as the kernel would look for it; none where it is not installed.

    The name may be a pattern.
    """
    for folder in FIRMWARE_FOLDERS:
        for ending in FIRMWARE_ENDINGS:
            found = system.glob(f"{folder.format(release=release)}/{name}{ending}")
            if files := tuple(str(path) for path in found if system.is_file(path)):
                return files
    return ()
