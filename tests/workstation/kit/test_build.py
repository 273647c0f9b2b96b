# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.workstation.kit.assemble import copy_loader
from balena_migrate.workstation.kit.build import build_kit, kit_recipe
from balena_migrate.workstation.kit.packages import packages_recipe, unpack_wheel
from balena_migrate.workstation.kit.programs import Tree, copy_program, library_closure


def test_another_mirror_is_another_place_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BALENA_MIGRATE_MIRROR", raising=False)
    recipe = packages_recipe(Architecture.ARMEL)
    monkeypatch.setenv("BALENA_MIGRATE_MIRROR", "http://mirror.example/debian")
    assert packages_recipe(Architecture.ARMEL) != recipe


def test_a_kit_depends_on_what_assembles_it() -> None:
    """Else a kit from before a change of the recipe is taken for the one from after it."""
    *_, source = kit_recipe(Architecture.AMD64)
    assert isinstance(source, list)
    names = {name for name, _ in source}
    assert {"stage2/main.py", "workstation/kit/recipe.py", "workstation/kit/assemble.py"} <= names


def test_destination_that_is_no_kit_is_kept(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(FileError, match="is not a kit"):
        build_kit("amd64", tmp_path, tmp_path / "cache")
    assert (tmp_path / "precious").exists()


def tree_of(folder: Path) -> Tree:
    return Tree(path=folder, wheel=folder, platform=PLATFORMS[Architecture.AMD64])


def test_missing_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"lib.*\.so.*none of the recipe's packages"):
        library_closure(tree_of(tmp_path), [Path("/proc/self/exe")])


def test_linked_program_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "mtools").write_text("binary")
    (tmp_path / "mcopy").symlink_to("mtools")
    copy_program(tmp_path / "mcopy", tmp_path / "bin")
    assert (tmp_path / "bin/mcopy").readlink() == Path("mtools")
    assert (tmp_path / "bin/mtools").read_text() == "binary"


def test_loader_without_preload_file(tmp_path: Path) -> None:
    """The name of /etc/ld.so.preload is replaced by one of the same length that no device has."""
    folder = tmp_path / "usr/lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    (folder / "ld-linux-x86-64.so.2").write_bytes(b"\x7fELF\0/etc/ld.so.preload\0more")
    copy_loader(tree_of(tmp_path), tmp_path / "ld.so")
    assert (tmp_path / "ld.so").read_bytes() == b"\x7fELF\0/no/ld.so.preload/\0more"
    (folder / "ld-linux-x86-64.so.2").write_bytes(b"another loader")
    with pytest.raises(FileError, match="does not name"):
        copy_loader(tree_of(tmp_path), tmp_path / "ld.so")


def test_a_wheel_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash is compared by pip; its names are not."""

    def pip(system: System, argv: list[str | Path], **_: object) -> None:
        folder = Path(argv[argv.index("--dest") + 1])
        with zipfile.ZipFile(folder / "evil.whl", "w") as wheel:
            for name in ("../../evil", "/evil-absolute", "zlib_ng/../../../evil", "zlib_ng/good.py"):
                wheel.writestr(name, "evil")

    monkeypatch.setattr(System, "run", pip)
    cache = tmp_path / "cache/wheels"
    cache.mkdir(parents=True)
    folder = unpack_wheel(Architecture.AMD64, cache, print)
    assert (folder / "zlib_ng/good.py").is_file()
    assert [path for path in tmp_path.rglob("*evil*") if not path.is_relative_to(folder)] == []
    assert not Path("/evil-absolute").exists()
