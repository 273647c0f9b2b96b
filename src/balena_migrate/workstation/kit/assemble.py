# SPDX-License-Identifier: Apache-2.0
"""Assemble a kit from unpacked packages, our own package and the libraries that it uses."""

from __future__ import annotations

import py_compile
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import balena_migrate
from balena_migrate.core.architectures import Architecture
from balena_migrate.core.errors import FileError
from balena_migrate.core.kit import ARCHITECTURE_FILE, LAUNCHERS, PYTHON, SUMS_FILE, Kit
from balena_migrate.core.kit_sums import format_sums, read_folder
from balena_migrate.workstation.kit import recipe
from balena_migrate.workstation.kit.modules import Module, find_closure, submodules
from balena_migrate.workstation.kit.programs import Tree, copy_file, copy_program, library_closure

PACKAGE = Path(balena_migrate.__file__).parent

_DEBIAN_PYTHON = "python{}.{}".format(*recipe.PYTHON_VERSION)
_ZIP = "python{}{}.zip".format(*recipe.PYTHON_VERSION)
"""Where Python looks for its standard library, and how it finds its own prefix (CPython: Modules/getpath.py)."""

_PRELOAD = b"/etc/ld.so.preload\0"
_NO_PRELOAD = b"/no/ld.so.preload/\0"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The modules of each part, by name."""

    base: Mapping[str, Module]
    more: Mapping[str, Module]


def assemble(tree: Tree, architecture: Architecture, folder: Path) -> None:
    """Make the folder, which is empty or does not exist, a kit. Raises FileError if the packages lack something."""
    kit = Kit(path=folder, architecture=architecture)
    with tempfile.TemporaryDirectory(prefix="balena-migrate-") as work:
        libraries = Path(work)
        gather_libraries(libraries)
        choice = choose_modules(tree, libraries)
        make_base(tree, choice.base, kit.base)
        make_more(tree, choice.more, kit)
    for name in LAUNCHERS:
        copy_file(PACKAGE / "workstation/kit/launcher.sh", folder / name, mode=0o755)
    (folder / ARCHITECTURE_FILE).write_text(f"{architecture}\n")
    (folder / SUMS_FILE).write_text(format_sums(read_folder(folder)))


def package_files() -> list[Path]:
    """The files of our package that are in every kit."""
    ours = [name.split(".")[1:] for name in recipe.LEFT_OUT if name.startswith("balena_migrate.")]
    left_out = [PACKAGE.joinpath(*parts) for parts in ours]
    return sorted(
        path
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and not any(path.with_suffix("").is_relative_to(place) for place in left_out)
    )


# Modules ----------------------------------------------------------------------------------------------------------


def gather_libraries(folder: Path) -> None:
    """Copy our package and the pure Python part of each library, and nothing else that is installed."""
    for name in recipe.DISTRIBUTIONS:
        for file in metadata.distribution(name).files or ():
            if file.suffix == ".py":
                copy_file(Path(str(file.locate())), folder / file)
    for path in package_files():
        copy_file(path, folder / PACKAGE.name / path.relative_to(PACKAGE))


def choose_modules(tree: Tree, libraries: Path) -> Choice:
    """Stage 2's modules with everything that they import, and the rest of what stage 1 may import."""
    standard, packaged = tree.path / "usr/lib" / _DEBIAN_PYTHON, tree.path / "usr/lib/python3/dist-packages"
    folders = (libraries, standard, standard / "lib-dynload", packaged, tree.wheel)
    packages = [Module(name=path.name, path=path / "__init__.py") for path in sorted(libraries.iterdir())]
    ours = [name for package in packages for name in submodules(package)]
    base = find_closure(recipe.BASE_MODULES, folders, recipe.LEFT_OUT)
    everything = find_closure([*base, *recipe.MORE_MODULES, *ours], folders, recipe.LEFT_OUT)
    return Choice(base=base, more=choose_more(base, everything))


def choose_more(base: Mapping[str, Module], everything: Mapping[str, Module]) -> dict[str, Module]:
    """What the base part lacks. Python looks for a package in one place only, so no package is split."""
    incomplete = {module.top for name, module in everything.items() if name not in base} - {"encodings"}
    return {name: module for name, module in everything.items() if module.top in incomplete}


