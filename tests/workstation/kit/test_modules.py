# SPDX-License-Identifier: Apache-2.0
"""The walk along import statements, and what it finds in our own stage 2."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from balena_migrate.workstation.kit.assemble import PACKAGE, choose_more
from balena_migrate.workstation.kit.modules import Module, find_closure, find_module, parse_imports, submodules
from balena_migrate.workstation.kit.recipe import BASE_MODULES, LEFT_OUT

STAGE2 = "balena_migrate.stage2.main"
OURS_LEFT_OUT = [name for name in LEFT_OUT if name.startswith("balena_migrate.")]


def make_tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_imports_are_found_wherever_they_stand() -> None:
    source = b"""
import a.b, c as d
try:
    import e
except ImportError:
    import f
def function():
    match 1:
        case 1:
            from g import h
"""
    assert parse_imports(source, "x", is_package=False) == {"a.b", "c", "e", "f", "g", "g.h"}


def test_imports_for_type_checkers_are_not() -> None:
    source = b"""
import typing
if typing.TYPE_CHECKING:
    import never
else:
    import always
"""
    assert parse_imports(source, "x", is_package=False) == {"typing", "always"}


@pytest.mark.parametrize(
    ("name", "is_package", "source", "found"),
    [
        ("a.b.c", False, b"from . import d", {"a.b", "a.b.d"}),
        ("a.b.c", True, b"from . import d", {"a.b.c", "a.b.c.d"}),
        ("a.b.c", False, b"from ..e import f", {"a.e", "a.e.f"}),
        ("a.b.c", True, b"from ...e import f", {"a.e", "a.e.f"}),
    ],
)
def test_relative_imports(name: str, is_package: bool, source: bytes, found: set[str]) -> None:
    assert parse_imports(source, name, is_package=is_package) == found


def test_closure_follows_imports_and_brings_parents(tmp_path: Path) -> None:
    """Attributes, built-in modules and what is left out are not followed; extensions are taken."""
    tree = make_tree(
        tmp_path,
        {
            "start.py": "import sys, pack.inner, left.out\nfrom other import attribute",
            "pack/__init__.py": "",
            "pack/inner.py": "import _fast",
            "pack/unused.py": "",
            "other.py": "",
            "left/__init__.py": "",
            "left/out.py": "",
            "_fast.cpython-311-x86_64-linux-gnu.so": "",
        },
    )
    found = find_closure(["start"], [tree], frozenset({"left"}))
    assert list(found) == ["_fast", "other", "pack", "pack.inner", "start"]
    assert found["_fast"].is_extension


def test_an_extension_may_be_inside_of_a_package(tmp_path: Path) -> None:
    files = {"pack/__init__.py": "from .inner import *", "pack/inner.cpython-311-x.so": "", "inner.py": ""}
    tree = make_tree(tmp_path, files)
    found = find_closure(["pack"], [tree], frozenset())
    assert list(found) == ["pack", "pack.inner"]
    assert found["pack.inner"].is_extension


def test_first_folder_wins(tmp_path: Path) -> None:
    make_tree(tmp_path, {"one/a.py": "", "two/a.py": ""})
    assert find_closure(["a"], [tmp_path / "one", tmp_path / "two"], frozenset())["a"].path == tmp_path / "one/a.py"


def test_package_of_plugins_brings_them_all(tmp_path: Path) -> None:
    source = "from balena_migrate.core.plugins import load_all\n"
    tree = make_tree(tmp_path, {"plug/__init__.py": source, "plug/one.py": "", "plug/two.py": ""})
    assert list(find_closure(["plug"], [tree], frozenset())) == ["plug", "plug.one", "plug.two"]


def test_no_package_is_split_between_the_parts() -> None:
    """A package that the base part has only a piece of is whole in the other one; `encodings` is loaded too early."""
    names = ("whole", "piece", "piece.one", "piece.two", "single", "encodings", "encodings.cp1252")
    everything = {name: Module(name=name, path=Path(f"{name}.py")) for name in names}
    base = {name: everything[name] for name in ("whole", "piece", "piece.one", "encodings")}
    assert list(choose_more(base, everything)) == ["piece", "piece.one", "piece.two", "single"]


DECODERS = {"zlib_ng", "zstandard"}
"""What stage 2 needs besides: the first it can do without."""


def test_stage2_imports_nothing_but_the_standard_library_and_two_decoders() -> None:
    users = set()
    ours = find_closure([STAGE2], [PACKAGE.parent], LEFT_OUT)
    assert STAGE2 in ours
    for name, module in ours.items():
        imports = parse_imports(module.path.read_bytes(), name, is_package=module.is_package)
        tops = {imported.partition(".")[0] for imported in imports}
        assert tops <= sys.stdlib_module_names | {"balena_migrate"} | DECODERS, name
        users |= {(name, decoder) for decoder in tops & DECODERS}
    assert users == {
        ("balena_migrate.images.fast_zlib", "zlib_ng"),
        ("balena_migrate.images.formats.zstd", "zstandard"),
    }


def test_the_base_part_needs_no_openssl_for_its_threads() -> None:
    """OpenSSL alone would be a tenth of the initramfs."""
    folders = [PACKAGE.parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))]
    base = find_closure(BASE_MODULES, folders, LEFT_OUT)
    assert {"threading", "concurrent.futures.thread"} <= set(base)
    assert not {"ssl", "multiprocessing"} & set(base)


def test_nothing_that_a_device_gets_imports_what_the_kit_lacks() -> None:
    """Whatever LEFT_OUT does not name, such as all of `workstation`, has to run with what is in a kit."""
    available = (
        sys.stdlib_module_names - LEFT_OUT | {"balena_migrate", "click", "rich", "rich_click", "yaml"} | DECODERS
    )
    package = Module(name="balena_migrate", path=PACKAGE / "__init__.py")
    taken = [name for name in submodules(package) if not any(name.startswith(left) for left in OURS_LEFT_OUT)]
    assert "balena_migrate.stage1" in taken and "balena_migrate.workstation.cache" not in taken
    for name in taken:
        module = find_module(name, [PACKAGE.parent])
        assert module is not None
        imports = parse_imports(module.path.read_bytes(), name, is_package=module.is_package)
        assert {imported.partition(".")[0] for imported in imports} <= available, name


@pytest.mark.parametrize("folder", ["images/formats", "stage2/strategies"])
def test_stage2_brings_every_image_format_and_strategy(folder: str) -> None:
    """They are found by name when it runs, so no import statement names them."""
    ours = find_closure([STAGE2], [PACKAGE.parent], LEFT_OUT)
    package = f"balena_migrate.{folder.replace('/', '.')}"
    names = {f"{package}.{path.stem}" for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__"}
    assert names and names <= set(ours)
