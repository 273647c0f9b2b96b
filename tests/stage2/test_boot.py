# SPDX-License-Identifier: Apache-2.0
"""How stage 2 starts in an initramfs that we composed, as far as that shows without a kernel of its own."""

from __future__ import annotations

import io
import signal
import sys
from importlib import resources
from pathlib import Path

import pytest

from balena_migrate.core.errors import DiskError
from balena_migrate.core.paths import STAGE2_MODULES
from balena_migrate.core.system import System
from balena_migrate.stage2 import boot, kernel, main
from balena_migrate.stage2.console import Console


def machine(root: Path, modules: str) -> System:
    (root / "etc").mkdir()
    (root / STAGE2_MODULES.lstrip("/")).write_text(modules)
    (root / "m").mkdir()
    (root / "m/a.ko").write_bytes(b"a")
    (root / "m/b.ko").write_bytes(b"b")
    return System(root)


def test_modules_are_loaded_in_order_and_one_that_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[bytes, str]] = []

    def load(module: bytes, parameters: str) -> None:
        loaded.append((module, parameters))
        if module == b"a":
            raise OSError(19, "No such device")

    monkeypatch.setattr(kernel, "load_module", load)
    out = io.StringIO()
    boot.load_modules(machine(tmp_path, "/m/a.ko x=1 y=2\n/m/gone.ko\n/m/b.ko\n"), Console(out))
    assert loaded == [(b"a", "x=1 y=2"), (b"b", "")]
    assert "/m/a.ko cannot be loaded: [Errno 19] No such device" in out.getvalue()
    assert "/m/gone.ko cannot be loaded" in out.getvalue()


@pytest.mark.parametrize(
    ("command_line", "options"),
    [
        ("root=UUID=1 ro", ""),
        ("rootflags=data=journal ro", "data=journal"),
        ("rootflags=noatime,commit=30,rw", "commit=30"),
        ("rootflags=a rootflags=b", "b"),
    ],
)
def test_the_root_gets_the_options_that_its_file_system_knows(command_line: str, options: str) -> None:
    assert boot.root_options(command_line) == options


@pytest.mark.parametrize(
    ("command_line", "writable"), [("ro", False), ("rw", True), ("ro rw", True), ("rw ro", False), ("quiet", False)]
)
def test_the_old_system_gets_its_root_as_it_asks_for_it(command_line: str, writable: bool) -> None:
    assert boot.is_writable(command_line) is writable


def test_without_an_argument_stage_2_starts_the_machine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit status tells init whether the old system goes on."""
    monkeypatch.setattr(signal, "signal", lambda *args: None)
    monkeypatch.setattr(main, "boot_and_start", lambda console: boot.GO_ON)
    monkeypatch.setattr(sys, "argv", ["stage2"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == boot.GO_ON


def test_init_knows_the_status_with_which_the_old_system_goes_on() -> None:
    text = resources.files("balena_migrate.initramfs.composed").joinpath("init.sh").read_text()
    assert f"GO_ON={boot.GO_ON}\n" in text


def test_while_the_root_does_not_appear_disks_without_partitions_are_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reads a table once, and a disk that failed then has no partitions; and somebody may look on."""
    for name in ("sda", "sda/sda1", "sda1", "sdb", "cciss!c0d0", "sr0"):
        (tmp_path / "sys/class/block" / name).mkdir(parents=True)
    for name in ("sda/sda1", "sda1"):
        (tmp_path / "sys/class/block" / name / "partition").touch()
    looked: list[str] = []

    def reread(path: Path) -> bool:
        looked.append(str(path))
        raise DiskError("/dev/sdb: its partition table cannot be read again: Input/output error")

    monkeypatch.setattr(boot, "reread_partitions", reread)
    out = io.StringIO()
    look = boot.look_again(System(tmp_path), Console(out))
    for _ in range(3):
        look(DiskError("no file system has the UUID 1111-root"))
    assert sorted(looked) == ["/dev/cciss/c0d0"] * 3 + ["/dev/sdb"] * 3
    assert out.getvalue().count("waiting up to 180 s for the old root: no file system has the UUID 1111-root") == 1