def compile_modules(modules: Iterable[Module], folder: Path) -> None:
    """Compile the modules into the folder; those of the standard library without docstrings."""
    for module in modules:
        name = module.name.replace(".", "/") + ("/__init__" if module.is_package else "")
        py_compile.compile(
            str(module.path),
            cfile=str(folder / f"{name}.pyc"),
            dfile=f"{name}.py",
            doraise=True,
            optimize=2 if module.top in sys.stdlib_module_names else 0,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def write_zip(folder: Path, file: Path) -> None:
    """Write all byte code in the folder to a zip file, sorted and with a fixed time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.pyc")):
            info = zipfile.ZipInfo(str(path.relative_to(folder)))
            archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)


# Parts ------------------------------------------------------------------------------------------------------------


def make_base(tree: Tree, modules: Mapping[str, Module], base: Path) -> None:
    """Make the base part: what stage 2 needs, as small as possible."""
    copy_loader(tree, base / "ld.so")
    copy_file(tree.program("busybox"), base / "busybox", mode=0o755)
    copy_file(PACKAGE / "workstation/kit/stage2.sh", base / "stage2", mode=0o755)
    copy_file(tree.program(_DEBIAN_PYTHON), base / "bin" / PYTHON, mode=0o755)
    for name in recipe.BASE_PROGRAMS:
        copy_program(tree.program(name), base / "bin")
    extensions = base / "lib" / _DEBIAN_PYTHON / "lib-dynload"
    copy_extensions(modules.values(), extensions)
    # A zip file holds no extensions, and Python looks for those of a package where the package is.
    beside = {module.top for module in modules.values() if module.is_extension and module.name != module.top}
    sources = _sources(modules.values())
    compile_modules((module for module in sources if module.top in beside), extensions)
    with tempfile.TemporaryDirectory(prefix="balena-migrate-") as work:
        compile_modules((module for module in sources if module.top not in beside), Path(work))
        write_zip(Path(work), base / "lib" / _ZIP)
    binaries = [*(base / "bin").iterdir(), *extensions.rglob("*.so")]
    for name, library in library_closure(tree, binaries, recipe.LOADED_LIBRARIES).items():
        copy_file(library, base / "lib" / name)


def make_more(tree: Tree, modules: Mapping[str, Module], kit: Kit) -> None:
    """Make the other part, which only stage 1 needs."""
    more = kit.more
    copy_file(PACKAGE / "cli/start.py", more / "start.py")
    for name in recipe.MORE_PROGRAMS:
        copy_program(tree.program(name), more / "bin")
    copy_extensions(modules.values(), more / "python")
    compile_modules(_sources(modules.values()), more / "python")
    for path in package_files():
        if path.suffix != ".py":
            copy_file(path, more / "python" / PACKAGE.name / path.relative_to(PACKAGE))
    binaries = [*(more / "bin").iterdir(), *(more / "python").rglob("*.so")]
    for name, library in library_closure(tree, binaries).items():
        if not (kit.base / "lib" / name).exists():
            copy_file(library, more / "lib" / name)
    copy_code_page(tree, more / "lib/gconv")
    write_certificates(tree, more / "ssl")
    copy_licenses(tree, more / "licenses")


def copy_loader(tree: Tree, target: Path) -> None:
    """Copy the dynamic loader, changed to ignore /etc/ld.so.preload.

    Raspberry Pi OS names a library there. It does not match our libraries, and every program would print an error.
    """
    loader = tree.library(tree.platform.loader).read_bytes()
    if loader.count(_PRELOAD) != 1:
        raise FileError(tree.platform.loader, "does not name /etc/ld.so.preload once")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(loader.replace(_PRELOAD, _NO_PRELOAD))
    target.chmod(0o755)


def copy_extensions(modules: Iterable[Module], folder: Path) -> None:
    """Copy the extension modules, and no others, into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for module in modules:
        if module.is_extension:
            package = module.name.split(".")[:-1]
            copy_file(module.path, folder.joinpath(*package, module.path.name))


def copy_code_page(tree: Tree, folder: Path) -> None:
    """Copy the only converter that mtools needs, with the file that tells iconv where it is."""
    name = f"{recipe.CODE_PAGE}.so"
    copy_file(tree.library(f"gconv/{name}"), folder / name)
    (folder / "gconv-modules").write_text(recipe.CODE_PAGES)


def write_certificates(tree: Tree, folder: Path) -> None:
    """Write the certificates of the public authorities as one file, and an empty configuration for OpenSSL."""
    folder.mkdir(parents=True)
    certificates = sorted((tree.path / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (folder / "ca-certificates.crt").write_bytes(b"".join(path.read_bytes() for path in certificates))
    (folder / "openssl.cnf").write_text("# OpenSSL's defaults\n")


def copy_licenses(tree: Tree, folder: Path) -> None:
    """Copy the licence of each package and library, under its name."""
    for path in sorted((tree.path / "usr/share/doc").glob("*/copyright")):
        copy_file(path, folder / path.parent.name)
    for name in recipe.DISTRIBUTIONS:
        for file in metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            if file.name.startswith("LICENSE") and path.exists():
                copy_file(path, folder / name)
    for path in sorted(tree.wheel.rglob("LICENSE*")):  # the binding's, and that of the library in it
        copy_file(path, folder / "-".join(path.relative_to(tree.wheel).parts))


def _sources(modules: Iterable[Module]) -> list[Module]:
    return [module for module in modules if not module.is_extension]
